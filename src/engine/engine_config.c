/* Defaults and checks of the build configuration, and the names of its enumerations. */
#include "engine/engine_config.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
  DEFAULT_BATCH = 32,
  DEFAULT_OPT_BATCH = 16,
  DEFAULT_SEQUENCE = 8192,
  DEFAULT_STEP_TOKENS = 512,
  DEFAULT_TEXTS = 64
};

static const char *const kv_cache_types[] = {[KV_CACHE_PAGED] = "PAGED", [KV_CACHE_CONTIGUOUS] = "CONTIGUOUS"};

static const char *const quant_modes[] = {
    [QUANT_AS_FILE] = "AS_FILE",
    [QUANT_FP32] = "FP32",
    [QUANT_FP16] = "FP16",
    [QUANT_BF16] = "BF16",
    [QUANT_INT8_WEIGHT] = "INT8_WEIGHT",
    [QUANT_INT4_WEIGHT] = "INT4_WEIGHT",
    [QUANT_FP8] = "FP8",
    [QUANT_W8A8] = "W8A8",
    [QUANT_AUTO] = "AUTO",
};

static const char *const quant_methods[] = {
    [QUANT_ROUND] = "RTN", [QUANT_AWQ] = "AWQ", [QUANT_GPTQ] = "GPTQ", [QUANT_SMOOTH] = "SMOOTHQUANT"};

enum { N_QUANT_METHOD = sizeof quant_methods / sizeof quant_methods[0] };
enum { N_KV_TYPE = sizeof kv_cache_types / sizeof kv_cache_types[0] };
enum { N_QUANT_MODE = sizeof quant_modes / sizeof quant_modes[0] };

const char *kv_cache_type_name(int type) { return type > 0 && type < N_KV_TYPE ? kv_cache_types[type] : NULL; }
const char *quant_mode_name(int mode) { return mode > 0 && mode < N_QUANT_MODE ? quant_modes[mode] : NULL; }
const char *quant_method_name(int method) {
  return method > 0 && method < N_QUANT_METHOD ? quant_methods[method] : NULL;
}

/* The index of name in names (from 1), or 0. */
static uint8_t name_find(const char *name, const char *const *names, int count) {
  for (int i = 1; i < count; i++)
    if (strcasecmp(name, names[i]) == 0) return (uint8_t)i;
  return 0;
}

bool kv_cache_type_parse(const char *name, uint8_t *type, struct error *error) {
  *type = name ? name_find(name, kv_cache_types, N_KV_TYPE) : KV_CACHE_PAGED;
  if (*type) return true;
  return error_set(error, ERROR_INVALID, "kv_cache_type is \"%.40s\"; it must be PAGED or CONTIGUOUS.", name);
}

bool quant_mode_parse(const char *name, uint8_t *mode, struct error *error) {
  *mode = name ? name_find(name, quant_modes, N_QUANT_MODE) : QUANT_AS_FILE;
  if (*mode) return true;
  return error_set(error, ERROR_INVALID,
                   "quant_mode is \"%.40s\"; it must be FP32, FP16, BF16, INT8_WEIGHT, INT4_WEIGHT, FP8, W8A8 or auto, "
                   "or be left out to keep the weights as the file has them.",
                   name);
}

/* Names that say what is quantized too: TensorRT-LLM's. With 4- and 8-bit weights W8A8 asks for activations of 8 bits,
 * which those modes have; A16 promises no more than that activations may keep 16. */
