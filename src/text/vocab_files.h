/* Vocabularies in the files of other libraries than `tokenizers`, for model directories without a tokenizer.json. */
#ifndef SPATE_TEXT_VOCAB_FILES_H
#define SPATE_TEXT_VOCAB_FILES_H

#include "text/tokenizer.h"

/* By the name of the file, tokenizer.json among them; what a tokenizer.model is its first byte tells. */
bool tokenizer_compile_file(const char *name, struct slice file, struct slice tokenizer_config_json,
                            struct buffer *blob, struct error *error);

/* A SentencePiece model (tokenizer.model): a message of Protocol Buffers with pieces, scores and rules, of the kind BPE
 * or Unigram (https://github.com/google/sentencepiece, sentencepiece_model.proto). tokenizer_config.json, which may be
 * empty, adds tokens and says by its class what is put around a text; a class whose ids are not those of the file is
 * refused. */
bool tokenizer_compile_sentencepiece(struct slice model, struct slice tokenizer_config_json, struct buffer *blob,
                                     struct error *error);

/* Ranks in the format of tiktoken (lines of a token in base64 and its rank). How text is split the file does not say:
 * the class in tokenizer_config.json tells, which names the special tokens as well. */
bool tokenizer_compile_tiktoken(struct slice ranks, struct slice tokenizer_config_json, struct buffer *blob,
                                struct error *error);

/* Mistral's tekken.json: ranks, the split's regex and special tokens, whose ids come first. */
bool tokenizer_compile_tekken(struct slice tekken_json, struct buffer *blob, struct error *error);

#endif
