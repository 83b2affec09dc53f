/* GPT-2: learned positions, layer norms, biases everywhere, a feed-forward without a gate, and matrices that
 * checkpoints store transposed. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"GPT2LMHeadModel", "gpt2"}, {"gpt2", "gpt2"}, {0}};

static const struct decoder_names names = {.layers = "h",
                                           .hf = {[ROLE_EMBED] = "wte",
                                                  [ROLE_POSITIONS] = "wpe",
                                                  [ROLE_FINAL_NORM] = "ln_f",
                                                  [ROLE_ATTEND_NORM] = "ln_1",
                                                  [ROLE_QKV] = "attn.c_attn",
                                                  [ROLE_OUT] = "attn.c_proj",
                                                  [ROLE_MLP_NORM] = "ln_2",
                                                  [ROLE_UP] = "mlp.c_fc",
                                                  [ROLE_DOWN] = "mlp.c_proj"}};

static bool sizes_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  double eps = 1e-5;
  const struct decoder_size sizes[] = {{"n_layer", LIMIT_MODEL_LAYERS, &d->n_layer},
                                       {"n_embd", LIMIT_MODEL_WIDTH, &d->hidden},
                                       {"n_head", HEADS_MAX, &d->n_head},
                                       {"n_positions", LIMIT_MODEL_POSITIONS, &d->max_position},
                                       {0}};
  if (!decoder_read_sizes(c, sizes, error) ||
      !config_float(c, (struct config_key){"layer_norm_epsilon", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL,
                    1e-12, 1, &eps, error))
    return false;
  d->eps = eps;
  if (checkpoint_kind(c) == CHECKPOINT_HF && d->hidden <= LIMIT_MODEL_WIDTH / 4) d->feed_forward = 4 * d->hidden;
  return config_int(c, (struct config_key){"n_inner", NULL}, CONFIG_OPTIONAL, 1, LIMIT_MODEL_WIDTH, &d->feed_forward,
                    error) &&
         decoder_read(d, c, error);
}

static bool hf_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool scaled = true, by_layer = false;
  if (!decoder_read_act(c, (struct config_key){"activation_function", NULL}, &d->act, error) ||
      !config_bool(c, (struct config_key){"tie_word_embeddings", NULL}, &d->tied, error) ||
      !config_bool(c, (struct config_key){"scale_attn_weights", NULL}, &scaled, error) ||
      !config_bool(c, (struct config_key){"scale_attn_by_inverse_layer_idx", NULL}, &by_layer, error))
    return false;
  if (!scaled) d->attend_scale = 1;
  return !by_layer || error_set(error, ERROR_UNSUPPORTED,
                                "config.json: scale_attn_by_inverse_layer_idx is true, expected false: every layer "
                                "scales its scores alike.");
}

static bool gpt2_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  struct decoder d = {.prefix = decoder_has(checkpoint, "wte.weight") ? "" : "transformer.",
                      .names = &names,
                      .act = ACT_GELU_TANH,
                      .qkv_layout = QKV_JOINED,
                      .ff_layout = FF_PLAIN,
                      .qkv_bias = true,
                      .out_bias = true,
                      .mlp_bias = true,
                      .layer_norm = true,
                      .norm_bias = true,
                      .tied = true,
                      .transposed = true,
                      .positions = true};
  if (!sizes_read(&d, checkpoint, error)) return false;
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF)
    d.tied = !decoder_has(checkpoint, "output.weight");
  else if (!hf_read(&d, checkpoint, error))
    return false;
  return decoder_build(&d, checkpoint, builder, error);
}

/* Masks that early files store. */
static bool mask_unused(const struct checkpoint *checkpoint, const char *tensor) {
  (void)checkpoint;
  return decoder_name_ends(tensor, ".attn.bias") || decoder_name_ends(tensor, ".attn.masked_bias");
}

const struct family gpt2_family = {
    .title = "GPT-2", .architectures = architectures, .build = gpt2_build, .unused = mask_unused};
