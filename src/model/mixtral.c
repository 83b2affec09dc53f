/* Networks of the Llama family whose feed-forward is a mixture of experts: Mixtral; Qwen 3 MoE, which norms q and k and
 * may have layers without experts; OLMoE, which norms them over all heads. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"MixtralForCausalLM", "llama"},
                                                    {"Qwen3MoeForCausalLM", "qwen3moe"},
                                                    {"OlmoeForCausalLM", "olmoe"},
                                                    {"qwen3moe", "qwen3moe"},
                                                    {"olmoe", "olmoe"},
                                                    {0}};

static const struct decoder_names mixtral_names = {.hf = {[ROLE_ROUTER] = "block_sparse_moe.gate",
                                                          [ROLE_EXPERT_GATE] = "block_sparse_moe.experts.{e}.w1",
                                                          [ROLE_EXPERT_UP] = "block_sparse_moe.experts.{e}.w3",
                                                          [ROLE_EXPERT_DOWN] = "block_sparse_moe.experts.{e}.w2"}};

/* Qwen's config has a window that it does not use, and a layer from which on it would. */
static bool window_read(struct decoder *d, const struct checkpoint *c, bool qwen, struct error *error) {
  bool used = !qwen;
  return config_bool(c, (struct config_key){"use_sliding_window", NULL}, &used, error) &&
         (!used || decoder_read_window(c, &d->window, error));
}

/* A clamp of q, k and v, as some OLMoE have it; of the others transformers does not read it. */
static bool clip_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  double clip = 0;
  if (!config_float(c, (struct config_key){"clip_qkv", "attention.clamp_kqv"}, CONFIG_OPTIONAL, 0, 1e6, &clip, error))
    return false;
  d->clip = (float)clip;
  return true;
}

static bool mixtral_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  const char *name = checkpoint_architecture(checkpoint);
  bool qwen = strstr(name, "wen3") != NULL, olmoe = strstr(name, "lmoe") != NULL, mixtral = !qwen && !olmoe;
  struct decoder d = {.prefix = "model.",
                      .act = ACT_SILU,
                      .rope_style = ROPE_HALF,
                      .names = mixtral ? &mixtral_names : NULL,
                      .qk_norm = qwen    ? QK_NORM_HEAD
                                 : olmoe ? QK_NORM_WHOLE
                                         : QK_NORM_NONE};
  /* GGUF files do not say; Qwen's all divide by the sum. */
  d.experts.route.normalize = mixtral || (qwen && checkpoint_kind(checkpoint) == CHECKPOINT_GGUF);
  if (!decoder_read(&d, checkpoint, error) || !decoder_read_variants(&d, checkpoint, error) ||
      !window_read(&d, checkpoint, qwen, error) || (olmoe && !clip_read(&d, checkpoint, error)) ||
      !decoder_read_experts(&d, checkpoint, mixtral ? "num_local_experts" : "num_experts", error))
    return false;
  if (qwen && !decoder_read_sparse(&d, checkpoint, error)) return false;
  int window = d.window;
  if (!rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, 10000, NULL,
                 d.max_position, error))
    return false;
  d.rope[LAYER_LOCAL] = d.rope[LAYER_GLOBAL];
  if (window > 0) memset(d.layer_kind, LAYER_LOCAL, sizeof d.layer_kind);
  return decoder_build(&d, checkpoint, builder, error);
}

const struct family mixtral_family = {
    .title = "Mixtral, Qwen 3 MoE, OLMoE", .architectures = architectures, .build = mixtral_build};
