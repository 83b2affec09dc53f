/* As transformers reads them: added_tokens_decoder of tokenizer_config.json says all where it is there; else
 * added_tokens.json, and special_tokens_map.json before tokenizer_config.json. */
#include "model/classic_added.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECODER "added_tokens_decoder"

static bool no_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "There is no memory for a tokenizer.");
}

bool classic_class_named(const char *class, const char *name) {
  size_t size = strlen(class);
  return strncmp(name, class, size) == 0 && (name[size] == '\0' || strcmp(name + size, "Fast") == 0);
}

static const json_t *said_of(const struct classic_vocabulary *files, const char *key) {
  const json_t *value = json_object_get(files->settings, DECODER) ? NULL : json_object_get(files->specials, key);
  return value && !json_is_null(value) ? value : json_object_get(files->settings, key);
}

/* Of a text, or of an object that describes an added token; NULL: there is none. */
static const char *special_text(const json_t *value) {
  return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

const char *classic_special(const struct classic_vocabulary *files, const char *key, const char *usual) {
  const char *text = special_text(said_of(files, key));
  return text ? text : usual;
}

bool classic_id_find(const json_t *model, const char *token, json_int_t *id) {
  const json_t *found = token ? json_object_get(json_object_get(model, "vocab"), token) : NULL;
  *id = json_integer_value(found);
  return json_is_integer(found);
}

static bool added_flag(const json_t *value, const char *key, bool usual) {
  const json_t *flag = json_object_get(value, key);
  return json_is_boolean(flag) ? json_is_true(flag) : usual;
}

/* Puts it among `tokens`, by its text; `value` may be an object that describes it. */
static bool token_put(json_t *tokens, json_int_t id, const char *text, const json_t *value, bool special,
                      struct error *error) {
  special = added_flag(value, "special", special);
  json_t *token = json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text, "single_word",
                            added_flag(value, "single_word", false), "lstrip", added_flag(value, "lstrip", false),
                            "rstrip", added_flag(value, "rstrip", false), "normalized",
                            added_flag(value, "normalized", !special), "special", (int)special);
  return (token && json_object_set_new(tokens, text, token) == 0) || no_memory(error);
}

/* added_tokens_decoder (id: {"content": text}) or added_tokens.json (text: id): each as of the latter. */
static bool extra_read(const char *key, const json_t *value, bool decoder, const char **text, json_int_t *id) {
  const json_t *content = json_object_get(value, "content");
  char *end = NULL;
  *text = decoder ? json_string_value(content) : key;
  *id = decoder ? strtoll(key, &end, 10) : json_integer_value(value);
  bool whole = decoder ? end != key && *end == '\0' : json_is_integer(value);
  return whole && *text && **text && (!decoder || strlen(*text) == json_string_length(content)) && *id >= 0 &&
         *id < LIMIT_VOCAB;
}

struct extras {
  const json_t *model;
  bool decoder;
  const char *file;    /* and what in it */
  json_t *ids;         /* of those that the vocabulary lacks */
  json_int_t greatest; /* of these */
};

static bool extra_add(struct extras *extras, const char *key, const json_t *value, json_t *tokens,
                      struct error *error) {
  const char *text;
  char number[32];
  json_int_t id, own, size = (json_int_t)json_object_size(json_object_get(extras->model, "vocab"));
  if (!extra_read(key, value, extras->decoder, &text, &id))
    return error_set(error, ERROR_FORMAT, "%s has \"%.60s\", expected texts of tokens and ids below %d.", extras->file,
                     key, LIMIT_VOCAB);
  bool known = classic_id_find(extras->model, text, &own);
  snprintf(number, sizeof number, "%lld", (long long)id);
  if ((known && own != id) || (!known && (id < size || json_object_get(extras->ids, number))))
    return error_set(error, ERROR_FORMAT, "%s: the token \"%.60s\" has id %lld, which is another's.", extras->file,
                     text, (long long)id);
  if (!known && id > extras->greatest) extras->greatest = id;
  if (!known && json_object_set_new(extras->ids, number, json_true()) != 0) return no_memory(error);
  return token_put(tokens, id, text, value, false, error);
}

/* Those that the vocabulary lacks come behind it, one id after the other. */
static bool extras_add(const struct classic_vocabulary *files, const json_t *model, json_t *tokens,
                       struct error *error) {
  json_t *list = json_object_get(files->settings, DECODER), *value;
  struct extras extras = {model, list, list ? "tokenizer_config.json: " DECODER : "added_tokens.json", json_object(),
                          -1};
  const char *key;
  bool ok = true;
  if (!list) list = (json_t *)(uintptr_t)files->added;
  json_object_foreach(list, key, value) {
    ok = extra_add(&extras, key, value, tokens, error);
    if (!ok) break;
  }
  long long n = (long long)json_object_size(extras.ids),
            size = (long long)json_object_size(json_object_get(model, "vocab"));
  json_decref(extras.ids);
  if (!ok || n == 0 || extras.greatest == size + n - 1) return ok;
  return error_set(error, ERROR_FORMAT, "%s: the greatest id is %lld, expected %lld: the vocabulary's %lld and %lld.",
                   extras.file, (long long)extras.greatest, size + n - 1, size, n);
}

/* `text` is that of `value`, or the class's own where the files say none: that may be absent. */
static bool special_add(const json_t *model, json_t *tokens, const json_t *value, const char *text,
                        struct error *error) {
  json_int_t id;
  const json_t *known = text ? json_object_get(tokens, text) : NULL;
  if (known)
    id = json_integer_value(json_object_get(known, "id"));
  else if (!classic_id_find(model, text, &id))
    return !value || error_set(error, ERROR_UNSUPPORTED,
                               "The special token \"%.60s\" is neither in the vocabulary nor in added_tokens.json.",
                               text ? text : "");
  return token_put(tokens, id, text, value, true, error);
}

static bool specials_add(const struct classic_vocabulary *files, const json_t *model, const char *const *keys,
                         const char *const *usual, int n, json_t *tokens, struct error *error) {
  bool decoder = json_object_get(files->settings, DECODER) != NULL;
  const json_t *more = said_of(files, "additional_special_tokens");
  for (int i = 0; i < n; i++) {
    const json_t *value = said_of(files, keys[i]);
    const char *text = classic_special(files, keys[i], usual[i]);
    bool said = json_is_string(value) || json_is_object(value), known = text && json_object_get(tokens, text);
    if (!(decoder && known) && !special_add(model, tokens, said ? value : NULL, text, error)) return false;
  }
  for (size_t i = 0; i < json_array_size(more); i++) {
    const json_t *value = json_array_get(more, i);
    const char *text = special_text(value);
    if (!(text && json_object_get(tokens, text)) && !special_add(model, tokens, value, text, error)) return false;
  }
  return true;
}

json_t *classic_added_make(const struct classic_vocabulary *files, const json_t *model, const char *const *keys,
                           const char *const *usual, int n, struct error *error) {
  json_t *tokens = json_object();
  if (tokens && extras_add(files, model, tokens, error) && specials_add(files, model, keys, usual, n, tokens, error))
    return tokens;
  if (!tokens) no_memory(error);
  json_decref(tokens);
  return NULL;
}
