/* Phi-3.5-MoE: Llama's attention with biases, layer norms with shifts, a head that may have a bias, and a mixture of
 * experts of which each token has two. The weight of each is its share of a softmax over those whose logits are near
 * its own (SparseMixer, Liu et al. 2024), the first left out for the second. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"PhimoeForCausalLM", "phimoe"},
                                                    {"PhiMoEForCausalLM", "phimoe"}, /* as Microsoft's files have it */
                                                    {"phimoe", "phimoe"},
                                                    {0}};

static const struct decoder_names names = {.hf = {[ROLE_ROUTER] = "block_sparse_moe.gate",
                                                  [ROLE_EXPERT_GATE] = "block_sparse_moe.experts.{e}.w1",
                                                  [ROLE_EXPERT_UP] = "block_sparse_moe.experts.{e}.w3",
                                                  [ROLE_EXPERT_DOWN] = "block_sparse_moe.experts.{e}.w2"}};

static const struct decoder_names stacked_names = {
    .hf = {[ROLE_ROUTER] = "mlp.router", [ROLE_EXPERT_DOWN] = "=mlp.experts.down_proj"}};

enum { CHOSEN = 2 };

/* GGUF files do not say what is near. */
static bool route_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  struct route_args *route = &d->experts.route;
  double jitter = 0.01;
  if (!decoder_read_experts(d, c, "num_local_experts", error) ||
      !config_float(c, (struct config_key){"router_jitter_noise", NULL}, CONFIG_OPTIONAL, 0, 0.5, &jitter, error))
    return false;
  if (d->stacked) d->stacked = &stacked_names;
  route->score = ROUTE_NEAR;
  route->near = (float)(2 * jitter);
  return route->k == CHOSEN || error_set(error, ERROR_UNSUPPORTED,
                                         "The config: a token has %d experts, expected 2 of SparseMixer.", route->k);
}

/* What multiplies cos and sin, by whether texts may be longer than those that the network was trained with at first. */
static bool scale_read(struct rope *rope, const struct checkpoint *c, int length, struct error *error) {
  static const char *const keys[2][2] = {{"rope_parameters.short_mscale", "rope_scaling.short_mscale"},
                                         {"rope_parameters.long_mscale", "rope_scaling.long_mscale"}};
  bool longer = rope->scaling == ROPE_LONG && rope_is_long(rope, length);
  for (int i = 0; i < 2 && rope->scaling == ROPE_LONG; i++)
    if (!config_float(c, (struct config_key){keys[longer][i], NULL}, CONFIG_OPTIONAL, 1e-3, 1e3, &rope->attention,
                      error))
      return false;
  return true;
}

static bool phimoe_build(const struct checkpoint *c, struct plan_builder *builder, struct error *error) {
  struct decoder d = {.prefix = "model.",
                      .names = &names,
                      .act = ACT_SILU,
                      .rope_style = ROPE_HALF,
                      .layer_norm = true,
                      .norm_bias = true};
  bool gguf = checkpoint_kind(c) == CHECKPOINT_GGUF;
  if (gguf) d.head_bias = decoder_has(c, "output.bias");
  if (!decoder_read(&d, c, error) || !decoder_read_variants(&d, c, error) || !decoder_read_alike(&d, c, error) ||
      !route_read(&d, c, error) || !config_bool(c, (struct config_key){"lm_head_bias", NULL}, &d.head_bias, error))
    return false;
  int length = builder->length < d.max_position ? builder->length : d.max_position;
  return scale_read(&d.rope[LAYER_GLOBAL], c, length, error) && scale_read(&d.rope[LAYER_LOCAL], c, length, error) &&
         decoder_build(&d, c, builder, error);
}

const struct family phimoe_family = {.title = "Phi-3.5-MoE", .architectures = architectures, .build = phimoe_build};
