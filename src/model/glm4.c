/* GLM-4: gate and up in one tensor, biases on q, k and v, a rotation of neighbours in half of each head. The networks
 * of 2025 (Glm4) have norms after attention and feed-forward too. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {
    {"GlmForCausalLM", "chatglm"}, {"Glm4ForCausalLM", "glm4"}, {"chatglm", "chatglm"}, {"glm4", "glm4"}, {0}};

static const struct decoder_names names = {.hf = {[ROLE_SANDWICH_ATTEND_POST] = "post_self_attn_layernorm",
                                                  [ROLE_SANDWICH_MLP_NORM] = "post_attention_layernorm",
                                                  [ROLE_SANDWICH_MLP_POST] = "post_mlp_layernorm"}};

static bool glm4_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  struct decoder d = {.prefix = "model.",
                      .names = &names,
                      .act = ACT_SILU,
                      .rope_style = ROPE_PAIRS,
                      .rope_part = 0.5f,
                      .ff_layout = FF_GATED_JOINED};
  if (strstr(checkpoint_architecture(checkpoint), "lm4")) d.block = BLOCK_SANDWICH;
  if (decoder_has(checkpoint, "blk.0.attn_qkv.weight")) d.qkv_layout = QKV_JOINED;
  if (!decoder_read(&d, checkpoint, error) || !decoder_read_variants(&d, checkpoint, error)) return false;
  d.out_bias = d.mlp_bias = false;
  return rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, 10000, NULL,
                   d.max_position, error) &&
         decoder_build(&d, checkpoint, builder, error);
}

const struct family glm4_family = {.title = "GLM-4", .architectures = architectures, .build = glm4_build};
