/* modules.json is a list of {"type": a Python class, "path": its folder}. */
#include "model/sentence_config.h"

#include "base/limits.h"
#include "model/model_config.h"
#include "model/rank_words.h"

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

static bool pooling_take(struct sentence_config *config, const char *path, const json_t *object, struct error *error) {
  config->without_prompt = json_is_false(json_object_get(object, "include_prompt"));
  return pool_choose(config, path, object, error);
}

/* --- dense -------------------------------------------------------------------------------------------------------- */

static const struct {
  const char *class;
  enum act_kind act;
} dense_acts[] = {{"torch.nn.modules.linear.Identity", ACT_NONE},
                  {"torch.nn.modules.activation.Tanh", ACT_TANH},
                  {"torch.nn.modules.activation.GELU", ACT_GELU},
                  {"torch.nn.modules.activation.SiLU", ACT_SILU},
                  {"torch.nn.modules.activation.ReLU", ACT_RELU}};

static bool dense_act_read(struct dense_stage *stage, const char *path, const json_t *object, struct error *error) {
  const json_t *given = json_object_get(object, "activation_function");
  const char *name = given ? json_string_value(given) : "torch.nn.modules.activation.Tanh";
  for (size_t i = 0; name && i < sizeof dense_acts / sizeof *dense_acts; i++) {
    if (strcmp(dense_acts[i].class, name) != 0) continue;
    stage->act = dense_acts[i].act;
    return true;
  }
  return error_set(error, ERROR_UNSUPPORTED,
                   "%s: activation_function is \"%.80s\", expected torch's Identity, Tanh, GELU, SiLU or ReLU.", path,
                   name ? name : "");
}

static bool dense_size(const json_t *object, const char *key, const char *path, int *size, struct error *error) {
  const json_t *value = json_object_get(object, key);
  json_int_t number = json_integer_value(value);
  bool ok = json_is_integer(value) && number >= 1 && number <= LIMIT_MODEL_WIDTH;
  if (ok) *size = (int)number;
  return ok || error_set(error, ERROR_FORMAT, "%s: %s is expected to be a number from 1 to %d.", path, key,
                         LIMIT_MODEL_WIDTH);
}

/* Newer ones may take or leave other values than a text's vector. */
static bool dense_names_check(const char *path, const json_t *object, struct error *error) {
  static const char *const keys[] = {"module_input_name", "module_output_name"};
  for (int i = 0; i < 2; i++) {
    const char *name = json_string_value(json_object_get(object, keys[i]));
    if (name && strcmp(name, "sentence_embedding") != 0)
      return error_set(error, ERROR_UNSUPPORTED, "%s: %s is \"%.60s\", expected \"sentence_embedding\".", path, keys[i],
                       name);
  }
  return true;
}

static bool dense_take(struct sentence_config *config, const char *folder, const char *path, const json_t *object,
                       struct error *error) {
  if (config->n_dense == DENSE_STAGES || config->normalize)
    return error_set(error, ERROR_UNSUPPORTED,
                     "modules.json: %.60s is a Dense stage %s; Spate does up to %d, before Normalize.", folder,
                     config->normalize ? "behind Normalize" : "too many", DENSE_STAGES);
  struct dense_stage *stage = &config->dense[config->n_dense++];
  snprintf(stage->folder, sizeof stage->folder, "%s", folder);
  const json_t *bias = json_object_get(object, "bias");
  stage->bias = !json_is_false(bias);
  return dense_size(object, "in_features", path, &stage->cols, error) &&
         dense_size(object, "out_features", path, &stage->rows, error) && dense_names_check(path, object, error) &&
         dense_act_read(stage, path, object, error);
}

/* --- yes and no --------------------------------------------------------------------------------------------------- */

/* A token's id, −1 for null where that may be. */
static bool token_take(const json_t *object, const char *key, const char *path, bool needed, int *id,
                       struct error *error) {
  const json_t *value = json_object_get(object, key);
  json_int_t number = json_integer_value(value);
  bool none = !needed && (!value || json_is_null(value));
  bool ok = none || (json_is_integer(value) && number >= 0 && number < LIMIT_VOCAB);
  if (ok) *id = none ? -1 : (int)number;
  return ok || error_set(error, ERROR_FORMAT, "%s: %s is expected to be a token's id.", path, key);
}

