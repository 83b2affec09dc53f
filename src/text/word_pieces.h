/* WordPiece and WordLevel: a word to the tokens that it is made of. */
#ifndef SPATE_TEXT_WORD_PIECES_H
#define SPATE_TEXT_WORD_PIECES_H

#include "text/token_list.h"
#include "text/tokenizer_blob.h"

/* Appends the longest token that the word begins with, then the longest that what is left begins with, and so on; the
 * unknown token alone, if there is one, where some rest begins with none or the word has more than the header's
 * word_chars characters (Wu et al. 2016, arXiv:1609.08144, as BERT does it). O(n × the longest token), at worst. */
bool word_pieces_encode(const struct tokenizer_tables *tables, struct slice word, struct token_list *out);

/* Appends the token that the word is, or the unknown one. */
bool word_encode(const struct tokenizer_tables *tables, struct slice word, struct token_list *out);

#endif
