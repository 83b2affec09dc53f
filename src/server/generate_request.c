/* Reading a generation request. A query is first turned into the JSON object that it stands for, so that one check
 * serves both. Runs on the thread of the request's loop. */
#include "server/generate_request.h"

#include "http/http_query.h"
#include "server/field_value.h"

enum { SENTENCE_PART_MAX = 256 };

/* --- sentences --------------------------------------------------------------------------------------------------- */

static bool refuse_value(const struct request_field *field, const json_t *value, struct slice name,
                         struct error *error) {
  struct buffer actual, expected;
  buffer_init(&actual, SENTENCE_PART_MAX);
  buffer_init(&expected, SENTENCE_PART_MAX);
  field_value_describe(value, &actual);
  request_field_expect(field, &expected);
  error_set(error, ERROR_INVALID, "%.*s is %.*s, expected %.*s.", SLICE_ARGS(name), SLICE_ARGS(buffer_slice(&actual)),
            SLICE_ARGS(buffer_slice(&expected)));
  buffer_release(&actual);
  buffer_release(&expected);
  return false;
}

static bool refuse_unknown(struct slice name, struct error *error) {
  const struct request_field *nearest = request_field_nearest(name, REQUEST_GENERATE);
  if (nearest)
    return error_set(error, ERROR_INVALID, "There is no field \"%.*s\"; did you mean \"%s\"?", SLICE_ARGS(name),
                     nearest->name);
  return error_set(error, ERROR_INVALID, "There is no field \"%.*s\": /openapi.json lists those that exist.",
                   SLICE_ARGS(name));
}

static const char *example(enum request_kind kind) {
  return kind == REQUEST_CHAT ? "{\"messages\": [{\"role\": \"user\", \"content\": \"...\"}]}"
                              : "{\"prompt\": \"...\"}";
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

/* A field that does not exist: a mistake to tell at /generate, while OpenAI's clients send more than we know. */
static bool read_unknown(struct generate_request *request, struct slice name, struct error *error) {
  if (request->kind == REQUEST_GENERATE) return refuse_unknown(name, error);
  request->n_ignored++;
  return true;
}

/* One member of the object. *seen has a bit for each field that was there, so that an alias is not a second value. */
static bool read_member(struct generate_request *request, struct slice name, json_t *value, uint64_t *seen,
                        struct error *error) {
  int n_field;
  const struct request_field *field = request_field_find(name, request->kind);
  if (!field) return read_unknown(request, name, error);
  uint64_t bit = UINT64_C(1) << (field - request_fields(&n_field));
  request->param = slice_is(name, field->name) ? field->name : field->alias;
  if (*seen & bit)
    return error_set(error, ERROR_INVALID, "%s is there twice: as \"%s\" and as \"%s\"; send one.", field->name,
                     field->name, field->alias);
  *seen |= bit;
  bool left_out = json_is_null(value) && !field->required; /* many clients send null for "not set" */
  if (field->type == FIELD_LATER && (!left_out || request->kind == REQUEST_GENERATE))
    return error_set(error, ERROR_UNSUPPORTED, "%s", field->description);
  return left_out || field_store(request, field, value) || refuse_value(field, value, name, error);
}

static bool check_required(struct generate_request *request, uint64_t seen, struct error *error) {
  int n_field;
  const struct request_field *fields = request_fields(&n_field);
  for (int i = 0; i < n_field; i++) {
    if (!fields[i].required || !(fields[i].kinds & (unsigned)request->kind) || seen & UINT64_C(1) << i) continue;
    request->param = fields[i].name;
    return error_set(error, ERROR_INVALID, "%s is missing: send it as a %s.", fields[i].name,
                     fields[i].type == FIELD_MESSAGES ? "list" : "string");
  }
  return true;
}

/* Completions ask for log-probabilities by a number; with echo for those of the prompt too. */
static void logprobs_settle(struct generate_request *request) {
  spate_request *engine = &request->engine;
  if (request->completion_logprobs >= 0) {
    engine->logprobs = true;
    engine->top_logprobs = request->completion_logprobs;
    if (request->echo) request->prompt_logprobs = request->completion_logprobs;
  }
  engine->prompt_logprobs = request->prompt_logprobs >= 0;
  engine->top_prompt_logprobs = engine->prompt_logprobs ? request->prompt_logprobs : 0;
}

/* An engine generates a token at least; where only the prompt is wanted it is not told. */
static bool echo_settle(struct generate_request *request, struct error *error) {
  if (request->engine.max_tokens > 0) return true;
  request->param = "max_tokens";
  if (!request->echo)
    return error_set(error, ERROR_INVALID, "max_tokens is 0, which is for echo alone: set echo, or ask for a token.");
  request->only_echo = true;
  request->engine.max_tokens = 1;
  return true;
}

static bool check_choices(struct generate_request *request, struct error *error) {
  const spate_request *engine = &request->engine;
  request->param = "n";
  if (request->n_prompt * request->n > LIMIT_REQUEST_CHOICES)
    return error_set(error, ERROR_LIMIT, "%d prompts with n %d make %d choices, expected at most %d: send fewer.",
                     request->n_prompt, request->n, request->n_prompt * request->n, LIMIT_REQUEST_CHOICES);
  request->param = "best_of";
  if (engine->use_beam_search || engine->beam_width == 0 || engine->beam_width == request->n) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "best_of is %d and n is %d: only a beam search looks at more choices than it sends; set "
                   "use_beam_search, or leave best_of out.",
                   engine->beam_width, request->n);
}

