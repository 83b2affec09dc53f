/* MPNet (all-mpnet-base-v2): BERT without types of tokens, whose scores gain by the distance of two tokens, the same in
 * all layers. Its positions begin behind that of the padding, as RoBERTa's. */
#include "format/tensor.h"
#include "model/distances.h"
#include "model/encoder_labels.h"
#include "model/family.h"
#include "model/vision_tower.h"

#include <stdio.h>
#include <stdlib.h>

enum { SKIP = 2 };

static const struct decoder_names names = {.layers = "encoder.layer",
                                           .hf = {[ROLE_EMBED] = "embeddings.word_embeddings",
                                                  [ROLE_POSITIONS] = "embeddings.position_embeddings",
                                                  [ROLE_EMBED_NORM] = "embeddings.LayerNorm",
                                                  [ROLE_Q] = "attention.attn.q",
                                                  [ROLE_K] = "attention.attn.k",
                                                  [ROLE_V] = "attention.attn.v",
                                                  [ROLE_OUT] = "attention.attn.o",
                                                  [ROLE_SANDWICH_ATTEND_POST] = "attention.LayerNorm",
                                                  [ROLE_UP] = "intermediate.dense",
                                                  [ROLE_DOWN] = "output.dense",
                                                  [ROLE_SANDWICH_MLP_POST] = "output.LayerNorm"}};

static const struct decoder usual = {.n_layer = 12,
                                     .n_head = 12,
                                     .hidden = 768,
                                     .feed_forward = 3072,
                                     .vocab = 30527,
                                     .max_position = 512,
                                     .skip = SKIP,
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

static bool config_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  if (!config_float(c, (struct config_key){"layer_norm_eps", NULL}, CONFIG_OPTIONAL, 0, 1, &d->eps, error) ||
      !decoder_read(d, c, error) || !decoder_read_act(c, (struct config_key){"hidden_act", NULL}, &d->act, error))
    return false;
  d->max_position -= SKIP;
  return d->max_position >= 2 ||
         error_set(error, ERROR_INVALID, "config.json: max_position_embeddings is %d, expected %d or more.",
                   d->max_position + SKIP, SKIP + 2);
}

static bool tail_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  int n_label;
  if (!text_tail_read(&d->tail, c, POOL_MEAN, d->hidden, error)) return false;
  if (!text_classifies(c)) return true;
  if (!encoder_label_count(c, &n_label, error)) return false;
  d->tail = (struct text_tail){.pool = POOL_FIRST};
  text_tail_add(&d->tail, "classifier.dense", d->hidden, d->hidden)->act = ACT_TANH;
  text_tail_add(&d->tail, "classifier.out_proj", d->hidden, n_label);
  return true;
}

static bool mpnet_build(const struct checkpoint *c, struct plan_builder *builder, struct error *error) {
  static const char *const prefixes[] = {"", "mpnet.", NULL};
  struct decoder d = usual;
  char table[TENSOR_NAME_BYTES];
  d.prefix = tensor_prefix_find(c, prefixes, "embeddings.word_embeddings.weight");
  if (!config_read(&d, c, error) || !tail_read(&d, c, error)) return false;
  snprintf(table, sizeof table, "%sencoder.relative_attention_bias.weight", d.prefix);
  float *distances = distances_buckets(&d, checkpoint_find(c, table), error);
  d.distances = distances;
  bool ok = distances && decoder_build(&d, c, builder, error);
  free(distances);
  return ok;
}

/* The table of distances is in the plan. What pre-training left. */
static bool mpnet_unused(const struct checkpoint *c, const char *tensor) {
  (void)c;
  return decoder_name_ends(tensor, "encoder.relative_attention_bias.weight") || strncmp(tensor, "lm_head.", 8) == 0 ||
         strstr(tensor, "pooler.dense.") != NULL || decoder_name_ends(tensor, "embeddings.position_ids");
}

static const struct architecture architectures[] = {{"MPNetModel", NULL},
                                                    {"MPNetForMaskedLM", NULL},
                                                    {"MPNetForSequenceClassification", NULL},
                                                    {"mpnet", NULL},
                                                    {NULL, NULL}};

const struct family mpnet_family = {.title = "MPNet",
                                    .architectures = architectures,
                                    .encodes = family_always_encodes,
                                    .build = mpnet_build,
                                    .unused = mpnet_unused};
