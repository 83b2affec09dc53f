/* NomicBERT: BERT's norms of sums and types of tokens, with rotations in place of a table of positions. The first had
 * gated feed-forwards and few biases; the second has plain ones and, in every other layer, experts without gates,
 * behind which a vector is added that GGUF files leave out. Its config.json has GPT-2's names, or BERT's where
 * transformers 5 wrote it. */
#include "model/decoder.h"
#include "model/family.h"

static const struct decoder_names names = {
    .layers = "encoder.layers",
    .hf = {[ROLE_EMBED] = "embeddings.word_embeddings",
           [ROLE_TYPES] = "embeddings.token_type_embeddings",
           [ROLE_EMBED_NORM] = "emb_ln",
           [ROLE_QKV] = "attn.Wqkv",
           [ROLE_OUT] = "attn.out_proj",
           [ROLE_SANDWICH_ATTEND_POST] = "norm1",
           [ROLE_GATE] = "mlp.fc12",
           [ROLE_UP] = "mlp.fc11",
           [ROLE_DOWN] = "mlp.fc2",
           [ROLE_SANDWICH_MLP_POST] = "norm2"},
    .gguf = {[ROLE_SANDWICH_ATTEND_POST] = "attn_output_norm", [ROLE_SANDWICH_MLP_POST] = "layer_output_norm"}};

/* Of feed-forwards without a gate. */
static const struct decoder_names plain_names = {
    .layers = "encoder.layers",
    .hf = {[ROLE_EMBED] = "embeddings.word_embeddings",
           [ROLE_TYPES] = "embeddings.token_type_embeddings",
           [ROLE_EMBED_NORM] = "emb_ln",
           [ROLE_QKV] = "attn.Wqkv",
           [ROLE_OUT] = "attn.out_proj",
           [ROLE_SANDWICH_ATTEND_POST] = "norm1",
           [ROLE_UP] = "mlp.fc1",
           [ROLE_DOWN] = "mlp.fc2",
           [ROLE_ROUTER] = "mlp.router.layer",
           [ROLE_EXPERT_UP] = "=mlp.experts.mlp.w1",
           [ROLE_EXPERT_DOWN] = "=mlp.experts.mlp.w2",
           [ROLE_EXPERT_BIAS] = "mlp.experts",
           [ROLE_SANDWICH_MLP_POST] = "norm2"},
    .gguf = {[ROLE_SANDWICH_ATTEND_POST] = "attn_output_norm", [ROLE_SANDWICH_MLP_POST] = "layer_output_norm"}};

/* The settings of other networks that the same code made. */
static bool kind_check(const struct checkpoint *c, struct error *error) {
  static const char *const off[] = {"prenorm", "rotary_emb_interleaved",       "parallel_block",      "use_rms_norm",
                                    "causal",  "moe_normalize_expert_weights", "expert_choice_router"};
  static const char *const silu[] = {"silu", NULL};
  for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
    bool on = false;
    if (!config_bool(c, (struct config_key){off[i], NULL}, &on, error)) return false;
    if (on) return error_set(error, ERROR_UNSUPPORTED, "config.json: %s is true, expected false.", off[i]);
  }
  return decoder_expect_act(c, (struct config_key){"hidden_act", NULL}, silu, error);
}

/* Gated by SiLU, or plain. */
static bool act_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  struct slice name = {0};
  bool plain = checkpoint_kind(c) == CHECKPOINT_GGUF && !decoder_has(c, "blk.0.ffn_gate.weight");
  if (!config_text(c, (struct config_key){"activation_function", NULL}, &name, error)) return false;
  if (name.data && !slice_is(name, "swiglu")) plain = true;
  if (!plain) return true;
  d->ff_layout = FF_PLAIN;
  d->names = &plain_names;
  d->act = ACT_GELU;
  return decoder_read_act(c, (struct config_key){"activation_function", NULL}, &d->act, error);
}

/* Which layers have experts, and what these are. */
static bool experts_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  struct route_args *route = &d->experts.route;
  const struct config_key every = {"moe_every_n_layers", "moe_every_n_layers"};
  int step = 0, shared = 0;
  if (!config_int(c, every, CONFIG_OPTIONAL, 0, LIMIT_MODEL_LAYERS, &step, error) ||
      !config_int(c, (struct config_key){"num_shared_experts", NULL}, CONFIG_OPTIONAL, 0, 0, &shared, error))
    return false;
  if (step < 2) return true; /* of each `step` layers the second one */
  if (d->ff_layout != FF_PLAIN)
    return error_set(error, ERROR_UNSUPPORTED,
                     "config.json: activation_function is \"swiglu\" and there are experts, which have no gates here; "
                     "expected \"gelu\".");
  if (!config_int(c, (struct config_key){"num_experts", "expert_count"}, CONFIG_NEEDED, 1, LIMIT_MODEL_EXPERTS,
                  &route->n_expert, error))
    return false;
  int most = route->n_expert < LIMIT_ROUTE_EXPERTS ? route->n_expert : LIMIT_ROUTE_EXPERTS;
  if (!config_int(c, (struct config_key){"moe_top_k", "expert_used_count"}, CONFIG_NEEDED, 1, most, &route->k, error))
    return false;
  route->scale = 1;
  d->experts.feed_forward = d->feed_forward;
  d->experts.layout = EXPERTS_PLAIN;
  d->experts.sum_bias = checkpoint_kind(c) == CHECKPOINT_HF;
  for (int i = 0; i < d->n_layer; i++) d->layer_dense[i] = i % step != 1;
  return decoder_experts_fit(d, error);
}

