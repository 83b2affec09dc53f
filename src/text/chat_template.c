/* Chat templates: from a request's JSON to the values that a template sees, and from what it wrote to tokens. */
#include "text/chat_template.h"

#include "base/limits.h"
#include "base/utf8.h"
#include "text/jinja_parser.h"
#include "text/jinja_rendering.h"

#include <math.h>
#include <stdlib.h>
#include <sys/random.h>

struct chat_template {
  struct arena arena;
  const struct node_list *body;
  bool places_images, takes_strings;
};

static bool source_has(struct slice source, const char *text) {
  return memmem(source.data, source.size, text, strlen(text)) != NULL;
}

bool chat_template_places_images(const struct chat_template *template) { return template->places_images; }
bool chat_template_takes_strings(const struct chat_template *template) { return template->takes_strings; }

struct chat_template *chat_template_open(struct slice source, struct error *error) {
  if (source.size == 0 || source.size > LIMIT_TEMPLATE_BYTES) {
    if (source.size == 0)
      error_set(error, ERROR_UNSUPPORTED, "The model has no chat template; send a prompt instead of messages.");
    else
      error_set(error, ERROR_LIMIT, "The chat template has %zu bytes; at most %d are allowed.", source.size,
                LIMIT_TEMPLATE_BYTES);
    return NULL;
  }
  if (!utf8_valid(source)) {
    error_set(error, ERROR_FORMAT, "The chat template is not valid UTF-8.");
    return NULL;
  }
  struct chat_template *template = calloc(1, sizeof *template);
  if (!template) {
    error_set(error, ERROR_MEMORY, "No memory to compile the chat template.");
    return NULL;
  }
  template->places_images = source_has(source, "'image'") || source_has(source, "\"image\"");
  template->takes_strings = !template->places_images || source_has(source, "is string");
  arena_init(&template->arena, LIMIT_TEMPLATE_MEMORY);
  char *copy = arena_text(&template->arena, source);
  if (!copy) compile_no_memory(error);
  if (copy) template->body = jinja_parse(slice_make(copy, source.size), &template->arena, error);
  if (template->body) return template;
  if (template->arena.starved) error_set(error, ERROR_MEMORY, "No memory to compile the chat template.");
  chat_template_close(template);
  return NULL;
}

void chat_template_close(struct chat_template *template) {
  if (!template) return;
  arena_release(&template->arena);
  free(template);
}

/* --- from JSON -------------------------------------------------------------------------------------------------- */

static bool user_text(struct rendering *r, struct slice bytes, struct datum *out) {
  uint8_t *user = bytes.size ? rendering_alloc(r, bytes.size) : NULL;
  if (bytes.size && !user) return false;
  if (user) memset(user, 1, bytes.size);
  return datum_marked(r, (struct marked){bytes.data, user, bytes.size}, out);
}

static bool user_datum(struct rendering *r, const json_t *json, struct datum *out);

static bool user_list(struct rendering *r, const json_t *array, struct datum *out) {
  if (!list_new(r, json_array_size(array), out)) return false;
  for (size_t i = 0; i < json_array_size(array); i++) {
    struct datum item;
    if (!user_datum(r, json_array_get(array, i), &item) || !list_append(r, out->list, item)) return false;
  }
  return true;
}

static bool user_map(struct rendering *r, const json_t *object, struct datum *out) {
  const char *key;
  json_t *member;
  if (!map_new(r, json_object_size(object), out)) return false;
  json_object_foreach((json_t *)object, key, member) {
    struct datum name, value;
    if (!user_text(r, slice_text(key), &name) || !user_datum(r, member, &value)) return false;
    if (!map_append(r, out->map, name, value)) return false;
  }
  return true;
}

/* A number beyond 64 bits, or beyond a double: that is an infinity, to Python too. */
static bool user_wide(struct rendering *r, struct slice written, struct datum *out) {
  bool whole = true;
  for (size_t i = 0; i < written.size; i++) whole = whole && !strchr(".eE", written.data[i]);
  *out = datum_float(written.data[0] == '-' ? -INFINITY : INFINITY);
  return !whole || datum_digits(r, written, out);
}

static bool user_datum(struct rendering *r, const json_t *json, struct datum *out) {
  struct slice wide;
  switch (json_typeof(json)) {
  case JSON_OBJECT: return user_map(r, json, out);
  case JSON_ARRAY: return user_list(r, json, out);
  case JSON_STRING: return json_is_wide(json, &wide) ? user_wide(r, wide, out) : user_text(r, json_slice(json), out);
  case JSON_INTEGER: *out = datum_int(json_integer_value(json)); return true;
  case JSON_REAL: *out = datum_float(json_real_value(json)); return true;
  case JSON_TRUE:
  case JSON_FALSE: *out = datum_bool(json_is_true(json)); return true;
  default: *out = datum_none(); return true;
  }
}

/* A role that everybody knows is no text of the user's: '<|' + message.role + '|>' may be a special token. */
static bool trust_role(struct rendering *r, struct datum message) {
  static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "function"};
  struct datum *role =
      message.kind == DATUM_MAP ? (struct datum *)map_find_name(message.map, slice_text("role")) : NULL;
  for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
    if (datum_is_text(*role, roles[i])) return datum_text(r, slice_text(roles[i]), role);
  return true;
}