static bool check_logprobs(struct generate_request *request, struct error *error) {
  const spate_request *engine = &request->engine;
  request->param = "top_logprobs";
  if (engine->top_logprobs != 0 && !engine->logprobs)
    return error_set(error, ERROR_INVALID, "top_logprobs is %d and logprobs is not true: set both.",
                     engine->top_logprobs);
  request->param = "prompt_logprobs";
  if (!request->echo || request->completion_logprobs < 0 || request->prompt_logprobs < 0) return true;
  return error_set(error, ERROR_INVALID,
                   "echo with logprobs tells those of the prompt already: leave prompt_logprobs out, or echo.");
}

/* What fields say together. */
static bool check_together(struct generate_request *request, struct error *error) {
  spate_request *engine = &request->engine;
  if (engine->top_k < 0) engine->top_k = 0; /* both switch it off */
  request->param = "stream_options";
  if (request->has_stream_options && !request->streaming)
    return error_set(error, ERROR_INVALID, "stream_options are for streams: set stream to true, or leave them out.");
  if (!check_logprobs(request, error) || !check_choices(request, error) || !echo_settle(request, error)) return false;
  request->param = NULL;
  logprobs_settle(request);
  return true;
}

static bool read_object(struct generate_request *request, struct error *error) {
  if (!json_is_object(request->json))
    return error_set(error, ERROR_INVALID, "The body is not a JSON object: send %s.", example(request->kind));
  uint64_t seen = 0;
  for (void *at = json_object_iter(request->json); at; at = json_object_iter_next(request->json, at)) {
    struct slice name = slice_make(json_object_iter_key(at), json_object_iter_key_len(at));
    if (!read_member(request, name, json_object_iter_value(at), &seen, error)) return false;
  }
  return check_required(request, seen, error) && check_together(request, error);
}

static void request_init(struct generate_request *request, enum request_kind kind, const spate_request *defaults) {
  *request = (struct generate_request){.engine = *defaults,
                                       .kind = kind,
                                       .n = 1,
                                       .completion_logprobs = -1,
                                       .prompt_logprobs = -1,
                                       .parallel_tool_calls = true,
                                       .include_reasoning = true,
                                       .skip_special_tokens = true};
  arena_init(&request->lists, 4 * (size_t)LIMIT_BODY_BYTES); /* an entry takes at least two bytes of a body */
}

/* --- images ------------------------------------------------------------------------------------------------------ */

/* Of one message's parts. */
static size_t parts_bytes(const json_t *content) {
  size_t bytes = 0;
  for (size_t i = 0; i < json_array_size(content); i++) {
    const json_t *url = json_object_get(json_array_get(content, i), "image_url");
    bytes += json_string_length(json_is_object(url) ? json_object_get(url, "url") : url);
  }
  return bytes;
}

static size_t images_bytes(const struct generate_request *request) {
  const json_t *messages = request->kind == REQUEST_CHAT ? json_object_get(request->json, "messages") : NULL;
  size_t bytes = 0;
  for (int i = 0; i < request->engine.n_images; i++) bytes += request->engine.images[i].size;
  for (size_t i = 0; i < json_array_size(messages); i++)
    bytes += parts_bytes(json_object_get(json_array_get(messages, i), "content"));
  return bytes;
}

/* The end of the string that has begun; body.size: it has none. */
static size_t string_end(struct slice body, size_t from) {
  for (size_t at = from; at < body.size; at++) {
    const uint8_t *quote = memchr(body.data + at, '"', body.size - at);
    if (!quote) break;
    at = (size_t)(quote - body.data);
    size_t escapes = 0;
    while (at - escapes > from && body.data[at - escapes - 1] == '\\') escapes++;
    if (escapes % 2 == 0) return at;
  }
  return body.size;
}

/* Bytes that are not within strings, quotes included: each value takes one of them at least, and a hundred bytes of
 * memory once it is read. */
static size_t structure_bytes(struct slice body) {
  size_t bytes = 0;
  for (size_t at = 0; at < body.size;) {
    const uint8_t *quote = memchr(body.data + at, '"', body.size - at);
    size_t begin = quote ? (size_t)(quote - body.data) : body.size;
    bytes += begin - at + (quote ? 2 : 0);
    at = quote ? string_end(body, begin + 1) + 1 : body.size;
  }
  return bytes;
}

