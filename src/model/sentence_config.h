/* What the files of sentence-transformers beside a checkpoint say of how a text becomes a vector: modules.json names
 * the stages, each with a folder of its own, sentence_bert_config.json the longest text. */
#ifndef SPATE_MODEL_SENTENCE_CONFIG_H
#define SPATE_MODEL_SENTENCE_CONFIG_H

#include "model/checkpoint.h"
#include "plan/op.h"

struct sentence_config {
  bool found;            /* there is a modules.json; without one the fields are what is usual */
  enum select_pool pool; /* POOL_TOKEN: the last token; usual: the mean */
  bool normalize;        /* to a length of 1; usual */
  int max_length;        /* tokens of a text; 0: the files do not say */
};

/* A stage that Spate does not do is refused by a sentence that names it. */
bool sentence_config_read(struct sentence_config *config, const struct checkpoint *checkpoint, struct error *error);

#endif
