/* What the files of sentence-transformers beside a checkpoint say of how a text becomes a vector: modules.json names
 * the stages, each with a folder of its own, sentence_bert_config.json the longest text, config_sentence_transformers
 * .json what stands before texts and how vectors are compared. A GGUF file says how its tokens are pooled. */
#ifndef SPATE_MODEL_SENTENCE_CONFIG_H
#define SPATE_MODEL_SENTENCE_CONFIG_H

#include "model/checkpoint.h"
#include "plan/op.h"

#include <limits.h>

enum { DENSE_STAGES = 4 };

/* A linear behind the pooling, with its tensors FOLDER/linear.weight and .bias. */
struct dense_stage {
  char folder[NAME_MAX + 1];
  int cols, rows;
  enum act_kind act;
  bool bias;
};

enum vector_likeness { LIKENESS_COSINE, LIKENESS_DOT, LIKENESS_EUCLIDEAN, LIKENESS_MANHATTAN, LIKENESSES };

struct sentence_config {
  bool found;            /* the files say how to pool; otherwise the fields are what is usual */
  enum select_pool pool; /* POOL_TOKEN: the last token; usual: the mean */
  bool normalize;        /* to a length of 1; usual */
  bool without_prompt;   /* what is pooled is the text alone, not a prompt before it */
  int n_dense;
  struct dense_stage dense[DENSE_STAGES];
  int max_length; /* tokens of a text; 0: the files do not say */
  /* Of a decoder that answers yes or no (LogitScore): the tokens whose logits are the score, the first's less the
   * second's. −1: it is none of that kind; `no` alone −1: the first's logit is the score. Of a GGUF file rows of its
   * head of labels. */
  int yes, no;
  bool generation_prompt; /* its chat template is asked for the beginning of an answer */
};

/* A stage that Spate does not do is refused by a sentence that names it. */
bool sentence_config_read(struct sentence_config *config, const struct checkpoint *checkpoint, struct error *error);

/* Texts that requests may have put before theirs, by name. */
struct sentence_prompts {
  int n, usual;                  /* usual: the one that a text has where the request names none; −1: none */
  enum vector_likeness likeness; /* of two vectors */
};

/* Appends the name and the text of each prompt to `texts`, each with a zero byte. */
bool sentence_prompts_read(struct sentence_prompts *prompts, struct buffer *texts, const struct checkpoint *checkpoint,
                           struct error *error);

#endif
