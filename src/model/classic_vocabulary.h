/* tokenizer.json of directories that have none: what transformers' classes make of the files from before it. */
#ifndef SPATE_MODEL_CLASSIC_VOCABULARY_H
#define SPATE_MODEL_CLASSIC_VOCABULARY_H

#include "base/error.h"
#include "base/json.h"
#include "base/slice.h"

struct classic_vocabulary {
  struct slice words;         /* vocab.txt: a token a line; empty: there is none, as of the next two */
  struct slice units, merges; /* vocab.json and merges.txt */
  struct slice pieces;        /* a SentencePiece model */
  const char *pieces_name;    /* its file's name */
  const json_t *settings;     /* tokenizer_config.json, or NULL */
  const json_t *added;        /* added_tokens.json, or NULL */
  const json_t *specials;     /* special_tokens_map.json, or NULL */
  struct slice model_type;    /* of config.json, which tells the class where the settings do not; may be empty */
};

/* Of BERT's words, of RoBERTa's and GPT-2's units, of the pieces of XLM-R and its kin. *tokenizer is NULL where the
 * files are not there, or words and units of another class; the caller drops it. */
bool classic_vocabulary_convert(const struct classic_vocabulary *files, json_t **tokenizer, struct error *error);

#endif
