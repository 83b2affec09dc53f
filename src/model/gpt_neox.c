/* GPT-NeoX and Pythia: attention and feed-forward in parallel behind norms of their own, or one after the other; q, k
 * and v of a head side by side in one tensor; a rotation of a part of each head. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"GPTNeoXForCausalLM", "gptneox"}, {"gptneox", "gptneox"}, {0}};

static const struct decoder_names names = {.hf = {[ROLE_EMBED] = "embed_in",
                                                  [ROLE_HEAD] = "embed_out",
                                                  [ROLE_FINAL_NORM] = "final_layer_norm",
                                                  [ROLE_QKV] = "attention.query_key_value",
                                                  [ROLE_OUT] = "attention.dense",
                                                  [ROLE_UP] = "mlp.dense_h_to_4h",
                                                  [ROLE_DOWN] = "mlp.dense_4h_to_h"}};

static bool variants_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  double eps = 1e-5;
  bool parallel = true, bias = true;
  if (!config_float(c, (struct config_key){"layer_norm_eps", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL, 1e-12, 1,
                    &eps, error) ||
      !config_bool(c, (struct config_key){"use_parallel_residual", "use_parallel_residual"}, &parallel, error) ||
      !config_bool(c, (struct config_key){"attention_bias", NULL}, &bias, error) ||
      !config_bool(c, (struct config_key){"tie_word_embeddings", NULL}, &d->tied, error) ||
      !decoder_read_act(c, (struct config_key){"hidden_act", NULL}, &d->act, error))
    return false;
  d->eps = eps;
  d->block = parallel ? BLOCK_PARALLEL : BLOCK_PRE;
  d->qkv_bias = d->out_bias = bias;
  return true;
}

static bool gpt_neox_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  struct decoder d = {.prefix = "gpt_neox.",
                      .names = &names,
                      .act = ACT_GELU,
                      .rope_style = ROPE_HALF,
                      .rope_part = 0.25f,
                      .qkv_layout = QKV_GROUPED,
                      .ff_layout = FF_PLAIN,
                      .mlp_bias = true,
                      .layer_norm = true,
                      .norm_bias = true};
  return variants_read(&d, checkpoint, error) && decoder_read(&d, checkpoint, error) &&
         rope_read(&d.rope[LAYER_GLOBAL], checkpoint, decoder_rope_key(checkpoint, "rotary_emb_base"), 10000, NULL,
                   d.max_position, error) &&
         decoder_build(&d, checkpoint, builder, error);
}

/* Masks that early files store. */
static bool mask_unused(const struct checkpoint *checkpoint, const char *tensor) {
  (void)checkpoint;
  return decoder_name_ends(tensor, ".attention.bias") || decoder_name_ends(tensor, ".attention.masked_bias");
}

const struct family gpt_neox_family = {
    .title = "GPT-NeoX, Pythia", .architectures = architectures, .build = gpt_neox_build, .unused = mask_unused};
