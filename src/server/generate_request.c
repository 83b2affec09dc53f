/* Reading a generation request. A query is first turned into the JSON object that it stands for, so that one check
 * serves both. Runs on the thread of the request's loop. */
#include "server/generate_request.h"

#include "http/http_query.h"
#include "server/request_fields.h"

#include <math.h>

enum { SENTENCE_PART_MAX = 256 };

/* --- values into the request ------------------------------------------------------------------------------------- */

/* Whole numbers may be written as reals (1.0): JSON does not tell them apart. */
static bool value_is_number(const json_t *value, bool whole, double *number) {
  *number = json_number_value(value);
  return json_is_number(value) && (!whole || *number == floor(*number));
}

static bool number_within(const struct request_field *field, double number) {
  return (field->above_min ? number > field->min : number >= field->min) && number <= field->max;
}

static bool store_prompt(struct generate_request *request, const json_t *value) {
  if (!json_is_string(value)) return false;
  request->engine.prompt = json_string_value(value);
  request->engine.prompt_size = json_string_length(value);
  return true;
}

static bool store_bool(bool *out, const json_t *value) {
  *out = json_is_true(value);
  return json_is_boolean(value);
}

static bool store_int(const struct request_field *field, int *out, const json_t *value) {
  double number;
  if (!value_is_number(value, true, &number) || !number_within(field, number)) return false;
  *out = (int)number;
  return true;
}

static bool store_float(const struct request_field *field, float *out, const json_t *value) {
  double number;
  if (!value_is_number(value, false, &number) || !number_within(field, number)) return false;
  *out = (float)number;
  return *out > field->min || !field->above_min; /* a number above the minimum may round to it */
}

static bool store_seed(struct generate_request *request, const json_t *value) {
  if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
  request->engine.has_seed = true;
  request->engine.seed = (uint64_t)json_integer_value(value);
  return true;
}

/* An array of `count` entries in the place of the field's pointer and count; NULL when there are more than may be. The
 * arena is as large as all lists can be, so that it is only full when memory is short. */
static void *list_make(struct generate_request *request, const struct request_field *field, size_t count, size_t size) {
  if (count > (size_t)field->max) return NULL;
  void *list = arena_array(&request->lists, count + 1, size);
  *(void **)(void *)((char *)request + field->offset) = list;
  *(int *)(void *)((char *)request + field->count_offset) = (int)count;
  return list;
}

static bool store_text(const char **out, const json_t *value) {
  if (!json_is_string(value)) return false;
  struct slice text = json_slice(value);
  *out = json_string_value(value);
  return text.size >= 1 && text.size <= LIMIT_STOP_BYTES && !memchr(text.data, 0, text.size);
}

static bool store_texts(struct generate_request *request, const struct request_field *field, const json_t *value) {
  bool one = !json_is_array(value);
  const char **texts = list_make(request, field, one ? 1 : json_array_size(value), sizeof *texts);
  if (!texts) return false;
  if (one) return store_text(texts, value);
  for (size_t i = 0; i < json_array_size(value); i++)
    if (!store_text(&texts[i], json_array_get(value, i))) return false;
  return true;
}

static bool store_tokens(struct generate_request *request, const struct request_field *field, const json_t *value) {
  if (!json_is_array(value)) return false;
  int32_t *tokens = list_make(request, field, json_array_size(value), sizeof *tokens);
  for (size_t i = 0; tokens && i < json_array_size(value); i++) {
    const json_t *id = json_array_get(value, i);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX) return false;
    tokens[i] = (int32_t)json_integer_value(id);
  }
  return tokens != NULL;
}

/* Digits alone, of an int32_t. */
static bool token_parse(struct slice text, int32_t *token) {
  int64_t number = 0;
  for (size_t i = 0; i < text.size; i++) {
    if (text.data[i] < '0' || text.data[i] > '9' || number > INT32_MAX) return false;
    number = number * 10 + (text.data[i] - '0');
  }
  *token = (int32_t)number;
  return text.size > 0 && number <= INT32_MAX;
}

static bool store_biases(struct generate_request *request, const struct request_field *field, json_t *value) {
  if (!json_is_object(value)) return false;
  spate_logit_bias *bias = list_make(request, field, json_object_size(value), sizeof *bias);
  for (void *at = bias ? json_object_iter(value) : NULL; at; at = json_object_iter_next(value, at), bias++) {
    double number = json_number_value(json_object_iter_value(at));
    struct slice name = slice_make(json_object_iter_key(at), json_object_iter_key_len(at));
    if (!json_is_number(json_object_iter_value(at)) || !(fabs(number) <= LIMIT_LOGIT_BIAS) ||
        !token_parse(name, &bias->token))
      return false;
    bias->bias = (float)number;
  }
  return bias != NULL;
}

static bool store(struct generate_request *request, const struct request_field *field, json_t *value) {
  void *place = (char *)request + field->offset;
  switch (field->type) {
  case FIELD_PROMPT: return store_prompt(request, value);
  case FIELD_BOOL: return store_bool(place, value);
  case FIELD_INT: return store_int(field, place, value);
  case FIELD_FLOAT: return store_float(field, place, value);
  case FIELD_SEED: return store_seed(request, value);
  case FIELD_TEXTS: return store_texts(request, field, value);
  case FIELD_TOKENS: return store_tokens(request, field, value);
  case FIELD_BIASES: return store_biases(request, field, value);
  case FIELD_ONE: return json_number_value(value) == 1;
  case FIELD_LATER: break;
  }
  return false;
}

