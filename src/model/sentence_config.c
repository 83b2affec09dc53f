/* modules.json is a list of {"type": a Python class, "path": its folder}. */
#include "model/sentence_config.h"

#include "base/limits.h"

#include <limits.h>
#include <stdio.h>

/* --- pooling ------------------------------------------------------------------------------------------------------ */

static const struct pool_name {
  const char *flag, *mode; /* the key that is true, or what "pooling_mode" is */
  enum select_pool pool;
} pool_names[] = {{"pooling_mode_cls_token", "cls", POOL_FIRST},
                  {"pooling_mode_mean_tokens", "mean", POOL_MEAN},
                  {"pooling_mode_lasttoken", "lasttoken", POOL_TOKEN}};

static const char flag_prefix[] = "pooling_mode_";

static const struct pool_name *pool_find(const char *name) {
  for (size_t i = 0; i < sizeof pool_names / sizeof *pool_names; i++)
    if (strcmp(pool_names[i].flag, name) == 0 || strcmp(pool_names[i].mode, name) == 0) return &pool_names[i];
  return NULL;
}

/* One way of pooling, by its name or by the flag that is set. */
static bool pool_choose(struct sentence_config *config, const char *path, const json_t *object, struct error *error) {
  const char *chosen = json_string_value(json_object_get(object, "pooling_mode")), *key;
  int count = chosen != NULL;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    if (strncmp(key, flag_prefix, sizeof flag_prefix - 1) != 0 || !json_is_true(value)) continue;
    chosen = key;
    count++;
  }
  const struct pool_name *name = count == 1 ? pool_find(chosen) : NULL;
  if (name) config->pool = name->pool;
  if (name) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "%s asks for %d ways of pooling%s%.60s; expected one of cls, mean and lasttoken.", path, count,
                   chosen ? ", among them " : "", chosen ? chosen : "");
}

static bool pooling_read(struct sentence_config *config, const struct checkpoint *c, const char *folder,
                         struct error *error) {
  char path[NAME_MAX + 16];
  json_t *object;
  snprintf(path, sizeof path, "%s%sconfig.json", folder, *folder ? "/" : "");
  if (!checkpoint_json(c, path, &object, error)) return false;
  bool ok = json_is_object(object)
                ? pool_choose(config, path, object, error)
                : error_set(error, ERROR_FORMAT, "modules.json names %s, which holds no JSON object.", path);
  json_decref(object);
  return ok;
}

/* --- stages ------------------------------------------------------------------------------------------------------- */

/* The class's own name, behind those of its modules. */
static const char *class_of(const char *type) {
  const char *dot = strrchr(type, '.');
  return dot ? dot + 1 : type;
}

static bool folder_valid(const char *folder) {
  return strlen(folder) < NAME_MAX && !strchr(folder, '/') && strcmp(folder, "..") != 0;
}

static bool stage_read(struct sentence_config *config, const struct checkpoint *c, const json_t *stage, size_t index,
                       struct error *error) {
  const char *type = json_string_value(json_object_get(stage, "type"));
  const char *folder = json_string_value(json_object_get(stage, "path"));
  if (!type || !folder || !folder_valid(folder))
    return error_set(error, ERROR_FORMAT,
                     "modules.json: entry %zu has no \"type\", or no \"path\" that is a folder of the model.", index);
  const char *class = class_of(type);
  if (strcmp(class, "Transformer") == 0 && *folder == '\0') return true;
  if (strcmp(class, "Pooling") == 0) return pooling_read(config, c, folder, error);
  if (strcmp(class, "Normalize") == 0) return config->normalize = true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "modules.json: entry %zu is a %.60s in \"%.60s\"; Spate does a Transformer in \"\", Pooling and "
                   "Normalize.",
                   index, class, folder);
}

static bool stages_read(struct sentence_config *config, const struct checkpoint *c, const json_t *list,
                        struct error *error) {
  if (!json_is_array(list) || json_array_size(list) == 0)
    return error_set(error, ERROR_FORMAT, "modules.json holds no list of stages.");
  config->found = true;
  config->normalize = false;
  for (size_t i = 0; i < json_array_size(list); i++)
    if (!stage_read(config, c, json_array_get(list, i), i, error)) return false;
  return true;
}

static bool length_read(struct sentence_config *config, const struct checkpoint *c, struct error *error) {
  static const char name[] = "sentence_bert_config.json";
  json_t *object;
  if (!checkpoint_json(c, name, &object, error)) return false;
  const json_t *value = json_object_get(object, "max_seq_length");
  json_int_t length = json_integer_value(value);
  bool ok = !value || json_is_null(value) || (json_is_integer(value) && length >= 2 && length <= LIMIT_MODEL_POSITIONS);
  if (ok && json_is_integer(value)) config->max_length = (int)length;
  json_decref(object);
  return ok || error_set(error, ERROR_FORMAT, "%s: max_seq_length is expected to be a number from 2 to %d.", name,
                         LIMIT_MODEL_POSITIONS);
}

bool sentence_config_read(struct sentence_config *config, const struct checkpoint *c, struct error *error) {
  *config = (struct sentence_config){.pool = POOL_MEAN, .normalize = true};
  if (checkpoint_kind(c) != CHECKPOINT_HF) return true;
  json_t *list;
  if (!checkpoint_json(c, "modules.json", &list, error)) return false;
  bool ok = !list || stages_read(config, c, list, error);
  json_decref(list);
  return ok && length_read(config, c, error);
}
