/* BERT, ELECTRA and RoBERTa, with XLM-R and CamemBERT: attention to everything and a plain feed-forward, each normed
 * together with what it is added to; tables of types and of positions, which in RoBERTa begin behind that of its
 * padding. GGUF files have both under the name "bert", and their positions from the first one on. */
#include "model/decoder.h"
#include "model/encoder_labels.h"
#include "model/family.h"
#include "model/vision_tower.h"

enum { TYPES_MAX = 1 << 8 };

static const struct decoder_names names = {
    .layers = "encoder.layer",
    .hf = {[ROLE_EMBED] = "embeddings.word_embeddings",
           [ROLE_TYPES] = "embeddings.token_type_embeddings",
           [ROLE_POSITIONS] = "embeddings.position_embeddings",
           [ROLE_EMBED_NORM] = "embeddings.LayerNorm",
           [ROLE_Q] = "attention.self.query",
           [ROLE_K] = "attention.self.key",
           [ROLE_V] = "attention.self.value",
           [ROLE_OUT] = "attention.output.dense",
           [ROLE_SANDWICH_ATTEND_POST] = "attention.output.LayerNorm",
           [ROLE_UP] = "intermediate.dense",
           [ROLE_DOWN] = "output.dense",
           [ROLE_SANDWICH_MLP_POST] = "output.LayerNorm"},
    .gguf = {[ROLE_SANDWICH_ATTEND_POST] = "attn_output_norm", [ROLE_SANDWICH_MLP_POST] = "layer_output_norm"}};

/* RoBERTa's, XLM-R's or CamemBERT's. */
static bool is_roberta(const struct checkpoint *c) {
  const char *name = checkpoint_architecture(c);
  return strstr(name, "Rob") != NULL || strncmp(name, "XLMR", 4) == 0 || strncmp(name, "Camembert", 9) == 0;
}

static bool is_electra(const struct checkpoint *c) { return strncmp(checkpoint_architecture(c), "Electra", 7) == 0; }

/* --- the config --------------------------------------------------------------------------------------------------- */

/* Distances between tokens, and attention to another text, are other networks. */
static bool kind_check(const struct checkpoint *c, struct error *error) {
  struct slice kind = {0};
  bool decodes = false, crosses = false;
  if (!config_text(c, (struct config_key){"position_embedding_type", NULL}, &kind, error) ||
      !config_bool(c, (struct config_key){"is_decoder", NULL}, &decodes, error) ||
      !config_bool(c, (struct config_key){"add_cross_attention", NULL}, &crosses, error))
    return false;
  if (kind.data && !slice_is(kind, "absolute"))
    return error_set(error, ERROR_UNSUPPORTED,
                     "config.json: position_embedding_type is \"%.*s\", expected \"absolute\".", SLICE_ARGS(kind));
  if (!decodes && !crosses) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: %s is true; Spate runs this architecture as an encoder alone.",
                   decodes ? "is_decoder" : "add_cross_attention");
}

/* The place of the first token: one behind the padding's. */
static bool skip_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  int padding = -1;
  if (is_roberta(c)) padding = 1;
  if (padding > 0 &&
      !config_int(c, (struct config_key){"pad_token_id", NULL}, CONFIG_OPTIONAL, 0, UINT8_MAX - 1, &padding, error))
    return false;
  d->skip = padding + 1;
  d->max_position -= d->skip;
  if (d->max_position >= 2) return true;
  char name[160];
  return error_set(error, ERROR_INVALID, "%s is %d, expected %d or more.",
                   config_key_name(c, (struct config_key){"max_position_embeddings", "context_length"}, name),
                   d->max_position + d->skip, d->skip + 2);
}

/* GGUF files count the types in what they say of the tokenizer, if they have a table of them. */
static bool types_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct tensor *table = checkpoint_find(c, "token_types.weight");
  if (checkpoint_kind(c) == CHECKPOINT_HF)
    return config_int(c, (struct config_key){"type_vocab_size", NULL}, CONFIG_OPTIONAL, 0, TYPES_MAX, &d->types, error);
  d->types = table && table->n_dim == 2 && table->dim[0] <= TYPES_MAX ? (int)table->dim[0] : 0;
  return true;
}

/* Small ELECTRAs have narrower embeddings, and a matrix behind them. */
static bool width_check(const struct decoder *d, const struct checkpoint *c, struct error *error) {
  int width = d->hidden;
  if (!is_electra(c)) return true;
  if (!config_int(c, (struct config_key){"embedding_size", NULL}, CONFIG_OPTIONAL, 1, LIMIT_MODEL_WIDTH, &width, error))
    return false;
  return width == d->hidden ||
         error_set(error, ERROR_UNSUPPORTED, "config.json: embedding_size is %d, expected hidden_size, which is %d.",
                   width, d->hidden);
}