/* --- sentences --------------------------------------------------------------------------------------------------- */

/* Numbers and booleans by value, the rest by kind: a string may be a megabyte. */
static void value_describe(const json_t *value, struct buffer *out) {
  switch (json_typeof(value)) {
  case JSON_OBJECT: buffer_text(out, "an object"); break;
  case JSON_ARRAY: buffer_text(out, "a list"); break;
  case JSON_STRING: buffer_text(out, "a string"); break;
  case JSON_INTEGER: buffer_print(out, "%lld", (long long)json_integer_value(value)); break;
  case JSON_REAL: json_write_number(out, json_real_value(value)); break;
  case JSON_TRUE: buffer_text(out, "true"); break;
  case JSON_FALSE: buffer_text(out, "false"); break;
  case JSON_NULL: buffer_text(out, "null"); break;
  }
}

static bool refuse_value(const struct request_field *field, const json_t *value, struct error *error) {
  struct buffer actual, expected;
  buffer_init(&actual, SENTENCE_PART_MAX);
  buffer_init(&expected, SENTENCE_PART_MAX);
  value_describe(value, &actual);
  request_field_expect(field, &expected);
  error_set(error, ERROR_INVALID, "%s is %.*s, expected %.*s.", field->name, SLICE_ARGS(buffer_slice(&actual)),
            SLICE_ARGS(buffer_slice(&expected)));
  buffer_release(&actual);
  buffer_release(&expected);
  return false;
}

static bool refuse_unknown(struct slice name, struct error *error) {
  const struct request_field *nearest = request_field_nearest(name);
  if (nearest)
    return error_set(error, ERROR_INVALID, "There is no field \"%.*s\"; did you mean \"%s\"?", SLICE_ARGS(name),
                     nearest->name);
  return error_set(error, ERROR_INVALID, "There is no field \"%.*s\": /openapi.json lists those that exist.",
                   SLICE_ARGS(name));
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

/* One member of the object. *seen has a bit for each field that was there, so that an alias is not a second value. */
static bool read_member(struct generate_request *request, struct slice name, json_t *value, uint32_t *seen,
                        struct error *error) {
  int n_field;
  const struct request_field *field = request_field_find(name);
  if (!field) return refuse_unknown(name, error);
  uint32_t bit = UINT32_C(1) << (field - request_fields(&n_field));
  if (*seen & bit)
    return error_set(error, ERROR_INVALID, "%s is there twice: as \"%s\" and as \"%s\"; send one.", field->name,
                     field->name, field->alias);
  *seen |= bit;
  if (field->type == FIELD_LATER) return error_set(error, ERROR_UNSUPPORTED, "%s", field->description);
  bool left_out = json_is_null(value) && !field->required; /* many clients send null for "not set" */
  return left_out || store(request, field, value) || refuse_value(field, value, error);
}

static bool check_required(uint32_t seen, struct error *error) {
  int n_field;
  const struct request_field *fields = request_fields(&n_field);
  for (int i = 0; i < n_field; i++)
    if (fields[i].required && !(seen & UINT32_C(1) << i))
      return error_set(error, ERROR_INVALID, "%s is missing: send it as a string.", fields[i].name);
  return true;
}

static bool read_object(struct generate_request *request, struct error *error) {
  if (!json_is_object(request->json))
    return error_set(error, ERROR_INVALID, "The body is not a JSON object: send {\"prompt\": \"...\"}.");
  uint32_t seen = 0;
  for (void *at = json_object_iter(request->json); at; at = json_object_iter_next(request->json, at)) {
    struct slice name = slice_make(json_object_iter_key(at), json_object_iter_key_len(at));
    if (!read_member(request, name, json_object_iter_value(at), &seen, error)) return false;
  }
  if (!check_required(seen, error)) return false;
  if (request->engine.top_k < 0) request->engine.top_k = 0; /* both switch it off */
  if (request->engine.top_logprobs == 0 || request->engine.logprobs) return true;
  return error_set(error, ERROR_INVALID, "top_logprobs is %d and logprobs is not true: set both.",
                   request->engine.top_logprobs);
}

static void request_init(struct generate_request *request, const spate_request *defaults) {
  *request = (struct generate_request){.engine = *defaults};
  arena_init(&request->lists, LIMIT_BODY_BYTES);
}

bool generate_request_read_body(struct generate_request *request, const spate_request *defaults, struct slice body,
                                struct error *error) {
  request_init(request, defaults);
  if (body.size == 0) return error_set(error, ERROR_INVALID, "The body is empty: send {\"prompt\": \"...\"}.");
  request->json = json_parse(body, error);
  return request->json && read_object(request, error);
}

void generate_request_release(struct generate_request *request) {
  json_decref(request->json);
  arena_release(&request->lists);
}

/* --- queries ----------------------------------------------------------------------------------------------------- */

/* The JSON value that a query's text stands for: a string where the field takes strings, else what the text is when
 * read as JSON. NULL: the text is not UTF-8. */
static json_t *value_of_text(const struct request_field *field, struct slice text) {
  bool is_string = field->type == FIELD_PROMPT || field->type == FIELD_TEXTS;
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
  const struct request_field *field = request_field_find(name);
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
  request_init(request, defaults);
  request->json = json_object();
  struct slice name, value;
  while (http_query_next(&query, &name, &value))
    if (!query_add(request->json, name, value, error)) return false;
  return read_object(request, error);
}
