/* Granite 3: Llama's network with factors on embeddings, scores, what layers add, and logits; its MoE has experts,
 * beside which some (shared) have a feed-forward that every token goes through. Granite 4 calls all of its networks
 * hybrids: those whose layers are all attention are Granite 3's again, with that feed-forward's names. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"GraniteForCausalLM", "granite"},
                                                    {"GraniteMoeForCausalLM", "granitemoe"},
                                                    {"GraniteMoeSharedForCausalLM", "granitemoe"},
                                                    {"GraniteMoeHybridForCausalLM", "granite"},
                                                    {"granite", "granite"},
                                                    {"granitemoe", "granitemoe"},
                                                    {0}};

static const struct decoder_names moe_names = {.hf = {[ROLE_ROUTER] = "block_sparse_moe.router.layer",
                                                      [ROLE_EXPERT_GATE_UP] = "block_sparse_moe.input_linear",
                                                      [ROLE_EXPERT_DOWN] = "block_sparse_moe.output_linear",
                                                      [ROLE_GATE_UP] = "shared_mlp.input_linear",
                                                      [ROLE_SHARED_DOWN] = "shared_mlp.output_linear"}};

static const struct decoder_names hybrid_names = {
    .hf = {[ROLE_GATE_UP] = "shared_mlp.input_linear", [ROLE_DOWN] = "shared_mlp.output_linear"}};

static bool layers_check(const struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key types = {"layer_types", NULL};
  struct slice type;
  int count;
  if (!config_list(c, types, &count, error)) return false;
  if (count != d->n_layer)
    return error_set(error, ERROR_INVALID, "config.json: layer_types has length %d, expected %d: one for each layer.",
                     count < 0 ? 0 : count, d->n_layer);
  for (int i = 0; i < count; i++) {
    if (!config_list_text(c, types, i, &type, error)) return false;
    if (!slice_is(type, "attention") && !slice_is(type, "full_attention"))
      return error_set(error, ERROR_UNSUPPORTED,
                       "config.json: layer_types[%d] is \"%.*s\", expected \"attention\"; of Granite 4's networks "
                       "those without Mamba layers load.",
                       i, SLICE_ARGS(type));
  }
  return true;
}

/* Layers that are all attention, without experts, and, where the config says so, a rotation. */
static bool hybrid_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  enum { USUAL_EXPERTS = 8, USUAL_WIDTH = 1024 }; /* of a config.json that does not say */
  int n_expert = USUAL_EXPERTS;
  struct slice rotation = {0};
  d->names = &hybrid_names;
  d->ff_layout = FF_GATED_JOINED;
  d->feed_forward = USUAL_WIDTH;
  if (!layers_check(d, c, error) ||
      !config_int(c, (struct config_key){"num_local_experts", NULL}, CONFIG_OPTIONAL, 0, LIMIT_MODEL_EXPERTS, &n_expert,
                  error) ||
      !config_text(c, (struct config_key){"position_embedding_type", NULL}, &rotation, error) ||
      !config_int(c, (struct config_key){"shared_intermediate_size", NULL}, CONFIG_OPTIONAL, 1, LIMIT_MODEL_WIDTH,
                  &d->feed_forward, error))
    return false;
  if (!slice_is(rotation, "rope")) d->rope_style = ROPE_NONE;
  return n_expert == 0 || error_set(error, ERROR_UNSUPPORTED,
                                    "config.json: num_local_experts is %d, expected 0; of Granite 4's networks those "
                                    "without experts load.",
                                    n_expert);
}

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
  const char *name = checkpoint_architecture(checkpoint);
  bool hybrid = strstr(name, "Hybrid") != NULL, experts = strstr(name, "oe") != NULL && !hybrid;
  if ((hybrid && !hybrid_read(&d, checkpoint, error)) || (experts && !experts_read(&d, checkpoint, error)))
    return false;
  return factors_read(&d, checkpoint, error) &&
         rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, 10000, NULL,
                   d.max_position, error) &&
         decoder_build(&d, checkpoint, builder, error);
}

const struct family granite_family = {
    .title = "Granite 3 and its MoE, dense 4", .architectures = architectures, .build = granite_build};
