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
  if (!config_int(c, (struct config_key){"local_attention", NULL}, CONFIG_OPTIONAL, 2, LIMIT_MODEL_POSITIONS, &local,
                  error) ||
      !config_int(c, (struct config_key){"global_attn_every_n_layers", NULL}, CONFIG_OPTIONAL, 1, LIMIT_MODEL_LAYERS,
                  &every, error) ||
      !decoder_read_layer_types(d, c, &listed, error))
    return false;
  d->window = local / 2;
  for (int i = 0; !listed && i < d->n_layer; i++) d->layer_kind[i] = i % every == 0 ? LAYER_GLOBAL : LAYER_LOCAL;
  return rope_read(&d->rope[LAYER_GLOBAL], c, (struct config_key){"global_rope_theta", NULL}, 160000, "full_attention",
                   d->max_position, error) &&
         rope_read(&d->rope[LAYER_LOCAL], c, (struct config_key){"local_rope_theta", NULL}, 10000, "sliding_attention",
                   d->max_position, error);
}

static bool variants_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool bias = false;
  if (!config_float(c, (struct config_key){"norm_eps", NULL}, CONFIG_OPTIONAL, 0, 1, &d->eps, error) ||
      !config_bool(c, (struct config_key){"norm_bias", NULL}, &d->norm_bias, error) ||
      !config_bool(c, (struct config_key){"attention_bias", NULL}, &bias, error) ||
      !config_bool(c, (struct config_key){"mlp_bias", NULL}, &d->mlp_bias, error) ||
      !decoder_read_act(c, (struct config_key){"hidden_activation", NULL}, &d->act, error))
    return false;
  d->qkv_bias = d->out_bias = bias;
  return true;
}

/* dense, its activation, a norm, and the scores. */
static bool labels_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key act = {"classifier_activation", NULL}, pooling = {"classifier_pooling", NULL};
  struct slice pool = slice_text("cls");
  int n_label;
  bool bias = false;
  enum act_kind kind = ACT_GELU;
  if (!encoder_label_count(c, &n_label, error) || !config_text(c, pooling, &pool, error) ||
      !config_bool(c, (struct config_key){"classifier_bias", NULL}, &bias, error) ||
      !decoder_read_act(c, act, &kind, error))
    return false;
  if (!slice_is(pool, "cls") && !slice_is(pool, "mean"))
    return error_set(error, ERROR_UNSUPPORTED,
                     "config.json: classifier_pooling is \"%.*s\", expected \"cls\" or \"mean\".", SLICE_ARGS(pool));
  d->tail = (struct text_tail){.pool = slice_is(pool, "cls") ? POOL_FIRST : POOL_MEAN};
  struct text_linear *dense = text_tail_add(&d->tail, "head.dense", d->hidden, d->hidden);
  dense->act = kind;
  dense->bias = bias;
  text_tail_add(&d->tail, "classifier", d->hidden, n_label)->norm = "head.norm";
  return true;
}

static bool modernbert_build(const struct checkpoint *c, struct plan_builder *builder, struct error *error) {
  static const char *const prefixes[] = {"", "model.", NULL};
  struct decoder d = usual;
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
                                                    {NULL, NULL}};

const struct family modernbert_family = {.title = "ModernBERT",
                                         .architectures = architectures,
                                         .encodes = family_always_encodes,
                                         .build = modernbert_build,
                                         .unused = modernbert_unused};