static const struct algorithm {
  const char *name;
  uint8_t mode, method;
  bool any_integer; /* it goes with any mode of integers */
} algorithms[] = {{"W8A8", QUANT_W8A8, QUANT_ROUND, true},
                  {"W8A8_SQ_PER_CHANNEL", QUANT_W8A8, QUANT_SMOOTH, false},
                  {"FP8", QUANT_FP8, QUANT_ROUND, false},
                  {"W8A16", QUANT_INT8_WEIGHT, QUANT_ROUND, false},
                  {"W8A16_GPTQ", QUANT_INT8_WEIGHT, QUANT_GPTQ, false},
                  {"W4A16", QUANT_INT4_WEIGHT, QUANT_ROUND, false},
                  {"W4A16_AWQ", QUANT_INT4_WEIGHT, QUANT_AWQ, false},
                  {"W4A8_AWQ", QUANT_INT4_WEIGHT, QUANT_AWQ, false},
                  {"W4A16_GPTQ", QUANT_INT4_WEIGHT, QUANT_GPTQ, false}};

static bool mode_is_integer(int mode) {
  return mode == QUANT_INT8_WEIGHT || mode == QUANT_INT4_WEIGHT || mode == QUANT_W8A8 || mode == QUANT_AUTO;
}

static bool algorithm_apply(const struct algorithm *algorithm, uint8_t *mode, uint8_t *method, struct error *error) {
  *method = algorithm->method;
  if (*mode == QUANT_AS_FILE) *mode = algorithm->mode;
  if (*mode == algorithm->mode || (algorithm->any_integer && mode_is_integer(*mode))) return true;
  return error_set(error, ERROR_INVALID,
                   "quant_mode is %s and quant_algo is %s, which belongs to quant_mode %s; choose that, or leave "
                   "quant_algo out.",
                   quant_mode_name(*mode), algorithm->name, quant_mode_name(algorithm->mode));
}

bool quant_algo_parse(const char *name, uint8_t *mode, uint8_t *method, struct error *error) {
  for (size_t i = 0; name && i < sizeof algorithms / sizeof *algorithms; i++)
    if (strcasecmp(name, algorithms[i].name) == 0) return algorithm_apply(&algorithms[i], mode, method, error);
  *method = name ? name_find(name, quant_methods, N_QUANT_METHOD) : QUANT_ROUND;
  if (*method) return true;
  return error_set(error, ERROR_INVALID,
                   "quant_algo is \"%.40s\"; it must be RTN, AWQ, GPTQ or SMOOTHQUANT, or a name of TensorRT-LLM's: "
                   "W8A8, W8A8_SQ_PER_CHANNEL, W8A16, W8A16_GPTQ, W4A16, W4A16_AWQ, W4A8_AWQ, W4A16_GPTQ or FP8.",
                   name);
}

const char *encoder_prompt(const struct engine_encoder *encoder, const char *name) {
  const char *at = encoder->prompts;
  if (!name && encoder->usual_prompt == 0) return "";
  for (int i = 0; i < encoder->n_prompt; i++) {
    const char *text = at + strlen(at) + 1;
    if (name ? strcmp(at, name) == 0 : i + 1 == encoder->usual_prompt) return text;
    at = text + strlen(text) + 1;
  }
  return NULL;
}

static int32_t min_of(int32_t a, int32_t b) { return a < b ? a : b; }
static int32_t max_of(int32_t a, int32_t b) { return a > b ? a : b; }

/* An answer needs a token. */
static int32_t input_most(const struct engine_config *c) { return c->encodes ? c->max_seq_len : c->max_seq_len - 1; }

int engine_config_length(const struct engine_config *config) {
  return config->max_seq_len > 0 ? config->max_seq_len : DEFAULT_SEQUENCE;
}

static void config_default(struct engine_config *c, int max_position) {
  if (c->max_batch_size == 0) c->max_batch_size = c->encodes ? DEFAULT_TEXTS : DEFAULT_BATCH;
  if (c->opt_batch_size == 0) c->opt_batch_size = min_of(DEFAULT_OPT_BATCH, c->max_batch_size);
  if (c->max_seq_len == 0) c->max_seq_len = min_of(engine_config_length(c), max_position);
  if (c->max_input_len == 0) c->max_input_len = input_most(c);
  if (c->max_num_tokens == 0) c->max_num_tokens = max_of(DEFAULT_STEP_TOKENS, c->max_batch_size);
  if (c->encodes) c->max_num_tokens = max_of(c->max_num_tokens, min_of(c->max_seq_len, LIMIT_STEP_TOKENS));
  if (c->kv_cache_type == 0) c->kv_cache_type = KV_CACHE_PAGED;
  if (c->quant_mode == 0) c->quant_mode = QUANT_AS_FILE;
  if (c->quant_method == 0) c->quant_method = QUANT_ROUND;
}

