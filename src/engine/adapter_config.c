/* Fields that say how an adapter was trained are passed over; those that change what it computes are read, or must have
 * the value that leaves it alone. rank_pattern and alpha_pattern are regular expressions, as peft has them. */
#include "engine/adapter_config.h"

#include "base/json.h"
#include "base/limits.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* A number for the modules that a pattern matches. */
struct module_number {
  pcre2_code *pattern;
  double number;
};

struct module_numbers {
  int count;
  struct module_number entry[LIMIT_ADAPTER_PATTERNS];
};

/* Names of parameters that adapters are for; strings of `root`. */
struct parameter_names {
  int count;
  json_t *list; /* owned; NULL: none */
};

struct adapter_config {
  struct parameter_names parameters;
  double alpha, rank;
  bool rslora, dora, has_base;
  struct hash128 base;
  struct module_numbers ranks, alphas;
  pcre2_match_context *context; /* with limits: patterns may be made to take for ever, */
  int steps;                    /* and are many: of all comparisons with a module */
  pcre2_match_data *match;
};

static bool field_refuse(const json_t *root, const char *key, const char *expected, struct error *error) {
  const json_t *value = json_object_get(root, key);
  char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS) : NULL;
  error_set(error, ERROR_UNSUPPORTED, "%s is %.80s; expected %s.", key, text ? text : "missing", expected);
  free(text);
  return false;
}

/* Absent, null, false and empty all mean that a feature is not used. */
static bool field_is_off(const json_t *root, const char *key) {
  const json_t *value = json_object_get(root, key);
  if (!value || json_is_null(value) || json_is_false(value)) return true;
  return (json_is_array(value) && json_array_size(value) == 0) ||
         (json_is_object(value) && json_object_size(value) == 0);
}

/* With others peft takes from the base what the factors begin with: they are no change to the base as it is. */
static bool beginning_check(const json_t *root, struct error *error) {
  static const char *const kept[] = {"gaussian", "eva", "orthogonal"}, key[] = "init_lora_weights";
  const json_t *value = json_object_get(root, key);
  if (!value || json_is_null(value) || json_is_boolean(value)) return true;
  for (size_t i = 0; json_is_string(value) && i < sizeof kept / sizeof *kept; i++)
    if (strcasecmp(json_string_value(value), kept[i]) == 0) return true;
  return field_refuse(root, key,
                      "true, false, null, \"gaussian\", \"eva\" or \"orthogonal\": others change the base's weights; "
                      "convert the adapter with path_initial_model_for_weight_conversion of peft's save_pretrained",
                      error);
}

static bool features_check(const json_t *root, struct error *error) {
  static const struct {
    const char *key, *expected;
  } off[] = {
      {"fan_in_fan_out", "false: the layers of Spate's families are not transposed"},
      {"modules_to_save", "none: whole modules that were trained belong into the base model"},
      {"trainable_token_indices", "none: token rows that were trained belong into the base model"},
      {"layer_replication", "none: the base has its own number of layers"},
      {"alora_invocation_tokens", "none: an adapter works on the whole prompt"},
      {"use_qalora", "false"},
      {"use_bdlora", "null"},
      {"arrow_config", "null"},
      {"megatron_config", "null"},
      {"ensure_weight_tying", "false: the embedding and the head have adapters of their own"},
  };
  const char *type = json_string_value(json_object_get(root, "peft_type"));
  if (!type || strcmp(type, "LORA") != 0) return field_refuse(root, "peft_type", "\"LORA\"", error);
  for (size_t i = 0; i < sizeof off / sizeof off[0]; i++)
    if (!field_is_off(root, off[i].key)) return field_refuse(root, off[i].key, off[i].expected, error);
  return beginning_check(root, error);
}

static bool number_is_rank(double number) {
  return number >= 1 && number <= LIMIT_ADAPTER_RANK && number == floor(number);
}

static bool number_read(const json_t *root, const char *key, bool is_rank, double *number, struct error *error) {
  const json_t *value = json_object_get(root, key);
  *number = json_number_value(value);
  if (json_is_number(value) && (is_rank ? number_is_rank(*number) : isfinite(*number))) return true;
  char expected[64];
  snprintf(expected, sizeof expected, is_rank ? "a whole number from 1 to %d" : "a number", LIMIT_ADAPTER_RANK);
  return field_refuse(root, key, expected, error);
}

