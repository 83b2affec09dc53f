/* Granite 3: Llama's network with factors on embeddings, scores, what layers add, and logits; its MoE has experts,
 * beside which some (shared) have a feed-forward that every token goes through. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"GraniteForCausalLM", "granite"},
                                                    {"GraniteMoeForCausalLM", "granitemoe"},
                                                    {"GraniteMoeSharedForCausalLM", "granitemoe"},
                                                    {"granite", "granite"},
                                                    {"granitemoe", "granitemoe"},
                                                    {0}};

static const struct decoder_names moe_names = {.hf = {[ROLE_ROUTER] = "block_sparse_moe.router.layer",
                                                      [ROLE_EXPERT_GATE_UP] = "block_sparse_moe.input_linear",
                                                      [ROLE_EXPERT_DOWN] = "block_sparse_moe.output_linear",
                                                      [ROLE_GATE_UP] = "shared_mlp.input_linear",
                                                      [ROLE_SHARED_DOWN] = "shared_mlp.output_linear"}};

/* config.json's factors are 1 where it is silent. GGUF names an attention's scale only where it is not the usual one.
 */
static bool factors_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool gguf = checkpoint_kind(c) == CHECKPOINT_GGUF;
  double embed = 1, attend = gguf ? (double)d->attend_scale : 1, residual = 1, logits = 1;
  const struct {
    struct config_key key;
    double *value;
  } factors[] = {{{"embedding_multiplier", "embedding_scale"}, &embed},
                 {{"attention_multiplier", "attention.scale"}, &attend},
                 {{"residual_multiplier", "residual_scale"}, &residual},
                 {{"logits_scaling", "logit_scale"}, &logits}};
  for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
    if (!config_float(c, factors[i].key, CONFIG_OPTIONAL, 1e-6, 1e6, factors[i].value, error)) return false;
  d->embed_scale = (float)embed;
  d->attend_scale = (float)attend;
  d->residual_scale = (float)residual;
  d->logit_scale = (float)(1 / logits);
  return true;
}

static bool experts_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key shared = {"shared_intermediate_size", "expert_shared_feed_forward_length"};
  d->names = &moe_names;
  d->experts = (struct decoder_experts){.route.score = ROUTE_CHOSEN, .layout = EXPERTS_JOINED};
  if (strstr(checkpoint_architecture(c), "Shared")) d->experts.shared = 1024; /* of a config.json that does not say */
  if (!decoder_read_experts(d, c, "num_local_experts", error) ||
      !config_int(c, shared, CONFIG_OPTIONAL, 0, LIMIT_MODEL_WIDTH, &d->experts.shared, error))
    return false;
  if (d->experts.shared > 0 && checkpoint_kind(c) == CHECKPOINT_HF) d->ff_layout = FF_GATED_JOINED;
  return true;
}

static bool granite_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  /* There the rows of q and k are reordered. */
  struct decoder d = {.prefix = "model.", .act = ACT_SILU, .rope_style = gguf ? ROPE_PAIRS : ROPE_HALF};
  if (!decoder_read(&d, checkpoint, error) || !decoder_read_variants(&d, checkpoint, error)) return false;
  if (strstr(checkpoint_architecture(checkpoint), "oe") && !experts_read(&d, checkpoint, error)) return false;
  return factors_read(&d, checkpoint, error) &&
         rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, 10000, NULL,
                   d.max_position, error) &&
         decoder_build(&d, checkpoint, builder, error);
}

const struct family granite_family = {
    .title = "Granite 3 and its MoE", .architectures = architectures, .build = granite_build};
