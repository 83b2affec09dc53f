/* Cohere's Command R, R+ and R7B: attention and feed-forward in parallel behind one norm, which has no shift, a
 * rotation of neighbours, a factor on logits; R+ norms q and k by each head's own weights. R7B (Cohere 2) sees a window
 * in three of four layers, and rotates in these alone. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"CohereForCausalLM", "command-r"},
                                                    {"Cohere2ForCausalLM", "cohere2"},
                                                    {"command-r", "command-r"},
                                                    {"cohere2", "cohere2"},
                                                    {0}};

static bool norms_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool norms = decoder_has(c, "blk.0.attn_q_norm.weight");
  if (!config_bool(c, (struct config_key){"use_qk_norm", NULL}, &norms, error)) return false;
  if (norms) d->qk_norm = QK_NORM_EACH;
  return true;
}

static bool layers_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool listed;
  int pattern = 4;
  d->window = 4096;
  if (!decoder_read_window(c, &d->window, error) || !decoder_read_layer_types(d, c, &listed, error) ||
      !config_int(c, (struct config_key){"sliding_window_pattern", NULL}, CONFIG_OPTIONAL, 1, LIMIT_MODEL_LAYERS,
                  &pattern, error))
    return false;
  if (!listed) decoder_pattern(d, pattern);
  for (int i = 0; i < d->n_layer; i++) d->layer_still[i] = d->layer_kind[i] == LAYER_GLOBAL;
  return true;
}

static bool cohere_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  double eps = 1e-5, logits = 0.0625;
  struct decoder d = {.prefix = "model.",
                      .act = ACT_SILU,
                      .rope_style = ROPE_PAIRS,
                      .block = BLOCK_SHARED,
                      .layer_norm = true,
                      .tied = true};
  if (!config_float(checkpoint, (struct config_key){"layer_norm_eps", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL,
                    1e-12, 1, &eps, error) ||
      !config_float(checkpoint, (struct config_key){"logit_scale", "logit_scale"}, CONFIG_OPTIONAL, 1e-6, 1e6, &logits,
                    error))
    return false;
  d.eps = eps;
  d.logit_scale = (float)logits;
  if (!decoder_read(&d, checkpoint, error) || !decoder_read_variants(&d, checkpoint, error) ||
      !norms_read(&d, checkpoint, error))
    return false;
  if ((strstr(checkpoint_architecture(checkpoint), "ohere2") && !layers_read(&d, checkpoint, error)) ||
      !rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, 10000, NULL,
                 d.max_position, error))
    return false;
  d.rope[LAYER_LOCAL] = d.rope[LAYER_GLOBAL];
  return decoder_build(&d, checkpoint, builder, error);
}

const struct family cohere_family = {.title = "Command R, R7B", .architectures = architectures, .build = cohere_build};
