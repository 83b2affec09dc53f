/* Texts to vectors, or to the scores of labels: engines of encoders (BERT and its relatives), which generate nothing.
 * Included by spate.h. A request's one event is SPATE_DONE with numbers, or SPATE_FAILED. */
#ifndef SPATE_EMBED_H
#define SPATE_EMBED_H

#ifndef SPATE_H
#include "spate.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What an engine does: spate_engine_info.task. */
enum { SPATE_TASK_GENERATE, SPATE_TASK_EMBED, SPATE_TASK_CLASSIFY };

/* By what its vectors are to be compared: spate_engine_info.similarity. Distances are told as negative numbers. */
enum { SPATE_COSINE, SPATE_DOT, SPATE_EUCLIDEAN, SPATE_MANHATTAN };

typedef struct {
  size_t size;
  const char *text; /* UTF-8 */
  size_t text_size;
  const char *pair; /* a second text behind it, as classifiers of pairs take; NULL: none */
  size_t pair_size;
  const int32_t *tokens; /* instead of text, when n_token > 0; they are taken as they are */
  int n_token;
  int dimensions; /* the first numbers alone, normed by themselves; 0: vector_size */
  int truncate;   /* tokens that a longer text is cut to, at most max_input_len, which −1 means; 0: it is refused */
  bool plain;     /* the network's numbers: not normed, no sigmoid or softmax */
  int priority, tenant;
  float timeout_s;         /* as in spate_request */
  const char *prompt_name; /* of the model's prompts, the one put before the text; "": none; NULL: its usual one */
  bool again; /* refused as busy, it will be asked for again: it does not count as refused in the metrics */
  int behind; /* it takes its turn as if so many others had come before it: texts of one caller that wait already */
  int max_tokens_per_doc; /* tokens of the pair, or without one of the text, that count, less those around it; 0: all.
                             Not of chat or tokens */
  bool chat;              /* text is a conversation in JSON, as spate_chat_tokens takes it */
  const char
      *instruct; /* of a ranker by yes and no, what a document is to do for the query; NULL: as prompt_name says */
  size_t instruct_size;
} spate_embed_request;

static inline void spate_embed_request_init(spate_embed_request *request) {
  memset(request, 0, sizeof *request);
  request->size = sizeof *request;
}

/* As spate_submit. Texts of many requests share steps; each is computed whole, and alone has the same numbers. */
SPATE_API uint64_t spate_embed(spate_engine *engine, spate_inbox *inbox, const spate_embed_request *request,
                               spate_error *error);

/* The text of the model's prompt of that name; of NULL its usual one's, "" where it has none. NULL: there is none of
 * that name. It lives as long as the engine. */
SPATE_API const char *spate_prompt(const spate_engine *engine, const char *name);

/* The name of a classifier's label, 0 to vector_size − 1; NULL: there is none. It lives as long as the engine. */
SPATE_API const char *spate_label(const spate_engine *engine, int label);

#ifdef __cplusplus
}
#endif

#endif
