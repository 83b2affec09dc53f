#include "server/embed_request.h"

#include "base/limits.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool field_refuse(struct embed_request *r, const char *name, const char *expected, struct error *error) {
  r->param = name;
  return error_set(error, ERROR_INVALID, "%s must be %s.", name, expected);
}

bool embed_field_refuse(struct embed_request *r, const char *name, const char *sentence, struct error *error) {
  r->param = name;
  return error_set(error, ERROR_INVALID, "%s", sentence);
}

/* NULL: absent, or a null. */
static const json_t *field_find(const struct embed_request *r, const char *name) {
  const json_t *value = json_object_get(r->json, name);
  return json_is_null(value) ? NULL : value;
}

bool embed_has(const struct embed_request *r, const char *name) { return field_find(r, name) != NULL; }

bool embed_int_read(struct embed_request *r, const char *name, int min, int max, int *value, struct error *error) {
  const json_t *field = field_find(r, name);
  if (!field) return true;
  json_int_t number = json_integer_value(field);
  if (json_is_integer(field) && number >= min && number <= max) {
    *value = (int)number;
    return true;
  }
  r->param = name;
  return error_set(error, ERROR_INVALID, "%s must be a whole number from %d to %d.", name, min, max);
}

bool embed_bool_read(struct embed_request *r, const char *name, bool *value, struct error *error) {
  const json_t *field = field_find(r, name);
  if (!field) return true;
  *value = json_is_true(field);
  return json_is_boolean(field) || field_refuse(r, name, "true or false", error);
}

bool embed_format_read(struct embed_request *r, struct error *error) {
  static const char name[] = "encoding_format";
  const json_t *field = field_find(r, name);
  const char *format = json_string_value(field);
  r->base64 = format && strcmp(format, "base64") == 0;
  return !field || r->base64 || (format && strcmp(format, "float") == 0) ||
         field_refuse(r, name, "\"float\" or \"base64\"", error);
}

static bool timeout_read(struct embed_request *r, struct error *error) {
  const json_t *field = field_find(r, "timeout_s");
  double seconds = json_number_value(field);
  r->timeout_s = (float)seconds;
  return !field || (json_is_number(field) && seconds >= 0 && seconds <= LIMIT_TIMEOUT_SECONDS) ||
         field_refuse(r, "timeout_s", "a number of seconds that a request may take", error);
}

static bool prompt_read(struct embed_request *r, struct error *error) {
  const json_t *field = field_find(r, "prompt_name");
  r->prompt_name = json_string_value(field);
  return !field || r->prompt_name || field_refuse(r, "prompt_name", "a string", error);
}

/* SGLang's name for it. */
static bool instruct_read(struct embed_request *r, struct error *error) {
  static const char name[] = "instruct";
  const json_t *field = field_find(r, name);
  if (json_is_string(field)) r->instruct = json_slice(field);
  return !field || r->instruct.data || field_refuse(r, name, "a string", error);
}

static bool model_read(struct embed_request *r, struct error *error) {
  const json_t *field = field_find(r, "model");
  r->model = json_string_value(field);
  return !field || (r->model && json_string_length(field) <= LIMIT_NAME_BYTES) ||
         field_refuse(r, "model", "a string", error);
}

/* Cohere's names of the fields of documents that count: here that is the text. */
static bool rank_fields_read(struct embed_request *r, struct error *error) {
  const json_t *field = field_find(r, "rank_fields");
  const char *first = json_string_value(json_array_get(field, 0));
  r->text_only = json_array_size(field) == 1 && first && strcmp(first, "text") == 0;
  return !field || r->text_only ||
         field_refuse(r, "rank_fields", "[\"text\"]: nothing else of a document is ranked", error);
}

/* What other servers cut documents by. */
static bool cuts_read(struct embed_request *r, struct error *error) {
  static const char chunks[] = "max_chunks_per_doc";
  const json_t *field = field_find(r, chunks);
  if (!embed_int_read(r, "max_tokens_per_doc", 0, LIMIT_MODEL_POSITIONS, &r->max_tokens_per_doc, error)) return false;
  if (!field || (json_is_integer(field) && json_integer_value(field) == 0)) return true;
  r->param = chunks;
  return error_set(error, ERROR_INVALID, "%s is not taken here: max_tokens_per_doc cuts texts that are too long.",
                   chunks);
}

bool embed_request_read(struct embed_request *r, struct slice body, struct error *error) {
  *r = (struct embed_request){.json = json_parse_client(body, false, error), .return_documents = true};
  if (!r->json) return false;
  if (!json_is_object(r->json)) return error_set(error, ERROR_INVALID, "The body is not a JSON object.");
  return model_read(r, error) && prompt_read(r, error) && instruct_read(r, error) && timeout_read(r, error) &&
         rank_fields_read(r, error) && cuts_read(r, error) &&
         embed_int_read(r, "truncate_prompt_tokens", -1, LIMIT_MODEL_POSITIONS, &r->truncate, error) &&
         embed_int_read(r, "priority", INT_MIN + 1, INT_MAX, &r->priority, error);
}