static bool config_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  return config_float(c, (struct config_key){"layer_norm_eps", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL, 0, 1,
                      &d->eps, error) &&
         decoder_read(d, c, error) && types_read(d, c, error) &&
         decoder_read_act(c, (struct config_key){"hidden_act", NULL}, &d->act, error) && kind_check(c, error) &&
         width_check(d, c, error) && skip_read(d, c, error);
}

/* --- the head ----------------------------------------------------------------------------------------------------- */

/* Two linears, or, as some GGUF files have it, the last alone. */
static bool labels_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  static const char *const heads[][2] = {
      {"bert.pooler.dense", "classifier"}, {"classifier.dense", "classifier.out_proj"}, {"cls", "cls.output"}};
  int n_label, kind = checkpoint_kind(c) == CHECKPOINT_GGUF ? 2 : is_roberta(c) || is_electra(c);
  bool dense = kind < 2 || decoder_has(c, "cls.weight");
  if (!encoder_label_count(c, &n_label, error)) return false;
  d->tail.pool = POOL_FIRST;
  d->tail.n_linear = 0;
  if (dense) text_tail_add(&d->tail, heads[kind][0], d->hidden, d->hidden)->act = is_electra(c) ? ACT_GELU : ACT_TANH;
  text_tail_add(&d->tail, heads[kind][1], d->hidden, n_label)->bias = kind < 2 || decoder_has(c, "cls.output.bias");
  return true;
}

static bool bert_build(const struct checkpoint *c, struct plan_builder *builder, struct error *error) {
  static const char *const prefixes[] = {"", "bert.", "roberta.", "electra.", NULL};
  static const struct decoder usual = {
      .feed_forward = 3072, .n_layer = 12, .n_head = 12, .hidden = 768, .max_position = 512, .types = 2};
  struct decoder d = checkpoint_kind(c) == CHECKPOINT_HF ? usual : (struct decoder){0};
  if (checkpoint_kind(c) == CHECKPOINT_HF) d.vocab = is_roberta(c) ? 50265 : 30522;
  d.names = &names;
  d.prefix = tensor_prefix_find(c, prefixes, "embeddings.word_embeddings.weight");
  d.eps = 1e-12;
  d.act = ACT_GELU;
  d.block = BLOCK_SUM;
  d.ff_layout = FF_PLAIN;
  d.layer_norm = d.norm_bias = d.qkv_bias = d.out_bias = d.mlp_bias = true;
  d.positions = d.embed_norm = d.both_ways = true;
  if (!config_read(&d, c, error) || !text_tail_read(&d.tail, c, POOL_MEAN, d.hidden, error)) return false;
  if (text_classifies(c) && !labels_read(&d, c, error)) return false;
  return decoder_build(&d, c, builder, error);
}

/* What pre-training left: heads that guess words, the pooler where no labels are wanted; counted places. */
static bool bert_unused(const struct checkpoint *c, const char *tensor) {
  return strncmp(tensor, "cls.predictions.", 16) == 0 || strncmp(tensor, "cls.seq_relationship.", 21) == 0 ||
         strncmp(tensor, "lm_head.", 8) == 0 || strncmp(tensor, "generator_", 10) == 0 ||
         strncmp(tensor, "discriminator_predictions.", 26) == 0 ||
         decoder_name_ends(tensor, "embeddings.position_ids") ||
         (strstr(tensor, "pooler.dense.") && (!text_classifies(c) || is_roberta(c)));
}

static const struct architecture architectures[] = {{"BertModel", "bert"},
                                                    {"BertForMaskedLM", "bert"},
                                                    {"BertForPreTraining", "bert"},
                                                    {"BertForSequenceClassification", "bert"},
                                                    {"RobertaModel", "bert"},
                                                    {"RobertaForMaskedLM", "bert"},
                                                    {"RobertaForSequenceClassification", "bert"},
                                                    {"XLMRobertaModel", "bert"},
                                                    {"XLMRobertaForMaskedLM", "bert"},
                                                    {"XLMRobertaForSequenceClassification", "bert"},
                                                    {"CamembertModel", "bert"},
                                                    {"CamembertForMaskedLM", "bert"},
                                                    {"CamembertForSequenceClassification", "bert"},
                                                    {"ElectraModel", "bert"},
                                                    {"ElectraForMaskedLM", "bert"},
                                                    {"ElectraForPreTraining", "bert"},
                                                    {"ElectraForSequenceClassification", "bert"},
                                                    {"bert", "bert"},
                                                    {NULL, NULL}};

const struct family bert_family = {.title = "BERT, ELECTRA, RoBERTa, XLM-R, CamemBERT",
                                   .tried = "all-MiniLM-L6-v2",
                                   .architectures = architectures,
                                   .encodes = family_always_encodes,
                                   .build = bert_build,
                                   .unused = bert_unused};
