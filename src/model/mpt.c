/* MPT: slopes instead of a rotation, layer norms without shifts, of q and of k too in some, no biases, q, k and v in
 * one tensor, a feed-forward without a gate. */
#include "model/decoder.h"
#include "model/family.h"

#include <math.h>

static const struct architecture architectures[] = {
    {"MptForCausalLM", "mpt"}, {"MPTForCausalLM", "mpt"}, {"mpt", "mpt"}, {0}};

static const struct decoder_names names = {.layers = "blocks",
                                           .hf = {[ROLE_EMBED] = "wte",
                                                  [ROLE_FINAL_NORM] = "norm_f",
                                                  [ROLE_ATTEND_NORM] = "norm_1",
                                                  [ROLE_QKV] = "attn.Wqkv",
                                                  [ROLE_Q_NORM] = "attn.q_ln",
                                                  [ROLE_K_NORM] = "attn.k_ln",
                                                  [ROLE_OUT] = "attn.out_proj",
                                                  [ROLE_MLP_NORM] = "norm_2",
                                                  [ROLE_UP] = "ffn.up_proj",
                                                  [ROLE_DOWN] = "ffn.down_proj"}};

static bool sizes_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  double eps = 1e-5;
  int times = 4;
  const struct decoder_size sizes[] = {{"n_layers", LIMIT_MODEL_LAYERS, &d->n_layer},
                                       {"d_model", LIMIT_MODEL_WIDTH, &d->hidden},
                                       {"n_heads", HEADS_MAX, &d->n_head},
                                       {"max_seq_len", LIMIT_MODEL_POSITIONS, &d->max_position},
                                       {0}};
  if (!decoder_read_sizes(c, sizes, error) ||
      !config_int(c, (struct config_key){"expansion_ratio", NULL}, CONFIG_OPTIONAL, 1, 64, &times, error) ||
      !config_float(c, (struct config_key){"layer_norm_epsilon", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL,
                    1e-12, 1, &eps, error))
    return false;
  d->eps = eps;
  if (checkpoint_kind(c) == CHECKPOINT_HF && d->hidden <= LIMIT_MODEL_WIDTH / times)
    d->feed_forward = times * d->hidden;
  return decoder_read(d, c, error);
}

/* By their own code's names; transformers has layer norms alone. */
static bool norms_check(const struct checkpoint *c, struct error *error) {
  struct slice name = slice_text("layernorm");
  if (!config_text(c, (struct config_key){"norm_type", NULL}, &name, error)) return false;
  if (slice_is(name, "layernorm") || slice_is(name, "low_precision_layernorm")) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: norm_type is \"%.*s\", expected \"low_precision_layernorm\".", SLICE_ARGS(name));
}

/* A clamp of q, k and v, or norms of all of q and all of k, and what some of these networks have and this file does
 * not: a clamp comes before such norms, and the plan's after them. */
static bool rest_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool slopes = true, norms = decoder_has(c, "blk.0.attn_q_norm.weight");
  double clamp = 0;
  if (!norms_check(c, error) || !config_bool(c, (struct config_key){"attn_config.alibi", NULL}, &slopes, error) ||
      !config_bool(c, (struct config_key){"attn_config.qk_ln", NULL}, &norms, error) ||
      !config_float(c, (struct config_key){"attn_config.clip_qkv", "attention.clamp_kqv"}, CONFIG_OPTIONAL, 0, 1e6,
                    &clamp, error))
    return false;
  d->clip = (float)clamp;
  d->qk_norm = norms ? QK_NORM_WHOLE : QK_NORM_NONE;
  if (!slopes) return error_set(error, ERROR_UNSUPPORTED, "The config has alibi false; Spate loads MPT with alibi.");
  return !norms || clamp == 0 ||
         error_set(error, ERROR_UNSUPPORTED,
                   "The config has qk_ln true and clip_qkv %g; Spate loads MPT with one of them alone.", clamp);
}

static bool attention_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  double most = 8, scale = (double)d->attend_scale;
  if (!config_float(c, (struct config_key){"attn_config.alibi_bias_max", "attention.max_alibi_bias"}, CONFIG_OPTIONAL,
                    1e-3, 1e3, &most, error) ||
      !config_float(c, (struct config_key){"attn_config.softmax_scale", NULL}, CONFIG_OPTIONAL, 1e-6, 1e3, &scale,
                    error))
    return false;
  d->alibi = (float)most;
  d->alibi_scale = 1;
  d->attend_scale = (float)scale;
  return true;
}

static bool mpt_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  struct decoder d = {.prefix = "transformer.",
                      .names = &names,
                      .act = ACT_GELU,
                      .qkv_layout = QKV_JOINED,
                      .ff_layout = FF_PLAIN,
                      .layer_norm = true,
                      .tied = true};
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) d.tied = !decoder_has(checkpoint, "output.weight");
  return rest_read(&d, checkpoint, error) && sizes_read(&d, checkpoint, error) &&
         attention_read(&d, checkpoint, error) && decoder_build(&d, checkpoint, builder, error);
}

const struct family mpt_family = {.title = "MPT", .architectures = architectures, .build = mpt_build};