/* As peft looks for a key: it, or it after a dot, is the whole rest of the module's name. */
static pcre2_code *pattern_compile(const char *key, const char *pattern, struct error *error) {
  char whole[LIMIT_ADAPTER_PATTERN_BYTES + 16];
  int code;
  PCRE2_SIZE at;
  if (strlen(pattern) > LIMIT_ADAPTER_PATTERN_BYTES) {
    error_set(error, ERROR_LIMIT, "A name in %s has %zu bytes; at most %d are read.", key, strlen(pattern),
              LIMIT_ADAPTER_PATTERN_BYTES);
    return NULL;
  }
  snprintf(whole, sizeof whole, "^(?:.*\\.)?(?:%s)$", pattern);
  pcre2_code *compiled =
      pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_AUTO_CALLOUT, &code, &at, NULL);
  if (!compiled)
    error_set(error, ERROR_FORMAT, "\"%.80s\" in %s is no regular expression that can be read.", pattern, key);
  return compiled;
}

static bool numbers_read(const json_t *root, const char *key, bool is_rank, struct module_numbers *numbers,
                         struct error *error) {
  if (field_is_off(root, key)) return true;
  const json_t *all = json_object_get(root, key);
  if (!json_is_object(all)) return field_refuse(root, key, "an object of numbers by module", error);
  if (json_object_size(all) > LIMIT_ADAPTER_PATTERNS)
    return error_set(error, ERROR_LIMIT, "%s names %zu modules; at most %d are read.", key, json_object_size(all),
                     LIMIT_ADAPTER_PATTERNS);
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)all, name, value) {
    struct module_number *entry = &numbers->entry[numbers->count];
    if (!number_read(all, name, is_rank, &entry->number, error)) return error_prefix(error, "%s.", key);
    if (!(entry->pattern = pattern_compile(key, name, error))) return false;
    numbers->count++;
  }
  return true;
}

static bool parameters_read(const json_t *root, struct adapter_config *config, struct error *error) {
  static const char key[] = "target_parameters", expected[] = "a list of experts' gate_up_proj and down_proj";
  const json_t *list = json_object_get(root, key);
  if (field_is_off(root, key)) return true;
  if (!json_is_array(list) || json_array_size(list) > LIMIT_ADAPTER_PATTERNS)
    return field_refuse(root, key, expected, error);
  for (size_t i = 0; i < json_array_size(list); i++) {
    const char *name = json_string_value(json_array_get(list, i)), *last = name ? strrchr(name, '.') : NULL;
    if (!name ||
        (strcmp(last ? last + 1 : name, "gate_up_proj") != 0 && strcmp(last ? last + 1 : name, "down_proj") != 0))
      return field_refuse(root, key, expected, error);
  }
  if (config->dora) return field_refuse(root, "use_dora", "false beside target_parameters", error);
  config->parameters = (struct parameter_names){(int)json_array_size(list), json_incref((json_t *)(uintptr_t)list)};
  return true;
}

bool adapter_config_parameter(const struct adapter_config *config, const char *name) {
  size_t size = strlen(name);
  for (int i = 0; i < config->parameters.count; i++) {
    const char *target = json_string_value(json_array_get(config->parameters.list, (size_t)i));
    size_t end = strlen(target);
    if (strcmp(name, target) == 0) return true;
    if (end < size && name[size - end - 1] == '.' && strcmp(name + size - end, target) == 0) return true;
  }
  return false;
}

static bool base_read(const json_t *root, struct adapter_config *config, struct error *error) {
  static const char key[] = "spate_base_digest";
  const json_t *value = json_object_get(root, key);
  if (!value || json_is_null(value)) return true;
  config->has_base = json_is_string(value) && hash_parse(json_slice(value), &config->base);
  return config->has_base || field_refuse(root, key, "32 lower-case hexadecimal digits", error);
}

