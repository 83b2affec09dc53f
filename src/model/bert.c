/* BERT and RoBERTa, with XLM-R: RoBERTa's positions begin behind that of its padding, and its head is its own. */
#include "model/family.h"

#include "model/encoder_labels.h"
#include "model/text_encoder.h"
#include "model/vision_tower.h"

static bool ends_with(const char *text, const char *end) {
  size_t size = strlen(text), tail = strlen(end);
  return size >= tail && strcmp(text + size - tail, end) == 0;
}

static bool classifies(const struct checkpoint *c) {
  return ends_with(checkpoint_architecture(c), "ForSequenceClassification");
}

/* RoBERTa's, or XLM-R's. */
static bool is_roberta(const struct checkpoint *c) {
  return strstr(checkpoint_architecture(c), "Rob") != NULL || strncmp(checkpoint_architecture(c), "XLMR", 4) == 0;
}

static const struct encoder_head bert_head[] = {{"bert.pooler.dense", ACT_TANH}, {"classifier", ACT_NONE}},
                                 roberta_head[] = {{"classifier.dense", ACT_TANH}, {"classifier.out_proj", ACT_NONE}};

/* The place of the first token: one behind the padding's. */
static bool skip_read(struct text_encoder *e, const struct checkpoint *c, struct error *error) {
  int padding = 1;
  if (!config_int(c, (struct config_key){"pad_token_id", NULL}, CONFIG_OPTIONAL, 0, UINT8_MAX - 1, &padding, error))
    return false;
  e->skip = padding + 1;
  return true;
}

static bool labels_read(struct text_encoder *e, const struct checkpoint *c, struct error *error) {
  e->head = is_roberta(c) ? roberta_head : bert_head;
  e->n_head_linear = 2;
  e->pool = POOL_FIRST;
  return encoder_label_count(c, &e->n_label, error);
}

static bool bert_build(const struct checkpoint *c, struct plan_builder *builder, struct error *error) {
  static const char *const prefixes[] = {"", "bert.", "roberta.", NULL};
  struct sentence_config sentence;
  struct text_encoder e = {.hidden = 768,
                           .feed_forward = 3072,
                           .n_layer = 12,
                           .n_head = 12,
                           .vocab = is_roberta(c) ? 50265 : 30522,
                           .max_position = 512,
                           .types = 2,
                           .eps = 1e-12,
                           .act = ACT_GELU};
  e.prefix = tensor_prefix_find(c, prefixes, "embeddings.word_embeddings.weight");
  if (!sentence_config_read(&sentence, c, error)) return false;
  e.pool = sentence.pool;
  if ((is_roberta(c) && !skip_read(&e, c, error)) || !text_encoder_read(&e, c, error) ||
      (classifies(c) && !labels_read(&e, c, error)))
    return false;
  text_encoder_build(&e, builder);
  return true;
}

/* What pre-training left: heads that guess words, the pooler where no labels are wanted; counted places. */
static bool bert_unused(const struct checkpoint *c, const char *tensor) {
  return strncmp(tensor, "cls.", 4) == 0 || strncmp(tensor, "lm_head.", 8) == 0 ||
         ends_with(tensor, "embeddings.position_ids") ||
         (strstr(tensor, "pooler.dense.") && (!classifies(c) || is_roberta(c)));
}

static const struct architecture architectures[] = {{"BertModel", NULL},
                                                    {"BertForMaskedLM", NULL},
                                                    {"BertForPreTraining", NULL},
                                                    {"BertForSequenceClassification", NULL},
                                                    {"RobertaModel", NULL},
                                                    {"RobertaForMaskedLM", NULL},
                                                    {"RobertaForSequenceClassification", NULL},
                                                    {"XLMRobertaModel", NULL},
                                                    {"XLMRobertaForMaskedLM", NULL},
                                                    {"XLMRobertaForSequenceClassification", NULL},
                                                    {NULL, NULL}};

const struct family bert_family = {.title = "BERT, RoBERTa, XLM-R",
                                   .architectures = architectures,
                                   .role = PLAN_ENCODER,
                                   .build = bert_build,
                                   .unused = bert_unused};
