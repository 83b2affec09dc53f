/* Settings by name: paths in config.json, or GGUF metadata keys below the architecture's prefix. */
#include "model/model_config.h"

#include <stdio.h>

enum { KEY_BYTES = 160 };

const char *config_key_name(const struct checkpoint *checkpoint, struct config_key key, char out[160]) {
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  snprintf(out, KEY_BYTES, gguf ? "%.63s.%.90s" : "%.16s: %.90s",
           gguf ? checkpoint_architecture(checkpoint) : "config.json", gguf ? key.gguf : key.hf);
  return out;
}

/* --- config.json ------------------------------------------------------------------------------------------------- */

/* The value at a path of object keys joined by dots; NULL when absent. */
static const json_t *json_at(const json_t *object, const char *path) {
  while (object && *path) {
    size_t size = strcspn(path, ".");
    object = json_object_getn(object, path, size);
    path += size;
    if (*path == '.') path++;
  }
  return object;
}

/* NULL when absent or null. */
static const json_t *json_find(const struct checkpoint *c, struct config_key key) {
  if (!key.hf) return NULL;
  const json_t *config = checkpoint_config(c), *value = json_at(json_object_get(config, "text_config"), key.hf);
  if (!value || json_is_null(value)) value = json_at(config, key.hf);
  return json_is_null(value) ? NULL : value;
}

bool config_is_null(const struct checkpoint *checkpoint, struct config_key key) {
  const json_t *config = checkpoint_config(checkpoint);
  const json_t *value = json_at(json_object_get(config, "text_config"), key.hf);
  return json_is_null(value ? value : json_at(config, key.hf));
}

/* --- GGUF -------------------------------------------------------------------------------------------------------- */

static const struct gguf_value *gguf_at(const struct checkpoint *c, struct config_key key, char name[KEY_BYTES]) {
  if (!key.gguf) return NULL;
  return gguf_find(checkpoint_gguf(c), config_key_name(c, key, name));
}

/* --- both -------------------------------------------------------------------------------------------------------- */

static const char *json_kind(const json_t *value) {
  switch (json_typeof(value)) {
  case JSON_OBJECT: return "an object";
  case JSON_ARRAY: return "an array";
  case JSON_STRING: return "a text";
  case JSON_INTEGER: return "a whole number";
  case JSON_REAL: return "a number with a fraction";
  default: return "true or false";
  }
}

static bool config_mistyped(const struct checkpoint *c, struct config_key key, const json_t *value,
                            const char *expected, struct error *error) {
  char name[KEY_BYTES];
  return error_set(error, ERROR_INVALID, "%s is %s, expected %s.", config_key_name(c, key, name), json_kind(value),
                   expected);
}

static bool config_missing(const struct checkpoint *c, struct config_key key, struct error *error) {
  char name[KEY_BYTES];
  return error_set(error, ERROR_INVALID, "%s is missing; the model cannot be loaded without it.",
                   config_key_name(c, key, name));
}

bool config_has(const struct checkpoint *checkpoint, struct config_key key) {
  char name[KEY_BYTES];
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) return gguf_at(checkpoint, key, name) != NULL;
  return json_find(checkpoint, key) != NULL;
}

/* *found tells an absent key from one whose number is in *number. */
static bool int_read(const struct checkpoint *c, struct config_key key, bool *found, int64_t *number,
                     struct error *error) {
  char name[KEY_BYTES];
  *found = config_has(c, key);
  if (!*found) return true;
  if (checkpoint_kind(c) == CHECKPOINT_GGUF)
    return gguf_get_i64(checkpoint_gguf(c), config_key_name(c, key, name), GGUF_REQUIRED, number, error);
  const json_t *value = json_find(c, key);
  if (!json_is_integer(value)) return config_mistyped(c, key, value, "a whole number", error);
  *number = json_integer_value(value);
  return true;
}

bool config_int(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, int min, int max,
                int *value, struct error *error) {
  bool found;
  int64_t number;
  char name[KEY_BYTES];
  if (!int_read(checkpoint, key, &found, &number, error)) return false;
  if (!found) return need == CONFIG_OPTIONAL || config_missing(checkpoint, key, error);
  if (number < min || number > max)
    return error_set(error, ERROR_INVALID, "%s is %lld, expected %d to %d.", config_key_name(checkpoint, key, name),
                     (long long)number, min, max);
  *value = (int)number;
  return true;
}

