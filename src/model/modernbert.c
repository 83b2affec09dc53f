/* ModernBERT: norms before each half but the first layer's attention, rotations in place of a table of positions, a
 * gated feed-forward whose halves are one tensor, and layers that see a window to both sides between layers that see
 * everything, each kind with its own rotation. */
#include "model/decoder.h"
#include "model/encoder_labels.h"
#include "model/family.h"
#include "model/vision_tower.h"

static const struct decoder_names names = {.hf = {[ROLE_EMBED] = "embeddings.tok_embeddings",
                                                  [ROLE_EMBED_NORM] = "embeddings.norm",
                                                  [ROLE_ATTEND_NORM] = "attn_norm",
                                                  [ROLE_QKV] = "attn.Wqkv",
                                                  [ROLE_OUT] = "attn.Wo",
                                                  [ROLE_MLP_NORM] = "mlp_norm",
                                                  [ROLE_GATE_UP] = "mlp.Wi",
                                                  [ROLE_DOWN] = "mlp.Wo",
                                                  [ROLE_FINAL_NORM] = "final_norm"}};

static const struct decoder usual = {.hidden = 768,
                                     .feed_forward = 1152,
                                     .n_layer = 22,
                                     .n_head = 12,
                                     .vocab = 50368,
                                     .max_position = 8192,
                                     .eps = 1e-5,
                                     .act = ACT_GELU,
                                     .qkv_layout = QKV_JOINED,
                                     .ff_layout = FF_GATED_JOINED,
                                     .rope_style = ROPE_HALF,
                                     .layer_norm = true,
                                     .embed_norm = true,
                                     .first_bare = true,
                                     .both_ways = true,
                                     .names = &names};

/* The window is of both sides together. */
static bool layers_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool listed;
  int local = 128, every = 3;
  const struct config_key window = {"local_attention", "attention.sliding_window"},
                          pattern = {"global_attn_every_n_layers", "attention.sliding_window_pattern"};
  if (!config_int(c, window, CONFIG_OPTIONAL, 2, LIMIT_MODEL_POSITIONS, &local, error) ||
      !config_int(c, pattern, CONFIG_OPTIONAL, 1, LIMIT_MODEL_LAYERS, &every, error) ||
      !decoder_read_layer_types(d, c, &listed, error))
    return false;
  d->window = local / 2;
  for (int i = 0; !listed && i < d->n_layer; i++) d->layer_kind[i] = i % every == 0 ? LAYER_GLOBAL : LAYER_LOCAL;
  return rope_read(&d->rope[LAYER_GLOBAL], c, (struct config_key){"global_rope_theta", "rope.freq_base"}, 160000,
                   "full_attention", d->max_position, error) &&
         rope_read(&d->rope[LAYER_LOCAL], c, (struct config_key){"local_rope_theta", "rope.freq_base_swa"}, 10000,
                   "sliding_attention", d->max_position, error);
}

static bool variants_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool bias = false;
  if (checkpoint_kind(c) == CHECKPOINT_GGUF) {
    bias = decoder_has(c, "blk.0.attn_qkv.bias");
    d->norm_bias = decoder_has(c, "output_norm.bias");
    d->mlp_bias = decoder_has(c, "blk.0.ffn_up.bias");
  }
  if (!config_float(c, (struct config_key){"norm_eps", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL, 0, 1, &d->eps,
                    error) ||
      !config_bool(c, (struct config_key){"norm_bias", NULL}, &d->norm_bias, error) ||
      !config_bool(c, (struct config_key){"attention_bias", NULL}, &bias, error) ||
      !config_bool(c, (struct config_key){"mlp_bias", NULL}, &d->mlp_bias, error) ||
      !decoder_read_act(c, (struct config_key){"hidden_activation", "hidden_activation"}, &d->act, error))
    return false;
  d->qkv_bias = d->out_bias = bias;
  return true;
}

/* GGUF files number the ways of pooling; without a number it is the mean. */
static bool label_pool_read(enum select_pool *pool, const struct checkpoint *c, struct error *error) {
  struct slice name = slice_text("cls");
  int type = 1;
  if (checkpoint_kind(c) == CHECKPOINT_GGUF) {
    bool ok = config_int(c, (struct config_key){NULL, "classifier.pooling_type"}, CONFIG_OPTIONAL, 1, 2, &type, error);
    *pool = type == 1 ? POOL_MEAN : POOL_FIRST;
    return ok;
  }
  if (!config_text(c, (struct config_key){"classifier_pooling", NULL}, &name, error)) return false;
  *pool = slice_is(name, "cls") ? POOL_FIRST : POOL_MEAN;
  if (*pool == POOL_FIRST || slice_is(name, "mean")) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: classifier_pooling is \"%.*s\", expected \"cls\" or \"mean\".", SLICE_ARGS(name));
}

/* dense, its activation, a norm, and the scores. */
static bool labels_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool gguf = checkpoint_kind(c) == CHECKPOINT_GGUF, bias = gguf && decoder_has(c, "cls.bias");
  enum select_pool pool;
  enum act_kind act = ACT_GELU;
  int n_label;
  if (!encoder_label_count(c, &n_label, error) || !label_pool_read(&pool, c, error) ||
      !config_bool(c, (struct config_key){"classifier_bias", NULL}, &bias, error) ||
      !decoder_read_act(c, (struct config_key){"classifier_activation", NULL}, &act, error))
    return false;
  d->tail = (struct text_tail){.pool = pool};
  struct text_linear *dense = text_tail_add(&d->tail, gguf ? "cls" : "head.dense", d->hidden, d->hidden);
  dense->act = act;
  dense->bias = bias;
  text_tail_add(&d->tail, gguf ? "cls.output" : "classifier", d->hidden, n_label)->norm =
      gguf ? "cls.norm" : "head.norm";
  return true;
}

static bool modernbert_build(const struct checkpoint *c, struct plan_builder *builder, struct error *error) {
  static const char *const prefixes[] = {"", "model.", NULL};
  struct decoder d = usual;
  if (checkpoint_kind(c) == CHECKPOINT_GGUF) /* whose sizes are all stated */
    d.hidden = d.feed_forward = d.n_layer = d.n_head = d.vocab = d.max_position = 0;
  d.prefix = tensor_prefix_find(c, prefixes, "embeddings.tok_embeddings.weight");
  if (!decoder_read(&d, c, error) || !variants_read(&d, c, error) || !layers_read(&d, c, error) ||
      !text_tail_read(&d.tail, c, POOL_MEAN, d.hidden, error))
    return false;
  if (text_classifies(c) && !labels_read(&d, c, error)) return false;
  return decoder_build(&d, c, builder, error);
}

/* The head that guesses words. */
static bool modernbert_unused(const struct checkpoint *c, const char *tensor) {
  return !text_classifies(c) && (strncmp(tensor, "head.", 5) == 0 || strncmp(tensor, "decoder.", 8) == 0);
}

static const struct architecture architectures[] = {{"ModernBertModel", "modern-bert"},
                                                    {"ModernBertForMaskedLM", "modern-bert"},
                                                    {"ModernBertForSequenceClassification", "modern-bert"},
                                                    {"modern-bert", "modern-bert"},
                                                    {NULL, NULL}};

const struct family modernbert_family = {.title = "ModernBERT",
                                         .architectures = architectures,
                                         .encodes = family_always_encodes,
                                         .build = modernbert_build,
                                         .unused = modernbert_unused};