static bool biases_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool up = false, down = false;
  if (checkpoint_kind(c) == CHECKPOINT_GGUF) {
    d->qkv_bias = decoder_has(c, "blk.0.attn_qkv.bias");
    d->out_bias = decoder_has(c, "blk.0.attn_output.bias");
    d->mlp_bias = decoder_has(c, "blk.0.ffn_up.bias");
    return true;
  }
  if (!config_bool(c, (struct config_key){"qkv_proj_bias", NULL}, &d->qkv_bias, error) ||
      !config_bool(c, (struct config_key){"mlp_fc1_bias", NULL}, &up, error) ||
      !config_bool(c, (struct config_key){"mlp_fc2_bias", NULL}, &down, error))
    return false;
  d->out_bias = d->qkv_bias;
  d->mlp_bias = up;
  return up == down || error_set(error, ERROR_UNSUPPORTED,
                                 "config.json: mlp_fc1_bias and mlp_fc2_bias differ; expected both or neither.");
}

/* A rotation that stretches with each text longer than those of the training: up to there it is the plain one, which is
 * as far as texts go then. */
static bool stretch_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  double factor = 0;
  int trained = 2048;
  if (!config_float(c, (struct config_key){"rotary_scaling_factor", NULL}, CONFIG_OPTIONAL, 1, 1e4, &factor, error) ||
      !config_int(c, (struct config_key){"max_trained_positions", NULL}, CONFIG_OPTIONAL, 2, LIMIT_MODEL_POSITIONS,
                  &trained, error))
    return false;
  if (factor > 0 && d->max_position > trained) d->max_position = trained;
  return true;
}

static bool sizes_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  enum { TYPES_MAX = 1 << 8 };
  const struct decoder_size sizes[] = {{"n_layer", LIMIT_MODEL_LAYERS, &d->n_layer},
                                       {"n_embd", LIMIT_MODEL_WIDTH, &d->hidden},
                                       {"n_head", HEADS_MAX, &d->n_head},
                                       {"n_inner", LIMIT_MODEL_WIDTH, &d->feed_forward},
                                       {"n_positions", LIMIT_MODEL_POSITIONS, &d->max_position},
                                       {0}};
  const struct tensor *types = checkpoint_find(c, "token_types.weight");
  double part = 1;
  if (types && types->n_dim == 2 && types->dim[0] <= TYPES_MAX) d->types = (int)types->dim[0];
  if (!decoder_read_sizes(c, sizes, error) ||
      !config_float(c, (struct config_key){"layer_norm_epsilon", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL, 0, 1,
                    &d->eps, error) ||
      !config_int(c, (struct config_key){"type_vocab_size", NULL}, CONFIG_OPTIONAL, 0, TYPES_MAX, &d->types, error) ||
      !config_float(c, (struct config_key){"rotary_emb_fraction", NULL}, CONFIG_OPTIONAL, 1e-3, 1, &part, error))
    return false;
  d->rope_part = (float)part;
  return decoder_read(d, c, error) && stretch_read(d, c, error) &&
         rope_read(&d->rope[LAYER_GLOBAL], c, decoder_rope_key(c, "rotary_emb_base"), 1000, NULL, d->max_position,
                   error);
}

static bool nomic_build(const struct checkpoint *c, struct plan_builder *builder, struct error *error) {
  struct decoder d = {.prefix = "",
                      .names = &names,
                      .eps = 1e-12,
                      .act = ACT_SILU,
                      .block = BLOCK_SUM,
                      .qkv_layout = QKV_JOINED,
                      .rope_style = ROPE_HALF,
                      .layer_norm = true,
                      .norm_bias = true,
                      .embed_norm = true,
                      .both_ways = true};
  return kind_check(c, error) && act_read(&d, c, error) && sizes_read(&d, c, error) && biases_read(&d, c, error) &&
         experts_read(&d, c, error) && text_tail_read(&d.tail, c, POOL_MEAN, d.hidden, error) &&
         decoder_build(&d, c, builder, error);
}

static const struct architecture architectures[] = {
    {"NomicBertModel", "nomic-bert"}, {"nomic-bert", "nomic-bert"}, {"nomic-bert-moe", "nomic-bert-moe"}, {NULL, NULL}};

const struct family nomic_bert_family = {
    .title = "NomicBERT", .architectures = architectures, .encodes = family_always_encodes, .build = nomic_build};