size_t embed_parsed_bytes(struct slice body) {
  enum { VALUE = 48, ARRAY = 128, OBJECT = 256 };
  size_t bytes = body.size;
  for (size_t i = 0; i < body.size; i++) {
    if (body.data[i] == ',') bytes += VALUE;
    if (body.data[i] == '[') bytes += ARRAY;
    if (body.data[i] == '{') bytes += OBJECT;
  }
  return bytes;
}

void embed_request_release(struct embed_request *r) { json_decref(r->json); }

static bool is_ids(const json_t *list) { return json_array_size(list) > 0 && json_is_integer(json_array_get(list, 0)); }

/* A document may be an object around its text, as Jina's are. */
static const json_t *text_of(const json_t *item) { return json_is_object(item) ? json_object_get(item, "text") : item; }

/* The name of something that an object around a text has beside it, or NULL. */
static const char *besides(const json_t *item) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)item, name, value) if (strcmp(name, "text") != 0) return name;
  return NULL;
}

static bool item_valid(const json_t *item, bool ids) {
  if (json_is_string(text_of(item))) return true;
  for (size_t i = 0; ids && i < json_array_size(item); i++) {
    const json_t *id = json_array_get(item, i);
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX) return false;
  }
  return ids && json_array_size(item) > 0;
}

bool embed_texts_read(struct embed_request *r, const char *name, bool ids, struct embed_texts *texts,
                      struct error *error) {
  const json_t *field = field_find(r, name);
  bool single = json_is_string(field) || (ids && is_ids(field));
  size_t count = single ? 1 : json_array_size(field);
  *texts = (struct embed_texts){field, count, single};
  r->param = name;
  if (!field) return error_set(error, ERROR_INVALID, "%s is missing: send a text, or a list of them.", name);
  if (count < 1 || count > LIMIT_REQUEST_TEXTS)
    return error_set(error, ERROR_INVALID,
                     "%s has %zu texts, expected 1 to %d: send a string, or a list of strings%s, and more in further "
                     "requests.",
                     name, count, LIMIT_REQUEST_TEXTS, ids ? " or of lists of token ids" : "");
  for (size_t i = 0; i < count; i++) {
    const json_t *item = single ? field : json_array_get(field, i);
    if (!item_valid(item, ids))
      return error_set(error, ERROR_INVALID, "%s[%zu] is no string%s.", name, i,
                       ids ? " and no list of token ids" : "");
    const char *beside = r->text_only ? NULL : besides(item);
    if (beside)
      return error_set(error, ERROR_INVALID,
                       "%s[%zu] has \"%.60s\" beside its text, which would count for nothing: put it into the text, or "
                       "send \"rank_fields\": [\"text\"].",
                       name, i, beside);
  }
  r->param = NULL;
  return true;
}

/* NULL: there is no memory. The template adds no beginning of an answer unless that is asked for, as vLLM has it. */
static json_t *conversation_make(const struct embed_request *r, bool begins) {
  static const char *const names[] = {"messages", "tools", "tool_choice", "chat_template_kwargs", "reasoning_effort"};
  json_t *conversation = json_object();
  bool ok = conversation && json_object_set_new(conversation, "add_generation_prompt", json_boolean(begins)) == 0;
  for (size_t i = 0; ok && i < sizeof names / sizeof *names; i++) {
    json_t *member = json_object_get(r->json, names[i]);
    ok = !member || json_object_set(conversation, names[i], member) == 0;
  }
  if (ok) return conversation;
  json_decref(conversation);
  return NULL;
}

/* Its text is kept in the body, under a name that no field has. */
bool embed_messages_read(struct embed_request *r, struct error *error) {
  static const char kept[] = "";
  bool begins = false;
  if (!embed_bool_read(r, "add_generation_prompt", &begins, error)) return false;
  json_t *conversation = conversation_make(r, begins);
  char *text = conversation ? json_dumps(conversation, JSON_COMPACT) : NULL;
  bool ok = text && json_object_set_new(r->json, kept, json_string(text)) == 0;
  free(text);
  json_decref(conversation);
  r->chat = true;
  r->first = (struct embed_texts){json_object_get(r->json, kept), 1, true};
  return ok || error_set(error, ERROR_MEMORY, "Out of memory for a conversation.");
}

const json_t *embed_text_at(const struct embed_texts *texts, size_t index) {
  if (texts->single) return texts->field;
  return text_of(json_array_get(texts->field, texts->count == 1 ? 0 : index));
}

int64_t embed_id_beyond(const struct embed_texts *texts, int vocab) {
  for (size_t i = 0; i < texts->count; i++) {
    const json_t *item = embed_text_at(texts, i), *id;
    size_t at;
    json_array_foreach(item, at, id) if (json_integer_value(id) >= vocab) return json_integer_value(id);
  }
  return -1;
}
