/* Settings by name: paths in config.json, or GGUF metadata keys below the architecture's prefix. All that is read of
 * config.json goes through value_find, which knows what is expected: a value that is there and is something else is a
 * sentence, as is one on the way to it. */
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

static bool json_wrong(const char *name, const json_t *value, const char *expected, struct error *error) {
  return error_set(error, ERROR_INVALID, "config.json: %s is %s, expected %s.", name, json_kind(value), expected);
}

/* Names of one setting: as a family's code of its own had it, and as transformers' classes have it, whose attribute_map
 * lets a file have either. */
enum { SPELLINGS = 4 };
static const char *const synonyms[][SPELLINGS] = {
    {"num_hidden_layers", "n_layer", "n_layers", "depth"},
    {"num_attention_heads", "n_head", "n_heads", "num_heads"},
    {"hidden_size", "n_embd", "d_model"},
    {"intermediate_size", "n_inner"},
    {"max_position_embeddings", "n_positions", "max_seq_len"},
    {"num_experts", "num_local_experts", "n_routed_experts"},
    {"num_nextn_predict_layers", "num_mtp_layers"},
    {"layer_norm_eps", "layer_norm_epsilon"},
    {"image_token_id", "image_token_index"},
};

/* The other names of a key, NULL behind the last; none: it has but one. */
static const char *const *spellings_of(const char *name) {
  static const char *const none[1] = {NULL};
  for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++)
    for (int k = 0; k < SPELLINGS && synonyms[i][k]; k++)
      if (strcmp(synonyms[i][k], name) == 0) return synonyms[i];
  return none;
}

/* A place in config.json: the value (NULL: there is none), and the path to it, or to what is in its way. */
struct place {
  const json_t *value;
  bool blocked; /* by a value that should be an object */
  char path[KEY_BYTES];
};

/* From an object along keys joined by dots. */
static void json_walk(const json_t *object, const char *path, struct place *place) {
  *place = (struct place){.value = object};
  snprintf(place->path, sizeof place->path, "%s", path);
  for (size_t at = 0; place->value && path[at];) {
    if (!json_is_object(place->value)) {
      place->blocked = !json_is_null(place->value);
      if (!place->blocked) place->value = NULL;
      place->path[at > 0 ? at - 1 : 0] = '\0';
      return;
    }
    size_t size = strcspn(path + at, ".");
    place->value = json_object_getn(place->value, path + at, size);
    at += size + (path[at + size] == '.');
  }
}

static bool place_holds(const struct place *place) { return place->value && !json_is_null(place->value); }

/* By the key's name or, where there is nothing, by one of the others that its last part has. A null counts where there
 * is nothing else. */
static void json_spelled(const json_t *object, const char *path, struct place *found) {
  const char *dot = strrchr(path, '.'), *last = dot ? dot + 1 : path;
  const char *const *other = spellings_of(last);
  json_walk(object, path, found);
  for (int i = 0; i < SPELLINGS && other[i] && !found->blocked && !place_holds(found); i++) {
    char spelled[KEY_BYTES];
    struct place place;
    snprintf(spelled, sizeof spelled, "%.*s%s", (int)(last - path), path, other[i]);
    json_walk(object, spelled, &place);
    if (place_holds(&place) || !found->value) *found = place;
  }
}

/* Below "text_config" first, if there is one. */
static void json_find(const struct checkpoint *c, struct config_key key, struct place *found) {
  const json_t *config = checkpoint_config(c), *text = json_object_get(config, "text_config");
  *found = (struct place){0};
  if (!key.hf) return;
  if (text && !json_is_object(text) && !json_is_null(text)) {
    *found = (struct place){.value = text, .blocked = true, .path = "text_config"};
    return;
  }
  json_spelled(text, key.hf, found);
  if (found->blocked || place_holds(found)) return;
  struct place above;
  json_spelled(config, key.hf, &above);
  if (above.value) *found = above;
}

bool config_is_null(const struct checkpoint *checkpoint, struct config_key key) {
  struct place place;
  json_find(checkpoint, key, &place);
  return place.value && json_is_null(place.value);
}

