/* tokenizer.json made of a SentencePiece model, as transformers' classes make it of one whose ids they move.
 * Internal to classic_vocabulary.c. */
#ifndef SPATE_MODEL_CLASSIC_PIECES_H
#define SPATE_MODEL_CLASSIC_PIECES_H

#include "model/classic_vocabulary.h"

/* Of files->pieces. *tokenizer belongs to the caller; NULL with a sentence where the class is another, or the file none
 * of its kind. */
bool classic_pieces_convert(const struct classic_vocabulary *files, json_t **tokenizer, struct error *error);

#endif
