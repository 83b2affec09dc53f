/* GLM-4: gate and up in one tensor, biases on q, k and v, a rotation of neighbours in half of each head. The networks
 * of 2025 (Glm4) have norms after attention and feed-forward too. The first checkpoints (ChatGLMModel: glm-4-9b-chat)
 * have names and keys of their own. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"GlmForCausalLM", "chatglm"},
                                                    {"ChatGLMModel", "chatglm"},
                                                    {"ChatGLMForConditionalGeneration", "chatglm"},
                                                    {"Glm4ForCausalLM", "glm4"},
                                                    {"chatglm", "chatglm"},
                                                    {"glm4", "glm4"},
                                                    {0}};

static const struct decoder_names names = {.hf = {[ROLE_SANDWICH_ATTEND_POST] = "post_self_attn_layernorm",
                                                  [ROLE_SANDWICH_MLP_NORM] = "post_attention_layernorm",
                                                  [ROLE_SANDWICH_MLP_POST] = "post_mlp_layernorm"}};

static const struct decoder_names first_names = {.layers = "encoder.layers",
                                                 .hf = {[ROLE_EMBED] = "embedding.word_embeddings",
                                                        [ROLE_HEAD] = "transformer.output_layer",
                                                        [ROLE_FINAL_NORM] = "encoder.final_layernorm",
                                                        [ROLE_QKV] = "self_attention.query_key_value",
                                                        [ROLE_OUT] = "self_attention.dense",
                                                        [ROLE_GATE_UP] = "mlp.dense_h_to_4h",
                                                        [ROLE_DOWN] = "mlp.dense_4h_to_h"}};

/* What the code of the first checkpoints can be told, and none of them is. */
static bool first_check(const struct checkpoint *c, struct error *error) {
  static const struct {
    const char *key;
    bool value;
  } usual[] = {{"rmsnorm", true},
               {"original_rope", true},
               {"post_layer_norm", true},
               {"add_bias_linear", false},
               {"apply_residual_connection_post_layernorm", false}};
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
    bool value = usual[i].value;
    if (!config_bool(c, (struct config_key){usual[i].key, NULL}, &value, error)) return false;
    if (value != usual[i].value)
      return error_set(error, ERROR_UNSUPPORTED, "config.json: %s is %s, expected %s.", usual[i].key,
                       value ? "true" : "false", value ? "false" : "true");
  }
  return true;
}

/* Sizes, the norms' epsilon, biases, and the base of the rotation, by the keys of the first checkpoints. */
static bool first_read(struct decoder *d, const struct checkpoint *c, double *base, struct error *error) {
  bool grouped = false;
  double ratio = 1;
  const struct decoder_size sizes[] = {{"num_layers", LIMIT_MODEL_LAYERS, &d->n_layer},
                                       {"ffn_hidden_size", LIMIT_MODEL_WIDTH, &d->feed_forward},
                                       {"kv_channels", HEAD_DIM_MAX, &d->head_dim},
                                       {"padded_vocab_size", LIMIT_VOCAB, &d->vocab},
                                       {"seq_length", LIMIT_MODEL_POSITIONS, &d->max_position},
                                       {0}};
  d->prefix = "transformer.";
  d->head_prefix = "";
  d->names = &first_names;
  d->qkv_layout = QKV_JOINED;
  d->eps = 1e-5;
  if (!first_check(c, error) || !decoder_read_sizes(c, sizes, error) ||
      !config_float(c, (struct config_key){"layernorm_epsilon", NULL}, CONFIG_OPTIONAL, 0, 1, &d->eps, error) ||
      !config_bool(c, (struct config_key){"add_qkv_bias", NULL}, &d->qkv_bias, error) ||
      !config_bool(c, (struct config_key){"multi_query_attention", NULL}, &grouped, error) ||
      !config_float(c, (struct config_key){"rope_ratio", NULL}, CONFIG_OPTIONAL, 1e-3, 1e6, &ratio, error))
    return false;
  *base *= ratio;
  return !grouped || config_int(c, (struct config_key){"multi_query_group_num", NULL}, CONFIG_NEEDED, 1, HEADS_MAX,
                                &d->n_kv_head, error);
}

static bool glm4_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  struct decoder d = {.prefix = "model.",
                      .names = &names,
                      .act = ACT_SILU,
                      .rope_style = ROPE_PAIRS,
                      .rope_part = 0.5f,
                      .ff_layout = FF_GATED_JOINED};
  double base = 10000;
  bool first = strncmp(checkpoint_architecture(checkpoint), "ChatGLM", 7) == 0;
  if (first && !first_read(&d, checkpoint, &base, error)) return false;
  if (strstr(checkpoint_architecture(checkpoint), "lm4")) d.block = BLOCK_SANDWICH;
  if (!decoder_read(&d, checkpoint, error) || !decoder_read_variants(&d, checkpoint, error)) return false;
  d.out_bias = d.mlp_bias = false;
  return rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, base, NULL,
                   d.max_position, error) &&
         decoder_build(&d, checkpoint, builder, error);
}

/* Frequencies that the first checkpoints store. */
static bool glm4_unused(const struct checkpoint *checkpoint, const char *tensor) {
  (void)checkpoint;
  return strcmp(tensor, "transformer.rotary_pos_emb.inv_freq") == 0;
}

const struct family glm4_family = {
    .title = "GLM-4", .architectures = architectures, .build = glm4_build, .unused = glm4_unused};