static bool json_is_whole(const json_t *value) { return json_is_integer(value); }
static bool json_is_some_number(const json_t *value) { return json_is_number(value); }
static bool json_is_flag(const json_t *value) { return json_is_boolean(value); }
static bool json_is_text(const json_t *value) { return json_is_string(value); }
static bool json_is_list(const json_t *value) { return json_is_array(value); }
static bool json_is_section(const json_t *value) { return json_is_object(value); }

/* What a value may be, and how sentences call it. */
static const struct kind {
  bool (*is)(const json_t *value);
  const char *name;
} kind_whole = {json_is_whole, "a whole number"}, kind_number = {json_is_some_number, "a number"},
  kind_flag = {json_is_flag, "true or false"}, kind_text = {json_is_text, "a text"},
  kind_list = {json_is_list, "an array"}, kind_object = {json_is_section, "an object"};

/* *value is NULL where the file has none, or null. */
static bool value_find(const struct checkpoint *c, struct config_key key, const struct kind *kind, struct place *place,
                       struct error *error) {
  json_find(c, key, place);
  if (place->blocked) return json_wrong(place->path, place->value, kind_object.name, error);
  if (place->value && json_is_null(place->value)) place->value = NULL;
  return !place->value || kind->is(place->value) || json_wrong(place->path, place->value, kind->name, error);
}

/* --- GGUF -------------------------------------------------------------------------------------------------------- */

static const struct gguf_value *gguf_at(const struct checkpoint *c, struct config_key key, char name[KEY_BYTES]) {
  if (!key.gguf) return NULL;
  return gguf_find(checkpoint_gguf(c), config_key_name(c, key, name));
}

/* --- both -------------------------------------------------------------------------------------------------------- */

static bool config_missing(const struct checkpoint *c, struct config_key key, struct error *error) {
  char name[KEY_BYTES];
  return error_set(error, ERROR_INVALID, "%s is missing; the model cannot be loaded without it.",
                   config_key_name(c, key, name));
}

bool config_has(const struct checkpoint *checkpoint, struct config_key key) {
  char name[KEY_BYTES];
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) return gguf_at(checkpoint, key, name) != NULL;
  struct place place;
  json_find(checkpoint, key, &place);
  return place_holds(&place);
}

/* The key by the name that it was found under. */
static struct config_key key_found(struct config_key key, const struct place *place) {
  return (struct config_key){place->value ? place->path : key.hf, key.gguf};
}

bool config_int(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, int min, int max,
                int *value, struct error *error) {
  struct place place = {0};
  int64_t number = 0;
  char name[KEY_BYTES];
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF, found;
  if (!gguf && !value_find(checkpoint, key, &kind_whole, &place, error)) return false;
  found = gguf ? gguf_at(checkpoint, key, name) != NULL : place.value != NULL;
  if (!found) return need == CONFIG_OPTIONAL || config_missing(checkpoint, key, error);
  if (gguf && !gguf_get_alike(checkpoint_gguf(checkpoint), name, &number, error)) return false;
  if (!gguf) number = json_integer_value(place.value);
  if (number < min || number > max)
    return error_set(error, ERROR_INVALID, "%s is %lld, expected %d to %d.",
                     config_key_name(checkpoint, key_found(key, &place), name), (long long)number, min, max);
  *value = (int)number;
  return true;
}

bool config_float(const struct checkpoint *checkpoint, struct config_key key, enum config_need need, double min,
                  double max, double *value, struct error *error) {
  struct place place = {0};
  double number = 0;
  char name[KEY_BYTES];
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF, found;
  if (!gguf && !value_find(checkpoint, key, &kind_number, &place, error)) return false;
  found = gguf ? gguf_at(checkpoint, key, name) != NULL : place.value != NULL;
  if (!found) return need == CONFIG_OPTIONAL || config_missing(checkpoint, key, error);
  if (gguf && !gguf_get_float(checkpoint_gguf(checkpoint), name, GGUF_REQUIRED, &number, error)) return false;
  if (!gguf) number = json_number_value(place.value);
  if (!(number >= min && number <= max))
    return error_set(error, ERROR_INVALID, "%s is %g, expected %g to %g.",
                     config_key_name(checkpoint, key_found(key, &place), name), number, min, max);
  *value = number;
  return true;
}