bool config_float(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, double min,
                  double max, double *value, struct error *error) {
  char name[KEY_BYTES];
  double number = 0;
  if (!config_has(checkpoint, key)) return need == CONFIG_OPTIONAL || config_missing(checkpoint, key, error);
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) {
    config_key_name(checkpoint, key, name);
    if (!gguf_get_float(checkpoint_gguf(checkpoint), name, GGUF_REQUIRED, &number, error)) return false;
  } else {
    const json_t *json = json_find(checkpoint, key);
    if (!json_is_number(json)) return config_mistyped(checkpoint, key, json, "a number", error);
    number = json_number_value(json);
  }
  if (!(number >= min && number <= max))
    return error_set(error, ERROR_INVALID, "%s is %g, expected %g to %g.", config_key_name(checkpoint, key, name),
                     number, min, max);
  *value = number;
  return true;
}

bool config_bool(const struct checkpoint *checkpoint, struct config_key key, bool *value, struct error *error) {
  char name[KEY_BYTES];
  if (!config_has(checkpoint, key)) return true;
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF)
    return gguf_get_bool(checkpoint_gguf(checkpoint), config_key_name(checkpoint, key, name), GGUF_REQUIRED, value,
                         error);
  const json_t *json = json_find(checkpoint, key);
  if (!json_is_boolean(json)) return config_mistyped(checkpoint, key, json, "true or false", error);
  *value = json_is_true(json);
  return true;
}

bool config_text(const struct checkpoint *checkpoint, struct config_key key, struct slice *value, struct error *error) {
  char name[KEY_BYTES];
  if (!config_has(checkpoint, key)) return true;
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF)
    return gguf_get_string(checkpoint_gguf(checkpoint), config_key_name(checkpoint, key, name), GGUF_REQUIRED, value,
                           error);
  const json_t *json = json_find(checkpoint, key);
  if (!json_is_string(json)) return config_mistyped(checkpoint, key, json, "a text", error);
  *value = json_slice(json);
  return true;
}

int config_list_size(const struct checkpoint *checkpoint, struct config_key key) {
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) return -1;
  const json_t *json = json_find(checkpoint, key);
  return json_is_array(json) ? (int)json_array_size(json) : -1;
}

bool config_list_text(const struct checkpoint *checkpoint, struct config_key key, int index, struct slice *value,
                      struct error *error) {
  const json_t *json = json_array_get(json_find(checkpoint, key), (size_t)index);
  if (!json_is_string(json))
    return config_mistyped(checkpoint, key, json_find(checkpoint, key), "an array of texts", error);
  *value = json_slice(json);
  return true;
}

bool config_list_int(const struct checkpoint *checkpoint, struct config_key key, int index, int min, int max,
                     int *value, struct error *error) {
  char name[KEY_BYTES];
  const json_t *json = json_array_get(json_find(checkpoint, key), (size_t)index);
  if (!json_is_integer(json))
    return config_mistyped(checkpoint, key, json_find(checkpoint, key), "an array of whole numbers", error);
  json_int_t number = json_integer_value(json);
  if (number < min || number > max)
    return error_set(error, ERROR_INVALID, "%s[%d] is %lld, expected %d to %d.", config_key_name(checkpoint, key, name),
                     index, (long long)number, min, max);
  *value = (int)number;
  return true;
}

bool config_list_float(const struct checkpoint *checkpoint, struct config_key key, int index, double min, double max,
                       double *value, struct error *error) {
  char name[KEY_BYTES];
  const json_t *json = json_array_get(json_find(checkpoint, key), (size_t)index);
  if (!json_is_number(json))
    return config_mistyped(checkpoint, key, json_find(checkpoint, key), "an array of numbers", error);
  double number = json_number_value(json);
  if (!(number >= min && number <= max))
    return error_set(error, ERROR_INVALID, "%s[%d] is %g, expected %g to %g.", config_key_name(checkpoint, key, name),
                     index, number, min, max);
  *value = number;
  return true;
}