/* Before it is read: a body is large for its images' sake alone, which are strings. */
static bool structure_check(struct slice body, struct error *error) {
  size_t bytes = body.size > LIMIT_BODY_BYTES ? structure_bytes(body) : 0;
  return bytes <= LIMIT_BODY_BYTES ||
         error_set(error, ERROR_LIMIT,
                   "The body has %zu bytes beside its strings, and this path takes %d of them: send less.", bytes,
                   LIMIT_BODY_BYTES);
}

/* A body is large for its images' sake alone. */
static bool text_check(struct generate_request *request, size_t body, struct error *error) {
  size_t images = body > LIMIT_BODY_BYTES ? images_bytes(request) : 0;
  request->param = NULL;
  if (body <= LIMIT_BODY_BYTES || (images < body && body - images <= LIMIT_BODY_BYTES)) return true;
  return error_set(error, ERROR_LIMIT,
                   "The body has %zu bytes beside its images, and this path takes %d of them: shorten the text.",
                   body - images, LIMIT_BODY_BYTES);
}

bool generate_request_read_body(struct generate_request *request, enum request_kind kind, const spate_request *defaults,
                                struct slice body, struct error *error) {
  request_init(request, kind, defaults);
  if (body.size == 0) return error_set(error, ERROR_INVALID, "The body is empty: send %s.", example(kind));
  request->json = structure_check(body, error) ? json_parse_client(body, false, error) : NULL;
  if (!request->json || !read_object(request, error) || !text_check(request, body.size, error)) return false;
  if (kind != REQUEST_CHAT) return true;
  request->engine.chat = true;
  request->engine.prompt = (const char *)body.data;
  request->engine.prompt_size = body.size;
  return true;
}

void generate_request_release(struct generate_request *request) {
  json_decref(request->json);
  arena_release(&request->lists);
}

/* --- queries ----------------------------------------------------------------------------------------------------- */

/* The JSON value that a query's text stands for: a string where the field takes strings, else what the text is when
 * read as JSON. NULL: the text is not UTF-8. */
static json_t *value_of_text(const struct request_field *field, struct slice text) {
  bool is_string = field->type == FIELD_PROMPT || field->type == FIELD_TEXTS || field->type == FIELD_NAME ||
                   field->type == FIELD_IMAGES;
  json_t *value = is_string ? NULL : json_loadb((const char *)text.data, text.size, JSON_DECODE_ANY, NULL);
  return value ? value : json_stringn((const char *)text.data, text.size);
}

/* Takes value over. A name given again adds to a list where the field takes one. */
static bool object_add(json_t *object, const struct request_field *field, json_t *value, struct error *error) {
  json_t *earlier = json_object_get(object, field->name);
  bool is_list = request_field_is_list(field);
  if (earlier && !is_list) {
    json_decref(value);
    return error_set(error, ERROR_INVALID, "The query has %s twice; send it once.", field->name);
  }
  if (is_list && !earlier) json_object_set_new(object, field->name, earlier = json_array());
  int failed = is_list ? json_array_append_new(earlier, value) : json_object_set_new(object, field->name, value);
  return !failed || error_set(error, ERROR_MEMORY, "Out of memory for the query.");
}

static bool pair_read(json_t *object, struct slice name, struct slice text, struct error *error) {
  const struct request_field *field = request_field_find(name, REQUEST_GENERATE);
  if (!field) return refuse_unknown(name, error);
  json_t *value = value_of_text(field, text);
  if (!value) return error_set(error, ERROR_INVALID, "%s is not valid UTF-8 in the query.", field->name);
  return object_add(object, field, value, error);
}

static bool query_add(json_t *object, struct slice name, struct slice text, struct error *error) {
  struct buffer plain_name, plain_text;
  buffer_init(&plain_name, LIMIT_URL_BYTES);
  buffer_init(&plain_text, LIMIT_URL_BYTES);
  bool decoded = http_query_decode(name, &plain_name) && http_query_decode(text, &plain_text);
  bool added = decoded ? pair_read(object, buffer_slice(&plain_name), buffer_slice(&plain_text), error)
                       : error_set(error, ERROR_INVALID, "The query has a bad percent-encoding.");
  buffer_release(&plain_name);
  buffer_release(&plain_text);
  return added;
}

bool generate_request_read_query(struct generate_request *request, const spate_request *defaults, struct slice query,
                                 struct error *error) {
  request_init(request, REQUEST_GENERATE, defaults);
  request->json = json_object();
  struct slice name, value;
  while (http_query_next(&query, &name, &value))
    if (!query_add(request->json, name, value, error)) return false;
  return read_object(request, error);
}
