/* StarCoder 2: layer norms, biases, a feed-forward without a gate, and a window in all layers of most. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {
    {"Starcoder2ForCausalLM", "starcoder2"}, {"starcoder2", "starcoder2"}, {0}};

static const struct decoder_names names = {.hf = {[ROLE_UP] = "mlp.c_fc", [ROLE_DOWN] = "mlp.c_proj"}};

static bool variants_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  double eps = 1e-5;
  bool bias = true;
  if (!config_float(c, (struct config_key){"norm_epsilon", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL, 1e-12, 1,
                    &eps, error) ||
      !config_bool(c, (struct config_key){"use_bias", NULL}, &bias, error) ||
      !config_bool(c, (struct config_key){"tie_word_embeddings", NULL}, &d->tied, error) ||
      !decoder_read_act(c, (struct config_key){"hidden_act", NULL}, &d->act, error))
    return false;
  d->eps = eps;
  d->qkv_bias = d->out_bias = d->mlp_bias = bias;
  if (checkpoint_kind(c) == CHECKPOINT_GGUF) d->tied = !decoder_has(c, "output.weight");
  return true;
}

static bool starcoder2_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  struct decoder d = {.prefix = "model.",
                      .names = &names,
                      .act = ACT_GELU_TANH,
                      .rope_style = ROPE_HALF,
                      .ff_layout = FF_PLAIN,
                      .layer_norm = true,
                      .norm_bias = true,
                      .tied = true};
  if (!variants_read(&d, checkpoint, error) || !decoder_read(&d, checkpoint, error) ||
      !decoder_read_alike(&d, checkpoint, error))
    return false;
  return decoder_build(&d, checkpoint, builder, error);
}

const struct family starcoder2_family = {
    .title = "StarCoder 2", .architectures = architectures, .build = starcoder2_build};
