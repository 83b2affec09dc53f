/* DistilBERT: BERT without types of tokens, under names of its own; its classifier's first linear ends with a ReLU.
 * GGUF has it as "bert". */
#include "model/decoder.h"
#include "model/encoder_labels.h"
#include "model/family.h"
#include "model/vision_tower.h"

static const struct decoder_names names = {.layers = "transformer.layer",
                                           .hf = {[ROLE_EMBED] = "embeddings.word_embeddings",
                                                  [ROLE_POSITIONS] = "embeddings.position_embeddings",
                                                  [ROLE_EMBED_NORM] = "embeddings.LayerNorm",
                                                  [ROLE_Q] = "attention.q_lin",
                                                  [ROLE_K] = "attention.k_lin",
                                                  [ROLE_V] = "attention.v_lin",
                                                  [ROLE_OUT] = "attention.out_lin",
                                                  [ROLE_SANDWICH_ATTEND_POST] = "sa_layer_norm",
                                                  [ROLE_UP] = "ffn.lin1",
                                                  [ROLE_DOWN] = "ffn.lin2",
                                                  [ROLE_SANDWICH_MLP_POST] = "output_layer_norm"}};

static const struct decoder usual = {.n_layer = 6,
                                     .n_head = 12,
                                     .hidden = 768,
                                     .feed_forward = 3072,
                                     .vocab = 30522,
                                     .max_position = 512,
                                     .names = &names,
                                     .eps = 1e-12,
                                     .act = ACT_GELU,
                                     .block = BLOCK_SUM,
                                     .ff_layout = FF_PLAIN,
                                     .layer_norm = true,
                                     .norm_bias = true,
                                     .qkv_bias = true,
                                     .out_bias = true,
                                     .mlp_bias = true,
                                     .positions = true,
                                     .embed_norm = true,
                                     .both_ways = true};

static bool labels_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  int n_label;
  if (!encoder_label_count(c, &n_label, error)) return false;
  d->tail = (struct text_tail){.pool = POOL_FIRST};
  text_tail_add(&d->tail, "pre_classifier", d->hidden, d->hidden)->act = ACT_RELU;
  text_tail_add(&d->tail, "classifier", d->hidden, n_label);
  return true;
}

static bool distilbert_build(const struct checkpoint *c, struct plan_builder *builder, struct error *error) {
  static const char *const prefixes[] = {"", "distilbert.", NULL};
  struct decoder d = usual;
  const struct decoder_size sizes[] = {{"n_layers", LIMIT_MODEL_LAYERS, &d.n_layer},
                                       {"dim", LIMIT_MODEL_WIDTH, &d.hidden},
                                       {"n_heads", HEADS_MAX, &d.n_head},
                                       {"hidden_dim", LIMIT_MODEL_WIDTH, &d.feed_forward},
                                       {0}};
  d.prefix = tensor_prefix_find(c, prefixes, "embeddings.word_embeddings.weight");
  return decoder_read_sizes(c, sizes, error) && decoder_read(&d, c, error) &&
         decoder_read_act(c, (struct config_key){"activation", NULL}, &d.act, error) &&
         text_tail_read(&d.tail, c, POOL_MEAN, d.hidden, error) && (!text_classifies(c) || labels_read(&d, c, error)) &&
         decoder_build(&d, c, builder, error);
}

/* The head that guesses words. */
static bool distilbert_unused(const struct checkpoint *c, const char *tensor) {
  (void)c;
  return strncmp(tensor, "vocab_", 6) == 0 || decoder_name_ends(tensor, "embeddings.position_ids");
}

static const struct architecture architectures[] = {{"DistilBertModel", "bert"},
                                                    {"DistilBertForMaskedLM", "bert"},
                                                    {"DistilBertForSequenceClassification", "bert"},
                                                    {"distilbert", "bert"},
                                                    {NULL, NULL}};

const struct family distilbert_family = {.title = "DistilBERT",
                                         .architectures = architectures,
                                         .encodes = family_always_encodes,
                                         .build = distilbert_build,
                                         .unused = distilbert_unused};
