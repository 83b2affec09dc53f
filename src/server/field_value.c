/* Values of JSON into a request. */
#include "server/field_value.h"

#include "server/tool_calls.h"

#include <math.h>

/* --- prompts ----------------------------------------------------------------------------------------------------- */

static bool store_token(int32_t *out, const json_t *id) {
  if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX) return false;
  *out = (int32_t)json_integer_value(id);
  return true;
}

/* A string, or a list of token ids. */
static bool prompt_read(struct generate_request *request, const json_t *value, struct request_prompt *prompt) {
  if (json_is_string(value)) {
    prompt->text = json_slice(value);
    return true;
  }
  size_t count = json_array_size(value); /* 0 of anything else */
  int32_t *tokens = count ? arena_array(&request->lists, count, sizeof *tokens) : NULL;
  for (size_t i = 0; tokens && i < count; i++)
    if (!store_token(&tokens[i], json_array_get(value, i))) return false;
  prompt->tokens = tokens;
  prompt->n_token = (int)count;
  return tokens != NULL;
}

static bool store_prompts(struct generate_request *request, const struct request_field *field, const json_t *value) {
  bool one = json_is_string(value) || json_is_integer(json_array_get(value, 0));
  size_t count = one ? 1 : json_array_size(value);
  if (count < 1 || count > (size_t)field->max) return false;
  request->prompt = arena_array(&request->lists, count, sizeof *request->prompt);
  for (size_t i = 0; request->prompt && i < count; i++) {
    request->prompt[i] = (struct request_prompt){0};
    if (!prompt_read(request, one ? value : json_array_get(value, i), &request->prompt[i])) return false;
  }
  request->n_prompt = request->prompt ? (int)count : 0;
  return request->prompt != NULL;
}

static bool store_messages(const json_t *value) {
  for (size_t i = 0; i < json_array_size(value); i++)
    if (!json_is_object(json_array_get(value, i))) return false;
  return json_array_size(value) > 0;
}

/* --- single values ----------------------------------------------------------------------------------------------- */

static bool store_name(const struct request_field *field, const char **out, const json_t *value) {
  if (!json_is_string(value)) return false;
  struct slice text = json_slice(value);
  *out = json_string_value(value);
  return text.size >= 1 && text.size <= (size_t)field->max && !memchr(text.data, 0, text.size);
}

static bool store_stream_options(struct generate_request *request, const json_t *value) {
  const json_t *usage = json_object_get(value, "include_usage");
  request->include_usage = json_is_true(usage);
  request->has_stream_options = true;
  return json_is_object(value) && (!usage || json_is_boolean(usage) || json_is_null(usage));
}

static bool format_is_text(const json_t *value) {
  const json_t *type = json_object_get(value, "type");
  return json_is_string(type) && slice_is(json_slice(type), "text");
}

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

static bool store_early(struct generate_request *request, const json_t *value) {
  bool never = json_is_string(value) && slice_is(json_slice(value), "never");
  request->engine.early_stopping = never                 ? SPATE_EARLY_STOPPING_NEVER
                                   : json_is_true(value) ? SPATE_EARLY_STOPPING_TRUE
                                                         : SPATE_EARLY_STOPPING_FALSE;
  return never || json_is_boolean(value);
}

