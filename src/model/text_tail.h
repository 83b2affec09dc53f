/* What a network ends with that makes a vector of a text, or scores of labels: how its tokens' rows become one, and the
 * linears behind. The checkpoint's files say, and whether there is such an end at all. */
#ifndef SPATE_MODEL_TEXT_TAIL_H
#define SPATE_MODEL_TEXT_TAIL_H

#include "model/decoder_names.h"
#include "model/sentence_config.h"
#include "plan/plan_builder.h"

enum { TEXT_LINEARS = DENSE_STAGES };

/* What text_tail_score calls its rows, as no other linear is called. */
#define TEXT_SCORE_YES "score.yes"
#define TEXT_SCORE_NO  "score.no"

/* out = act(norm(in) · NAME.weightᵀ + NAME.bias): names are whole. Of a row of a head `tensor` is what it is in. */
struct text_linear {
  char name[TENSOR_NAME_BYTES];
  const char *tensor; /* instead of NAME.weight, from its row `first` on; NULL: none */
  int first;
  float scale;
  bool joins;       /* takes what the linear before takes, and is added to what that makes */
  const char *norm; /* of its input, a layer norm; NULL: none */
  int cols, rows;
  enum act_kind act;
  bool bias;
};

struct text_tail {
  enum select_pool pool;
  int n_linear;
  struct text_linear linear[TEXT_LINEARS];
};

/* Whether it is an encoder of texts: its files say how tokens are pooled, or it has no head, or one of labels. */
bool text_encodes(const struct checkpoint *checkpoint);

/* Whether it has a head of labels. */
bool text_classifies(const struct checkpoint *checkpoint);

/* Pooling, `usual` where the files do not say it, and Dense stages. */
bool text_tail_read(struct text_tail *tail, const struct checkpoint *checkpoint, enum select_pool usual, int hidden,
                    struct error *error);

/* Where the files say that the logits of yes and no are a text's score (sentence_config.yes): that score, of the last
 * token, by the rows of the matrix `head`, which is borrowed. */
bool text_tail_score(struct text_tail *tail, const struct sentence_config *sentence, const char *head, int hidden,
                     int vocab, struct error *error);

/* A linear more, of `rows` rows; the caller fills in what is special. */
struct text_linear *text_tail_add(struct text_tail *tail, const char *name, int cols, int rows);

/* The ops, from rows of tokens to the plan's result. `select` has its input and norm. */
void text_tail_build(const struct text_tail *tail, struct op select, int hidden, float eps, bool norm_bias,
                     struct plan_builder *builder);

#endif