static bool set_messages(struct rendering *r, const json_t *messages) {
  struct datum list;
  if (!json_is_array(messages) || json_array_size(messages) == 0)
    return error_set(r->error, ERROR_INVALID, "messages must be an array with at least one message.");
  for (size_t i = 0; i < json_array_size(messages); i++)
    if (!json_is_object(json_array_get(messages, i)))
      return error_set(r->error, ERROR_INVALID, "messages[%zu] is not an object.", i);
  if (!user_list(r, messages, &list)) return false;
  for (size_t i = 0; i < list.list->count; i++)
    if (!trust_role(r, list.list->items[i])) return false;
  return frame_set(r, r->frame, slice_text("messages"), list);
}

static bool set_text(struct rendering *r, const char *name, struct slice text) {
  struct datum value;
  return !text.data || (datum_text(r, text, &value) && frame_set(r, r->frame, slice_text(name), value));
}

static bool set_json(struct rendering *r, const char *name, const json_t *json) {
  struct datum value = datum_none();
  return (!json || user_datum(r, json, &value)) && frame_set(r, r->frame, slice_text(name), value);
}

/* What transformers gives a template, in an order in which what is given by name wins over the request's variables. */
static bool set_variables(struct rendering *r, const struct chat_input *input) {
  const char *key;
  json_t *member;
  if (!set_text(r, "bos_token", input->bos) || !set_text(r, "eos_token", input->eos)) return false;
  if (!set_json(r, "documents", NULL)) return false;
  json_object_foreach((json_t *)input->variables, key, member) if (!set_json(r, key, member)) return false;
  return set_json(r, "tools", input->tools) && set_messages(r, input->messages) &&
         frame_set(r, r->frame, slice_text("add_generation_prompt"), datum_bool(input->add_generation_prompt));
}

/* --- rendering -------------------------------------------------------------------------------------------------- */

void chat_text_init(struct chat_text *text) {
  *text = (struct chat_text){0};
  buffer_init(&text->text, LIMIT_TEMPLATE_OUTPUT_BYTES);
}

void chat_text_release(struct chat_text *text) {
  buffer_release(&text->text);
  free(text->plain);
  *text = (struct chat_text){0};
}

/* Runs of marked bytes; out NULL: only counts. */
static size_t marked_runs(const struct builder *b, struct text_range *out) {
  size_t count = 0;
  for (size_t at = 0; b->marked && at < b->size;) {
    size_t start = at;
    while (at < b->size && b->user[at] == b->user[start]) at++;
    if (!b->user[start]) continue;
    if (out) out[count] = (struct text_range){start, at};
    count++;
  }
  return count;
}

static bool take_text(struct rendering *r, const struct builder *b, struct chat_text *text) {
  text->n_plain = marked_runs(b, NULL);
  text->plain = calloc(text->n_plain ? text->n_plain : 1, sizeof *text->plain);
  if (!text->plain || (b->size && !buffer_append(&text->text, b->bytes, b->size)))
    return error_set(r->error, ERROR_MEMORY, "No memory for the text of these messages.");
  marked_runs(b, text->plain);
  return true;
}

bool chat_template_render(const struct chat_template *template, const struct chat_input *input, struct chat_text *text,
                          struct error *error) {
  struct arena arena;
  struct builder out = {0};
  struct frame context = {0}, frame = {.parent = &context};
  struct rendering r = {.arena = &arena,
                        .error = error,
                        .frame = &context,
                        .out = &out,
                        .now = &input->now,
                        .line = 1,
                        .steps = text->steps};
  arena_init(&arena, LIMIT_TEMPLATE_MEMORY);
  if (getrandom(&r.key, sizeof r.key, 0) != (ssize_t)sizeof r.key)
    return error_set(error, ERROR_IO, "The system gave no random bytes: see getrandom(2).");
  bool done = set_variables(&r, input);
  r.frame = &frame;
  done = done && exec_body(&r, template->body) && rendering_charge(&r, 0) && take_text(&r, &out, text);
  text->steps = r.steps;
  arena_release(&arena);
  return done;
}

/* --- tokens ----------------------------------------------------------------------------------------------------- */

static struct slice token_text(const struct tokenizer *tokenizer, struct slice given, int32_t id) {
  return given.data || id < 0 ? given : tokenizer_piece(tokenizer, id);
}

bool chat_template_write(const struct chat_template *template, const struct chat_input *input,
                         const struct tokenizer *tokenizer, struct chat_text *text, struct error *error) {
  const struct tokenizer_facts *facts = tokenizer_facts(tokenizer);
  struct chat_input full = *input;
  full.bos = token_text(tokenizer, input->bos, facts->bos);
  full.eos = token_text(tokenizer, input->eos, facts->eos);
  return chat_template_render(template, &full, text, error);
}

bool chat_text_encode(const struct chat_text *text, const struct tokenizer *tokenizer, struct token_list *out,
                      struct error *error) {
  return tokenizer_encode_guarded(tokenizer, buffer_slice(&text->text), ENCODE_PARSE_SPECIAL, text->plain,
                                  text->n_plain, out, error);
}

bool chat_template_encode(const struct chat_template *template, const struct chat_input *input,
                          const struct tokenizer *tokenizer, struct token_list *out, struct error *error) {
  struct chat_text text;
  chat_text_init(&text);
  bool done =
      chat_template_write(template, input, tokenizer, &text, error) && chat_text_encode(&text, tokenizer, out, error);
  chat_text_release(&text);
  return done;
}