static bool store_seed(struct generate_request *request, const json_t *value) {
  if (!json_is_integer(value)) return false;
  request->engine.has_seed = json_integer_value(value) != -1;
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
  for (size_t i = 0; tokens && i < json_array_size(value); i++)
    if (!store_token(&tokens[i], json_array_get(value, i))) return false;
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

/* Nothing else may be in it, so that no mistake is passed over. */
static bool store_adapter(spate_lora *out, const json_t *value) {
  const json_t *name = json_object_get(value, "lora_name"), *scale = json_object_get(value, "lora_scale");
  size_t size = json_string_length(name);
  out->name = json_string_value(name);
  out->scale = scale && !json_is_null(scale) ? (float)json_number_value(scale) : 1;
  return size >= 1 && size <= LIMIT_ADAPTER_NAME_BYTES && strlen(out->name) == size &&
         (!scale || json_is_number(scale) || json_is_null(scale)) && isfinite(out->scale) &&
         json_object_size(value) == (scale ? 2u : 1u);
}

static bool store_adapters(struct generate_request *request, const struct request_field *field, const json_t *value) {
  bool one = !json_is_array(value);
  spate_lora *adapters = list_make(request, field, one ? 1 : json_array_size(value), sizeof *adapters);
  if (!adapters) return false;
  if (one) return store_adapter(adapters, value);
  for (size_t i = 0; i < json_array_size(value); i++)
    if (!store_adapter(&adapters[i], json_array_get(value, i))) return false;
  return true;
}

static bool tool_name_valid(const json_t *name) {
  size_t size = json_string_length(name);
  return size >= 1 && size <= LIMIT_TOOL_NAME_BYTES &&
         strspn(json_string_value(name), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == size;
}

static bool store_tools(struct generate_request *request, const struct request_field *field, json_t *value) {
  size_t count = json_array_size(value);
  if (count < 1 || count > (size_t)field->max) return false;
  for (size_t i = 0; i < count; i++) {
    const json_t *tool = json_array_get(value, i), *type = json_object_get(tool, "type");
    const json_t *function = json_object_get(tool, "function"), *name = json_object_get(function, "name");
    const json_t *parameters = json_object_get(function, "parameters");
    bool valid = json_is_string(type) && slice_is(json_slice(type), "function") && tool_name_valid(name) &&
                 (!parameters || json_is_null(parameters) || json_is_object(parameters));
    if (!valid || tool_find(value, json_slice(name)) != function) return false; /* or an earlier one has the name */
  }
  request->tools = value;
  return true;
}

static bool store_tool_choice(struct generate_request *request, const json_t *value) {
  bool none = json_is_string(value) && slice_is(json_slice(value), "none");
  request->no_tools = none;
  return none || (json_is_string(value) && slice_is(json_slice(value), "auto"));
}

static bool store_image(spate_image *out, const json_t *value) {
  struct slice text = json_slice(value);
  *out = (spate_image){.data = (const char *)text.data, .size = text.size, .is_text = true};
  return json_is_string(value);
}

static bool store_images(struct generate_request *request, const struct request_field *field, const json_t *value) {
  bool one = !json_is_array(value);
  spate_image *images = list_make(request, field, one ? 1 : json_array_size(value), sizeof *images);
  if (!images) return false;
  if (one) return store_image(images, value);
  for (size_t i = 0; i < json_array_size(value); i++)
    if (!store_image(&images[i], json_array_get(value, i))) return false;
  return true;
}

bool field_store(struct generate_request *request, const struct request_field *field, json_t *value) {
  void *place = (char *)request + field->offset;
  switch (field->type) {
  case FIELD_PROMPT: return store_prompt(request, value);
  case FIELD_PROMPTS: return store_prompts(request, field, value);
  case FIELD_MESSAGES: return store_messages(value);
  case FIELD_NAME: return store_name(field, place, value);
  case FIELD_STREAM_OPTIONS: return store_stream_options(request, value);
  case FIELD_FORMAT: return format_is_text(value);
  case FIELD_VARIABLES: return json_is_object(value);
  case FIELD_WORD: return json_is_string(value);
  case FIELD_TOOLS: return store_tools(request, field, value);
  case FIELD_TOOL_CHOICE: return store_tool_choice(request, value);
  case FIELD_BOOL: return store_bool(place, value);
  case FIELD_INT: return store_int(field, place, value);
  case FIELD_FLOAT: return store_float(field, place, value);
  case FIELD_SEED: return store_seed(request, value);
  case FIELD_TEXTS: return store_texts(request, field, value);
  case FIELD_TOKENS: return store_tokens(request, field, value);
  case FIELD_BIASES: return store_biases(request, field, value);
  case FIELD_ADAPTERS: return store_adapters(request, field, value);
  case FIELD_IMAGES: return store_images(request, field, value);
  case FIELD_EARLY: return store_early(request, value);
  case FIELD_ONE: return json_number_value(value) == 1;
  case FIELD_FALSE: return json_is_false(value);
  case FIELD_LATER: break;
  }
  return false;
}

/* Numbers and booleans by value, the rest by kind: a string may be a megabyte. */
void field_value_describe(const json_t *value, struct buffer *out) {
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
