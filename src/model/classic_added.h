/* Tokens beside the vocabulary of a directory without tokenizer.json: those that were added to it, and special ones.
 * Internal to classic_vocabulary.c and classic_pieces.c. */
#ifndef SPATE_MODEL_CLASSIC_ADDED_H
#define SPATE_MODEL_CLASSIC_ADDED_H

#include "model/classic_vocabulary.h"

/* Is `name` the class, or its "Fast" form? */
bool classic_class_named(const char *class, const char *name);

/* What the files have for a key of special tokens, such as "cls_token"; `usual` where they say nothing. */
const char *classic_special(const struct classic_vocabulary *files, const char *key, const char *usual);

/* The id of a token of the model's vocabulary; false: it is not in there, or is NULL. */
bool classic_id_find(const json_t *model, const char *token, json_int_t *id);

/* Tokens as tokenizer.json's added_tokens has them, by their texts, with the specials of `n` keys. NULL with a
 * sentence: ids that are others' or leave some out, or a special token that the files name and that is nowhere. */
json_t *classic_added_make(const struct classic_vocabulary *files, const json_t *model, const char *const *keys,
                           const char *const *usual, int n, struct error *error);

#endif