static bool logits_take(struct sentence_config *config, const char *path, const json_t *object, struct error *error) {
  const char *name = json_string_value(json_object_get(object, "module_input_name"));
  if (name && strcmp(name, "causal_logits") != 0)
    return error_set(error, ERROR_UNSUPPORTED, "%s: module_input_name is \"%.60s\", expected \"causal_logits\".", path,
                     name);
  return token_take(object, "true_token_id", path, true, &config->yes, error) &&
         token_take(object, "false_token_id", path, false, &config->no, error);
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

/* By the config.json of its folder. */
static bool stage_take(struct sentence_config *config, const struct checkpoint *c, const char *class,
                       const char *folder, struct error *error) {
  char path[NAME_MAX + 16];
  json_t *object;
  snprintf(path, sizeof path, "%s%sconfig.json", folder, *folder ? "/" : "");
  if (!checkpoint_json(c, path, &object, error)) return false;
  bool ok = json_is_object(object) ||
            error_set(error, ERROR_FORMAT, "modules.json names %s, which holds no JSON object.", path);
  if (ok && *class == 'P') ok = pooling_take(config, path, object, error);
  if (ok && *class == 'D') ok = dense_take(config, folder, path, object, error);
  if (ok && *class == 'L') ok = logits_take(config, path, object, error);
  json_decref(object);
  return ok;
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
  if (strcmp(class, "Normalize") == 0) return config->normalize = true;
  if (strcmp(class, "Pooling") == 0 || strcmp(class, "Dense") == 0 || strcmp(class, "LogitScore") == 0)
    return stage_take(config, c, class, folder, error);
  return error_set(error, ERROR_UNSUPPORTED,
                   "modules.json: entry %zu is a %.60s in \"%.60s\"; Spate does a Transformer in \"\", Pooling, Dense, "
                   "Normalize and LogitScore.",
                   index, class, folder);
}

static bool stage_is(const json_t *list, size_t index, const char *class) {
  const char *type = json_string_value(json_object_get(json_array_get(list, index), "type"));
  return type && strcmp(class_of(type), class) == 0;
}

static bool stages_read(struct sentence_config *config, const struct checkpoint *c, const json_t *list,
                        struct error *error) {
  if (!json_is_array(list) || json_array_size(list) == 0)
    return error_set(error, ERROR_FORMAT, "modules.json holds no list of stages.");
  config->found = true;
  config->normalize = false;
  for (size_t i = 0; i < json_array_size(list); i++)
    if (!stage_read(config, c, json_array_get(list, i), i, error)) return false;
  bool alone = json_array_size(list) == 2 && stage_is(list, 0, "Transformer") && stage_is(list, 1, "LogitScore");
  if (config->yes >= 0 && config->yes == config->no)
    return error_set(error, ERROR_INVALID, "modules.json: a LogitScore's true_token_id and false_token_id are both %d.",
                     config->yes);
  return config->yes < 0 || alone ||
         error_set(error, ERROR_UNSUPPORTED,
                   "modules.json has %zu stages, among them a LogitScore, which goes with a Transformer alone.",
                   json_array_size(list));
}

static bool length_read(struct sentence_config *config, const struct checkpoint *c, struct error *error) {
  static const char name[] = "sentence_bert_config.json";
  json_t *object;
  if (!checkpoint_json(c, name, &object, error)) return false;
  const json_t *value = json_object_get(object, "max_seq_length");
  json_int_t length = json_integer_value(value);
  bool ok = !value || json_is_null(value) || (json_is_integer(value) && length >= 2 && length <= LIMIT_MODEL_POSITIONS);
  if (ok && json_is_integer(value)) config->max_length = (int)length;
  const json_t *template = json_object_get(json_object_get(object, "processing_kwargs"), "chat_template");
  config->generation_prompt = json_is_true(json_object_get(template, "add_generation_prompt"));
  json_decref(object);
  return ok || error_set(error, ERROR_FORMAT, "%s: max_seq_length is expected to be a number from 2 to %d.", name,
                         LIMIT_MODEL_POSITIONS);
}

/* --- GGUF --------------------------------------------------------------------------------------------------------- */

/* As llama.cpp numbers them. */
static bool gguf_pool_read(struct sentence_config *config, const struct checkpoint *c, struct error *error) {
  enum { POOLS = 4 };
  static const enum select_pool pools[POOLS] = {[1] = POOL_MEAN, [2] = POOL_FIRST, [3] = POOL_TOKEN};
  const struct config_key key = {NULL, "pooling_type"};
  int type = POOLS;
  if (!config_int(c, key, CONFIG_OPTIONAL, 1, POOLS, &type, error)) return false;
  config->found = type < POOLS; /* of a ranking's the head knows */
  if (checkpoint_ranks(c)) config->yes = 0, config->no = 1;
  if (config->found) config->pool = pools[type];
  return true;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

bool sentence_config_read(struct sentence_config *config, const struct checkpoint *c, struct error *error) {
  *config = (struct sentence_config){.pool = POOL_MEAN, .normalize = true, .yes = -1, .no = -1};
  if (checkpoint_kind(c) != CHECKPOINT_HF) return gguf_pool_read(config, c, error);
  json_t *list;
  if (!checkpoint_json(c, "modules.json", &list, error)) return false;
  bool ok = !list || stages_read(config, c, list, error);
  json_decref(list);
  if (!ok || !length_read(config, c, error)) return false;
  const struct rank_words *words = checkpoint_words(c);
  if (!words) return true;
  config->yes = words->yes;
  config->no = words->no;
  config->generation_prompt = true;
  return true;
}
