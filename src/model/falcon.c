/* Falcon: one tensor for q, k and v, group by group. The 7B has one KV head and one norm before two parallel halves;
 * the new decoder (40B, 180B, Falcon 2) more KV heads, and a norm for each half or one for both; the first ones (RW)
 * halves one after the other, biases, and slopes instead of a rotation. */
#include "model/decoder.h"
#include "model/family.h"

/* The first name is that of files from before transformers had the network. */
static const struct architecture architectures[] = {
    {"RWForCausalLM", "falcon"}, {"FalconForCausalLM", "falcon"}, {"falcon", "falcon"}, {0}};

#define COMMON_NAMES                                                                                                   \
  [ROLE_EMBED] = "word_embeddings", [ROLE_FINAL_NORM] = "ln_f", [ROLE_QKV] = "self_attention.query_key_value",         \
  [ROLE_OUT] = "self_attention.dense", [ROLE_UP] = "mlp.dense_h_to_4h", [ROLE_DOWN] = "mlp.dense_4h_to_h"

static const struct decoder_names names = {.layers = "h", .hf = {COMMON_NAMES}};
/* Where each half has a norm. */
static const struct decoder_names norms_names = {
    .layers = "h",
    .hf = {COMMON_NAMES, [ROLE_ATTEND_NORM] = "ln_attn", [ROLE_MLP_NORM] = "ln_mlp"},
    .gguf = {[ROLE_ATTEND_NORM] = "attn_norm_2", [ROLE_MLP_NORM] = "attn_norm"}};

static bool sizes_read(struct decoder *d, const struct checkpoint *c, bool *grouped, struct error *error) {
  bool single = true, hf = checkpoint_kind(c) == CHECKPOINT_HF;
  double eps = 1e-5;
  int older = 0; /* KV heads, of which the first files of the new decoder alone speak */
  const struct decoder_size sizes[] = {{"hidden_size", LIMIT_MODEL_WIDTH, &d->hidden}, {0}};
  if (!config_float(c, (struct config_key){"layer_norm_epsilon", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL,
                    1e-12, 1, &eps, error) ||
      !decoder_read_sizes(c, sizes, error) ||
      !config_int(c, (struct config_key){"n_head_kv", NULL}, CONFIG_OPTIONAL, 1, HEADS_MAX, &older, error) ||
      !config_bool(c, (struct config_key){"new_decoder_architecture", NULL}, grouped, error) ||
      !config_bool(c, (struct config_key){"multi_query", NULL}, &single, error))
    return false;
  d->eps = eps;
  d->n_kv_head = older;
  if (older > 0) *grouped = true;
  if (hf) d->max_position = 2048;
  if (hf && d->hidden <= LIMIT_MODEL_WIDTH / 4) d->feed_forward = 4 * d->hidden;
  if (!config_int(c, (struct config_key){"ffn_hidden_size", NULL}, CONFIG_OPTIONAL, 1, LIMIT_MODEL_WIDTH,
                  &d->feed_forward, error))
    return false;
  if (*grouped)
    return config_int(c, (struct config_key){"num_kv_heads", NULL}, older > 0 ? CONFIG_OPTIONAL : CONFIG_NEEDED, 1,
                      HEADS_MAX, &d->n_kv_head, error);
  if (hf && single) d->n_kv_head = 1;
  return true;
}

/* In GGUF files the tensors tell. */
static bool block_read(struct decoder *d, const struct checkpoint *c, bool grouped, struct error *error) {
  bool parallel = true;
  int norms = grouped ? 2 : 1;
  if (checkpoint_kind(c) == CHECKPOINT_GGUF) norms = decoder_has(c, "blk.0.attn_norm_2.weight") ? 2 : 1;
  if (!config_bool(c, (struct config_key){"parallel_attn", NULL}, &parallel, error) ||
      (grouped &&
       !config_int(c, (struct config_key){"num_ln_in_parallel_attn", NULL}, CONFIG_OPTIONAL, 1, 2, &norms, error)))
    return false;
  d->block = norms == 2 ? BLOCK_PARALLEL : grouped || parallel ? BLOCK_SHARED : BLOCK_PRE;
  d->names = norms == 2 ? &norms_names : &names;
  return true;
}

static bool hf_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool bias = false, slopes = false;
  if (!decoder_read_act(c, (struct config_key){"activation", NULL}, &d->act, error) ||
      !config_bool(c, (struct config_key){"tie_word_embeddings", NULL}, &d->tied, error) ||
      !config_bool(c, (struct config_key){"alibi", NULL}, &slopes, error) ||
      !config_bool(c, (struct config_key){"bias", NULL}, &bias, error))
    return false;
  d->qkv_bias = d->out_bias = d->mlp_bias = bias;
  if (slopes) d->rope_style = ROPE_NONE;
  if (slopes) d->alibi = 8;
  return true;
}

static bool falcon_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  bool grouped = false;
  struct decoder d = {.prefix = "transformer.",
                      .act = ACT_GELU,
                      .rope_style = ROPE_HALF,
                      .qkv_layout = QKV_GROUPED,
                      .ff_layout = FF_PLAIN,
                      .layer_norm = true,
                      .norm_bias = true,
                      .tied = true};
  if (!sizes_read(&d, checkpoint, &grouped, error) || !block_read(&d, checkpoint, grouped, error)) return false;
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF)
    d.tied = !decoder_has(checkpoint, "output.weight");
  else if (!hf_read(&d, checkpoint, error))
    return false;
  if (!decoder_read(&d, checkpoint, error) ||
      !rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, 10000, NULL,
                 d.max_position, error))
    return false;
  d.alibi_scale = d.attend_scale; /* scores are scaled after the slopes have been added */
  return decoder_build(&d, checkpoint, builder, error);
}

const struct family falcon_family = {.title = "Falcon", .architectures = architectures, .build = falcon_build};