/* Is value within [1, most]? `why` ends the sentence. */
static bool option_within(const char *option, int value, int most, const char *why, struct error *error) {
  if (value >= 1 && value <= most) return true;
  return error_set(error, ERROR_INVALID, "%s is %d; it must be from 1 to %d%s.", option, value, most, why);
}

/* Methods that calibrate find integers. */
static bool quantization_check(const struct engine_config *c, struct error *error) {
  if (!quant_mode_name(c->quant_mode))
    return error_set(error, ERROR_INVALID, "quant_mode %d is not known.", c->quant_mode);
  if (!quant_method_name(c->quant_method))
    return error_set(error, ERROR_INVALID, "quant_algo %d is not known.", c->quant_method);
  if (c->quant_method == QUANT_ROUND || mode_is_integer(c->quant_mode)) return true;
  return error_set(error, ERROR_INVALID,
                   "quant_algo is %s and quant_mode is %s; it finds integers: choose quant_mode INT8_WEIGHT, "
                   "INT4_WEIGHT, W8A8 or auto, or leave quant_algo out.",
                   quant_method_name(c->quant_method), quant_mode_name(c->quant_mode));
}

bool engine_config_complete(struct engine_config *c, int max_position, struct error *error) {
  config_default(c, max_position);
  char sequence[80];
  snprintf(sequence, sizeof sequence, ": max_seq_len is %d%s", c->max_seq_len,
           c->encodes ? "" : " and an answer needs a token");
  if (!option_within("max_batch_size", c->max_batch_size, LIMIT_BATCH_SIZE, "", error) ||
      !option_within("opt_batch_size", c->opt_batch_size, c->max_batch_size, ", the max_batch_size", error) ||
      !option_within("max_num_tokens", c->max_num_tokens, LIMIT_STEP_TOKENS, "", error))
    return false;
  if (c->max_seq_len < 2 || c->max_seq_len > max_position)
    return error_set(error, ERROR_INVALID,
                     "max_seq_len is %d; it must be from 2 to %d, the longest that this model was made for.",
                     c->max_seq_len, max_position);
  if (!option_within("max_input_len", c->max_input_len, input_most(c), sequence, error)) return false;
  if (c->encodes > 1 || (c->encodes && c->max_num_tokens < c->max_seq_len))
    return error_set(error, ERROR_INVALID,
                     "max_seq_len is %d, and a step takes a text whole, of max_num_tokens %d at most.", c->max_seq_len,
                     c->max_num_tokens);
  if (c->max_num_tokens < c->max_batch_size)
    return error_set(error, ERROR_INVALID,
                     "max_num_tokens is %d and max_batch_size is %d; a step takes a token of each sequence: raise "
                     "max_num_tokens or lower max_batch_size.",
                     c->max_num_tokens, c->max_batch_size);
  if (!kv_cache_type_name(c->kv_cache_type))
    return error_set(error, ERROR_INVALID, "kv_cache_type %d is not known.", c->kv_cache_type);
  return quantization_check(c, error);
}

bool engine_config_limit(struct engine_config *c, const struct step_limits *chosen, int max_position,
                         struct error *error) {
  if (chosen->max_batch_size) c->max_batch_size = chosen->max_batch_size;
  c->opt_batch_size = chosen->opt_batch_size ? chosen->opt_batch_size : min_of(c->opt_batch_size, c->max_batch_size);
  c->max_num_tokens = chosen->max_num_tokens ? chosen->max_num_tokens : max_of(c->max_num_tokens, c->max_batch_size);
  return engine_config_complete(c, max_position, error);
}
