/* Rankers whose score is of the logits of words, where no modules.json says so: by vLLM's settings in config.json, or
 * because the build asks for one, as Qwen3-Reranker's own folder needs it. */
#ifndef SPATE_MODEL_RANK_WORDS_H
#define SPATE_MODEL_RANK_WORDS_H

#include "model/checkpoint.h"

/* Token ids as in struct sentence_config; yes −1: it is none. */
struct rank_words {
  int yes, no;
};

/* Of a folder whose files but the tensors are open. `asked`: it is to rank texts. */
bool rank_words_open(struct rank_words *words, const struct checkpoint *checkpoint, bool asked, struct error *error);

/* The prompt that Qwen3-Reranker was trained with, as a chat template of the roles "query" and "document", and "system"
 * for another instruction than the usual one. */
extern const char rank_words_template[];

#endif