static bool config_fill(struct adapter_config *config, const json_t *root, struct error *error) {
  if (!json_is_object(root)) return error_set(error, ERROR_FORMAT, "It is no JSON object.");
  if (!features_check(root, error)) return false;
  config->rslora = json_is_true(json_object_get(root, "use_rslora"));
  config->dora = json_is_true(json_object_get(root, "use_dora"));
  return parameters_read(root, config, error) && base_read(root, config, error) &&
         number_read(root, "r", true, &config->rank, error) &&
         number_read(root, "lora_alpha", false, &config->alpha, error) &&
         numbers_read(root, "rank_pattern", true, &config->ranks, error) &&
         numbers_read(root, "alpha_pattern", false, &config->alphas, error);
}

/* Called at each item of a pattern. */
static int step_count(pcre2_callout_block *at, void *argument) {
  struct adapter_config *config = argument;
  (void)at;
  return ++config->steps > LIMIT_ADAPTER_MODULE_STEPS ? PCRE2_ERROR_CALLOUT : 0;
}

static struct adapter_config *config_new(struct error *error) {
  struct adapter_config *config = calloc(1, sizeof *config);
  if (config) {
    config->context = pcre2_match_context_create(NULL);
    config->match = pcre2_match_data_create(1, NULL);
  }
  if (config && config->context && config->match) {
    pcre2_set_match_limit(config->context, LIMIT_ADAPTER_PATTERN_STEPS);
    pcre2_set_callout(config->context, step_count, config);
    return config;
  }
  adapter_config_free(config);
  error_set(error, ERROR_MEMORY, "There is no memory for an adapter's settings.");
  return NULL;
}

struct adapter_config *adapter_config_read(const char *path, struct error *error) {
  struct adapter_config *config = config_new(error);
  json_t *root = config ? json_read(path, LIMIT_CONFIG_BYTES, error) : NULL;
  if (root && !config_fill(config, root, error)) {
    error_prefix(error, "%s: ", path);
    json_decref(root);
    root = NULL;
  }
  if (root) {
    json_decref(root);
    return config;
  }
  adapter_config_free(config);
  return NULL;
}

static void numbers_free(struct module_numbers *numbers) {
  for (int i = 0; i < numbers->count; i++) pcre2_code_free(numbers->entry[i].pattern);
}

void adapter_config_free(struct adapter_config *config) {
  if (!config) return;
  json_decref(config->parameters.list);
  numbers_free(&config->ranks);
  numbers_free(&config->alphas);
  pcre2_match_data_free(config->match);
  pcre2_match_context_free(config->context);
  free(config);
}

/* The number of the first pattern that the module's name matches, or `usual`. */
static bool number_find(const struct adapter_config *config, const struct module_numbers *numbers, const char *module,
                        double usual, double *number, struct error *error) {
  *number = usual;
  for (int i = 0; i < numbers->count; i++) {
    int code = pcre2_match(numbers->entry[i].pattern, (PCRE2_SPTR)module, PCRE2_ZERO_TERMINATED, 0, 0, config->match,
                           config->context);
    if (code == PCRE2_ERROR_NOMATCH) continue;
    if (code == PCRE2_ERROR_CALLOUT)
      return error_set(error, ERROR_LIMIT,
                       "The patterns of adapter_config.json take more than %d steps to compare with \"%.80s\": fewer "
                       "or simpler ones are wanted.",
                       LIMIT_ADAPTER_MODULE_STEPS, module);
    if (code < 0)
      return error_set(error, ERROR_LIMIT,
                       "A pattern of adapter_config.json takes more than %d steps to compare with \"%.80s\".",
                       LIMIT_ADAPTER_PATTERN_STEPS, module);
    *number = numbers->entry[i].number;
    return true;
  }
  return true;
}

bool adapter_config_module(struct adapter_config *config, const char *module, int *rank, double *scale,
                           struct error *error) {
  double r, alpha;
  config->steps = 0;
  if (!number_find(config, &config->ranks, module, config->rank, &r, error) ||
      !number_find(config, &config->alphas, module, config->alpha, &alpha, error))
    return false;
  *rank = (int)r;
  *scale = alpha / (config->rslora ? sqrt(r) : r);
  return true;
}

const struct hash128 *adapter_config_base(const struct adapter_config *config) {
  return config->has_base ? &config->base : NULL;
}

bool adapter_config_has_magnitudes(const struct adapter_config *config) { return config->dora; }