bool config_bool(const struct checkpoint *checkpoint, struct config_key key, bool *value, struct error *error) {
  struct place place;
  char name[KEY_BYTES];
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF)
    return !gguf_at(checkpoint, key, name) ||
           gguf_get_bool(checkpoint_gguf(checkpoint), name, GGUF_REQUIRED, value, error);
  if (!value_find(checkpoint, key, &kind_flag, &place, error)) return false;
  if (place.value) *value = json_is_true(place.value);
  return true;
}

bool config_text(const struct checkpoint *checkpoint, struct config_key key, struct slice *value, struct error *error) {
  struct place place;
  char name[KEY_BYTES];
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF)
    return !gguf_at(checkpoint, key, name) ||
           gguf_get_string(checkpoint_gguf(checkpoint), name, GGUF_REQUIRED, value, error);
  if (!value_find(checkpoint, key, &kind_text, &place, error)) return false;
  if (place.value) *value = json_slice(place.value);
  return true;
}

bool config_object(const struct checkpoint *checkpoint, struct config_key key, const json_t **object,
                   struct error *error) {
  struct place place = {0};
  if (!value_find(checkpoint, key, &kind_object, &place, error)) return false;
  *object = place.value;
  return true;
}

bool config_list(const struct checkpoint *checkpoint, struct config_key key, int *count, struct error *error) {
  struct place place = {0};
  if (!value_find(checkpoint, key, &kind_list, &place, error)) return false;
  *count = place.value ? (int)json_array_size(place.value) : -1;
  return true;
}

bool config_is_list(const struct checkpoint *checkpoint, struct config_key key) {
  struct place place;
  json_find(checkpoint, key, &place);
  return json_is_array(place.value);
}

/* One element. */
static bool element_find(const struct checkpoint *c, struct config_key key, int index, const struct kind *kind,
                         struct place *place, struct error *error) {
  if (!value_find(c, key, &kind_list, place, error)) return false;
  const json_t *element = json_array_get(place->value, (size_t)index);
  size_t size = strlen(place->path);
  snprintf(place->path + size, sizeof place->path - size, "[%d]", index);
  place->value = element;
  if (!element) return error_set(error, ERROR_INVALID, "config.json: %s is missing.", place->path);
  if (json_is_null(element))
    return error_set(error, ERROR_INVALID, "config.json: %s is null, expected %s.", place->path, kind->name);
  return kind->is(element) || json_wrong(place->path, element, kind->name, error);
}

bool config_list_text(const struct checkpoint *checkpoint, struct config_key key, int index, struct slice *value,
                      struct error *error) {
  struct place place;
  if (!element_find(checkpoint, key, index, &kind_text, &place, error)) return false;
  *value = json_slice(place.value);
  return true;
}

bool config_list_int(const struct checkpoint *checkpoint, struct config_key key, int index, int min, int max,
                     int *value, struct error *error) {
  struct place place;
  if (!element_find(checkpoint, key, index, &kind_whole, &place, error)) return false;
  json_int_t number = json_integer_value(place.value);
  if (number < min || number > max)
    return error_set(error, ERROR_INVALID, "config.json: %s is %lld, expected %d to %d.", place.path, (long long)number,
                     min, max);
  *value = (int)number;
  return true;
}

bool config_list_float(const struct checkpoint *checkpoint, struct config_key key, int index, double min, double max,
                       double *value, struct error *error) {
  struct place place;
  if (!element_find(checkpoint, key, index, &kind_number, &place, error)) return false;
  double number = json_number_value(place.value);
  if (!(number >= min && number <= max))
    return error_set(error, ERROR_INVALID, "config.json: %s is %g, expected %g to %g.", place.path, number, min, max);
  *value = number;
  return true;
}
