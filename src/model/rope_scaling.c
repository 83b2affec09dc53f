/* Rotary embeddings. A scaling is described in one of three places: config.json's "rope_scaling" (with the base beside
 * it), its newer "rope_parameters" (base included, perhaps one object a kind of layer), or GGUF's rope.scaling.*. */
#include "model/rope_scaling.h"

#include <math.h>
#include <stdio.h>

static const double pi = 3.14159265358979323846;

struct rope rope_plain(double base) {
  return (struct rope){.base = base, .factor = 1, .attention = 1, .score = 1};
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

enum { PATH_BYTES = 128 };

/* Where the settings are: the object's path in config.json ("" for GGUF). */
struct rope_source {
  const struct checkpoint *checkpoint;
  char object[64];
};

static bool source_find(struct rope_source *source, const struct checkpoint *c, const char *layers,
                        struct error *error) {
  const char *const objects[] = {layers, "rope_parameters", "rope_scaling"};
  const json_t *object = NULL;
  *source = (struct rope_source){.checkpoint = c};
  for (int i = layers ? 0 : 1; i < 3 && !object && checkpoint_kind(c) == CHECKPOINT_HF; i++) {
    snprintf(source->object, sizeof source->object, "%s%.40s", i == 0 ? "rope_parameters." : "", objects[i]);
    if (!config_object(c, (struct config_key){source->object, NULL}, &object, error)) return false;
  }
  return true;
}

static struct config_key source_key(const struct rope_source *source, const char *hf, const char *gguf,
                                    char path[PATH_BYTES]) {
  snprintf(path, PATH_BYTES, "%s.%s", source->object, hf ? hf : "");
  return (struct config_key){hf ? path : NULL, gguf};
}

static bool source_float(const struct rope_source *source, const char *hf, const char *gguf, enum config_need need,
                         double min, double max, double *value, struct error *error) {
  char path[PATH_BYTES];
  return config_float(source->checkpoint, source_key(source, hf, gguf, path), need, min, max, value, error);
}

/* The context before it was stretched, which GGUF files have as a whole number. */
static bool source_original(const struct rope_source *source, double *original, struct error *error) {
  const char *gguf = "rope.scaling.original_context_length";
  int length = 0;
  if (checkpoint_kind(source->checkpoint) == CHECKPOINT_HF)
    return source_float(source, "original_max_position_embeddings", NULL, CONFIG_OPTIONAL, 2, 1e9, original, error);
  if (!config_int(source->checkpoint, (struct config_key){NULL, gguf}, CONFIG_OPTIONAL, 2, 1000000000, &length, error))
    return false;
  if (length > 0) *original = length;
  return true;
}

/* The name of the scaling; empty when there is none. Older files call it "type". */
static bool source_kind(const struct rope_source *source, struct slice *kind, struct error *error) {
  char path[PATH_BYTES];
  *kind = (struct slice){0};
  return config_text(source->checkpoint, source_key(source, "type", "rope.scaling.type", path), kind, error) &&
         config_text(source->checkpoint, source_key(source, "rope_type", NULL, path), kind, error);
}

static bool llama3_read(struct rope *rope, const struct rope_source *source, struct error *error) {
  if (!source_float(source, "low_freq_factor", NULL, CONFIG_NEEDED, 1e-3, 1e6, &rope->low_factor, error) ||
      !source_float(source, "high_freq_factor", NULL, CONFIG_NEEDED, 1e-3, 1e6, &rope->high_factor, error) ||
      !source_float(source, "original_max_position_embeddings", NULL, CONFIG_NEEDED, 1, 1e9, &rope->original, error))
    return false;
  if (rope->high_factor > rope->low_factor) return true;
  return error_set(error, ERROR_INVALID,
                   "config.json: %s.high_freq_factor is %g, expected more than low_freq_factor, which is %g.",
                   source->object, rope->high_factor, rope->low_factor);
}

/* What multiplies cos and sin where the file does not state it. "mscale" and "mscale_all_dim" count only together. */
static bool yarn_attention(const struct rope_source *source, struct rope *rope, struct error *error) {
  double scale = 0, all = 0, multiplier = 1, stretch = 0.1 * log(rope->factor);
  if (!source_float(source, "mscale", NULL, CONFIG_OPTIONAL, 0, 100, &scale, error) ||
      !source_float(source, "mscale_all_dim", NULL, CONFIG_OPTIONAL, 0, 100, &all, error) ||
      !source_float(source, NULL, "rope.scaling.attn_factor", CONFIG_OPTIONAL, 1e-3, 1e3, &multiplier, error))
    return false;
  rope->attention = (scale > 0 && all > 0 ? (scale * stretch + 1) / (all * stretch + 1) : stretch + 1) * multiplier;
  rope->score = all * stretch + 1;
  return true;
}

void rope_yarn(struct rope *rope, double factor, double original) {
  rope->scaling = ROPE_YARN;
  rope->factor = factor;
  rope->original = original;
  rope->attention = 0.1 * log(factor) + 1;
  rope->truncate = false;
}

static bool yarn_read(struct rope *rope, const struct rope_source *source, struct error *error) {
  char path[PATH_BYTES];
  if (!source_original(source, &rope->original, error) ||
      !source_float(source, "beta_fast", "rope.scaling.yarn_beta_fast", CONFIG_OPTIONAL, 1e-3, 1e6, &rope->beta_fast,
                    error) ||
      !source_float(source, "beta_slow", "rope.scaling.yarn_beta_slow", CONFIG_OPTIONAL, 1e-3, 1e6, &rope->beta_slow,
                    error) ||
      !yarn_attention(source, rope, error) ||
      !source_float(source, "attention_factor", "rope.scaling.yarn_attn_factor", CONFIG_OPTIONAL, 1e-3, 1e3,
                    &rope->attention, error))
    return false;
  return config_bool(source->checkpoint, source_key(source, "truncate", NULL, path), &rope->truncate, error);
}

static bool divisors_read(struct rope *rope, const struct rope_source *source, int which, struct error *error) {
  static const char *const names[] = {"short_factor", "long_factor"};
  char path[PATH_BYTES];
  struct config_key key = source_key(source, names[which], NULL, path);
  int count = -1;
  if (!config_list(source->checkpoint, key, &count, error)) return false;
  if (count < 1 || count > ROPE_DIM_MAX / 2 || (which > 0 && count != rope->n_divisor))
    return error_set(error, ERROR_INVALID,
                     "config.json: %s has %d factors, expected one for each frequency, as many short as long ones.",
                     path, count < 0 ? 0 : count);
  rope->n_divisor = count;
  for (int i = 0; i < count; i++) {
    double factor;
    if (!config_list_float(source->checkpoint, key, i, 1e-3, 1e6, &factor, error)) return false;
    rope->divisor[which][i] = (float)factor;
  }
  return true;
}

/* It stretches with each text that is longer than max_position_embeddings; texts here are not, and have the plain one.
 */
static bool dynamic_read(struct rope *rope, const struct rope_source *source, struct error *error) {
  return source_float(source, "factor", NULL, CONFIG_NEEDED, 1, 1e4, &rope->factor, error);
}

/* Phi-3's: the context was stretched by what the network's positions are of the original ones. */
static bool long_read(struct rope *rope, const struct rope_source *source, int max_position, struct error *error) {
  bool gguf = checkpoint_kind(source->checkpoint) == CHECKPOINT_GGUF;
  rope->scaling = ROPE_LONG;
  if (!config_float(source->checkpoint, (struct config_key){"original_max_position_embeddings", NULL}, CONFIG_OPTIONAL,
                    2, 1e9, &rope->original, error) ||
      !source_original(source, &rope->original, error))
    return false;
  rope->factor = max_position / rope->original;
  if (rope->factor > 1) rope->attention = sqrt(1 + log(rope->factor) / log(rope->original));
  if (!source_float(source, "attention_factor", "rope.scaling.attn_factor", CONFIG_OPTIONAL, 1e-3, 1e3,
                    &rope->attention, error))
    return false;
  return gguf || (divisors_read(rope, source, 0, error) && divisors_read(rope, source, 1, error));
}

/* A GGUF file may give a factor without the name of a scaling: a linear one. Early files have another key for it. */
static bool gguf_linear_read(struct rope *rope, const struct checkpoint *c, struct error *error) {
  static const char *const keys[] = {"rope.scale_linear", "rope.scaling.factor"};
  double factor = 0;
  for (int i = 0; i < 2; i++)
    if (!config_float(c, (struct config_key){NULL, keys[i]}, CONFIG_OPTIONAL, 0, 1e4, &factor, error)) return false;
  if (factor == 0) return true;
  rope->scaling = ROPE_LINEAR;
  rope->factor = factor;
  return true;
}

static bool scaling_read(struct rope *rope, const struct rope_source *source, struct slice kind, struct error *error) {
  if (!source_float(source, "factor", "rope.scaling.factor", CONFIG_NEEDED, 1, 1e4, &rope->factor, error)) return false;
  if (slice_is(kind, "linear")) {
    rope->scaling = ROPE_LINEAR;
    return true;
  }
  if (slice_is(kind, "llama3")) {
    rope->scaling = ROPE_LLAMA3;
    return llama3_read(rope, source, error);
  }
  rope->scaling = ROPE_YARN;
  return yarn_read(rope, source, error);
}

static bool kind_refuse(const struct rope_source *source, struct slice kind, struct error *error) {
  char path[PATH_BYTES], name[160];
  config_key_name(source->checkpoint, source_key(source, "rope_type", "rope.scaling.type", path), name);
  return error_set(error, ERROR_UNSUPPORTED, "%s is \"%.*s\", expected %s.", name, SLICE_ARGS(kind),
                   checkpoint_kind(source->checkpoint) == CHECKPOINT_GGUF
                       ? "\"none\", \"linear\", \"yarn\" or \"longrope\""
                       : "\"default\", \"linear\", \"dynamic\", \"llama3\", \"yarn\" or \"longrope\"");
}

bool rope_read(struct rope *rope, const struct checkpoint *checkpoint, struct config_key base_key, double base,
               const char *layers, int max_position, struct error *error) {
  struct rope_source source;
  *rope = rope_plain(base);
  rope->original = max_position;
  rope->beta_fast = 32;
  rope->beta_slow = 1;
  rope->truncate = true;
  struct slice kind;
  if (!source_find(&source, checkpoint, layers, error) ||
      !config_float(checkpoint, base_key, CONFIG_OPTIONAL, 1.5, 1e12, &rope->base, error) ||
      !source_float(&source, "rope_theta", NULL, CONFIG_OPTIONAL, 1.5, 1e12, &rope->base, error) ||
      !source_kind(&source, &kind, error))
    return false;
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  if (!kind.data && gguf && checkpoint_find(checkpoint, "rope_factors_long.weight"))
    return long_read(rope, &source, max_position, error);
  if (!kind.data && gguf) return gguf_linear_read(rope, checkpoint, error);
  if (!kind.data || slice_is(kind, "default") || slice_is(kind, "none")) return true;
  if (slice_is(kind, "dynamic") && !gguf) return dynamic_read(rope, &source, error);
  if (slice_is(kind, "mrope")) return true; /* several axes, which are a family's to read */
  if (slice_is(kind, "linear") || slice_is(kind, "yarn") || (slice_is(kind, "llama3") && !gguf))
    return scaling_read(rope, &source, kind, error);
  if (slice_is(kind, "longrope") || (slice_is(kind, "su") && !gguf))
    return long_read(rope, &source, max_position, error);
  return kind_refuse(&source, kind, error);
}

/* --- frequencies ------------------------------------------------------------------------------------------------- */

/* Long waves are stretched, short ones kept, those between blended by how often they turn in the original context. */
static double llama3_frequency(const struct rope *rope, double frequency) {
  double turns = rope->original * frequency / (2 * pi);
  if (turns < rope->low_factor) return frequency / rope->factor;
  if (turns > rope->high_factor) return frequency;
  double keep = (turns - rope->low_factor) / (rope->high_factor - rope->low_factor);
  return (1 - keep) * frequency / rope->factor + keep * frequency;
}

/* The (fractional) pair that turns `turns` times over the original context. */
static double yarn_pair(const struct rope *rope, int dim, double turns) {
  return dim * log(rope->original / (turns * 2 * pi)) / (2 * log(rope->base));
}

static double yarn_frequency(const struct rope *rope, int dim, int i, double frequency) {
  double low = yarn_pair(rope, dim, rope->beta_fast), high = yarn_pair(rope, dim, rope->beta_slow);
  if (rope->truncate) {
    low = floor(low);
    high = ceil(high);
  }
  low = fmax(low, 0);
  high = fmin(high, dim - 1);
  if (low == high) high += 0.001;
  double stretch = fmin(fmax((i - low) / (high - low), 0), 1);
  return frequency / rope->factor * stretch + frequency * (1 - stretch);
}

bool rope_is_long(const struct rope *rope, int length) { return length > rope->original; }

bool rope_frequencies(const struct rope *rope, int dim, int length, float *out, struct error *error) {
  if (rope->n_divisor > 0 && rope->n_divisor != dim / 2)
    return error_set(error, ERROR_INVALID, "The config has %d factors for a rotation of %d frequencies.",
                     rope->n_divisor, dim / 2);
  for (int i = 0; i < dim / 2; i++) {
    double frequency = pow(rope->base, -2.0 * i / dim);
    switch (rope->scaling) {
    case ROPE_PLAIN: break;
    case ROPE_LINEAR: frequency /= rope->factor; break;
    case ROPE_LLAMA3: frequency = llama3_frequency(rope, frequency); break;
    case ROPE_YARN: frequency = yarn_frequency(rope, dim, i, frequency); break;
    case ROPE_LONG:
      if (rope->n_divisor > 0) frequency /= (double)rope->divisor[rope_is_long(rope, length)][i];
      break;
    }
    out[i] = (float)frequency;
  }
  return true;
}
