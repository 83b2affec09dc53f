/* DeepSeek V2, V2-Lite, V3 and R1: latent attention, a rotation of neighbours in a part of each head, and layers of
 * experts behind the first few. */
#include "model/decoder.h"
#include "model/family.h"

#include <math.h>

static const struct architecture architectures[] = {{"DeepseekV2ForCausalLM", "deepseek2"},
                                                    {"DeepseekV3ForCausalLM", "deepseek2"},
                                                    {"deepseek_v2", "deepseek2"},
                                                    {"deepseek_v3", "deepseek2"},
                                                    {"deepseek2", "deepseek2"},
                                                    {0}};

enum { LATENT_MOST = 1 << 16 };

static bool sizes_read_hf(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key q_rank = {"q_lora_rank", NULL};
  d->latent.q_rank = config_is_null(c, q_rank) ? 0 : 1536; /* what an absent key means */
  d->latent.eps = 1e-6;                                    /* of these norms, whatever the config has for others */
  const struct decoder_size sizes[] = {{"kv_lora_rank", HEAD_DIM_MAX, &d->latent.rank},
                                       {"qk_nope_head_dim", HEAD_DIM_MAX, &d->latent.still},
                                       {"qk_rope_head_dim", HEAD_DIM_MAX, &d->latent.rope},
                                       {"v_head_dim", HEAD_DIM_MAX, &d->head_dim},
                                       {NULL, 0, NULL}};
  return config_int(c, q_rank, CONFIG_OPTIONAL, 1, LATENT_MOST, &d->latent.q_rank, error) &&
         decoder_read_sizes(c, sizes, error);
}

/* Of files that keep the latent alone "key_length" is the latent's and the rotated part's together. */
static bool sizes_read_gguf(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct {
    const char *key, *latent; /* the second is a head's where both are there */
    int *value;
  } needed[] = {{"attention.kv_lora_rank", NULL, &d->latent.rank},
                {"rope.dimension_count", NULL, &d->latent.rope},
                {"attention.key_length", "attention.key_length_mla", &d->latent.still},
                {"attention.value_length", "attention.value_length_mla", &d->head_dim}};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
    struct config_key key = {NULL, needed[i].latent};
    if (!needed[i].latent || !config_has(c, key)) key.gguf = needed[i].key;
    if (!config_int(c, key, CONFIG_NEEDED, 1, 2 * HEAD_DIM_MAX, needed[i].value, error)) return false;
  }
  d->latent.still -= d->latent.rope;
  return config_int(c, (struct config_key){NULL, "attention.q_lora_rank"}, CONFIG_OPTIONAL, 0, LATENT_MOST,
                    &d->latent.q_rank, error);
}

static bool sizes_check(const struct decoder *d, struct error *error) {
  const struct latent_sizes *l = &d->latent;
  if (l->still < 1 || l->rope % VALUE_UNIT != 0)
    return error_set(error, ERROR_UNSUPPORTED,
                     "%d dimensions of a head rotate and %d do not; the first must be a multiple of %d, the second at "
                     "least 1.",
                     l->rope, l->still, VALUE_UNIT);
  if (l->rank + l->rope > HEAD_DIM_MAX)
    return error_set(error, ERROR_LIMIT,
                     "A latent of %d and %d rotated dimensions are more than the %d that Spate allows.", l->rank,
                     l->rope, HEAD_DIM_MAX);
  int64_t width = (int64_t)(d->n_head + 1) * (l->rank + l->rope);
  int64_t still = (int64_t)d->n_head * l->still, values = (int64_t)d->n_head * d->head_dim;
  if (width <= LIMIT_MODEL_WIDTH && still <= LIMIT_MODEL_WIDTH && values <= LIMIT_MODEL_WIDTH) return true;
  return error_set(error, ERROR_LIMIT, "%d heads over a latent of %d are wider than the %d that Spate allows.",
                   d->n_head, l->rank, LIMIT_MODEL_WIDTH);
}

/* GGUF: the logarithm's factor, from which both the scores' and that of cos and sin follow. */
static bool gguf_score_read(struct rope *rope, const struct checkpoint *c, struct error *error) {
  double factor = 0;
  const struct config_key key = {NULL, "rope.scaling.yarn_log_multiplier"};
  if (!config_float(c, key, CONFIG_OPTIONAL, 0, 100, &factor, error)) return false;
  if (factor == 0 || rope->scaling != ROPE_YARN) return true;
  rope->score = 1 + factor * log(rope->factor);
  rope->attention = 1;
  return true;
}

static bool rotation_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  struct rope *rope = &d->rope[LAYER_GLOBAL];
  bool pairs = true;
  if (!config_bool(c, (struct config_key){"rope_interleave", NULL}, &pairs, error) ||
      !rope_read(rope, c, (struct config_key){"rope_theta", "rope.freq_base"}, 10000, NULL, d->max_position, error) ||
      (checkpoint_kind(c) == CHECKPOINT_GGUF && !gguf_score_read(rope, c, error)))
    return false;
  d->rope_style = pairs || checkpoint_architecture(c)[9] == '2' ? ROPE_PAIRS : ROPE_HALF;
  d->rope_dim = d->latent.rope;
  d->attend_scale = (float)(rope->score * rope->score / sqrt(d->latent.still + d->latent.rope));
  return true;
}

/* Layers of experts come behind the first few. */
static bool experts_read(const struct decoder *d, const struct checkpoint *c, struct error *error) {
  int dense = d->n_layer;
  if (!config_int(c, (struct config_key){"first_k_dense_replace", "leading_dense_block_count"}, CONFIG_OPTIONAL, 0,
                  LIMIT_MODEL_LAYERS, &dense, error))
    return false;
  if (dense >= d->n_layer) return true;
  return error_set(error, ERROR_UNSUPPORTED, "Layers from %d on have experts, which Spate does not load so far.",
                   dense);
}

static bool deepseek_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  struct decoder d = {.prefix = "model.", .act = ACT_SILU};
  if (!(gguf ? sizes_read_gguf : sizes_read_hf)(&d, checkpoint, error) || !decoder_read(&d, checkpoint, error) ||
      !decoder_read_variants(&d, checkpoint, error))
    return false;
  d.n_kv_head = 1;
  if (gguf) d.latent.eps = d.eps, d.qkv_bias = decoder_has(checkpoint, "blk.0.attn_kv_a_mqa.bias");
  return sizes_check(&d, error) && rotation_read(&d, checkpoint, error) && experts_read(&d, checkpoint, error) &&
         decoder_build(&d, checkpoint, builder, error);
}

const struct family deepseek_family = {
    .title = "DeepSeek V2 and V3", .architectures = architectures, .build = deepseek_build};
