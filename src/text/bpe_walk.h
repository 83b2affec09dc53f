/* Byte pair encoding of long pieces: a walk from token to token, none of which merges with the one before it. */
#ifndef SPATE_TEXT_BPE_WALK_H
#define SPATE_TEXT_BPE_WALK_H

#include "text/bpe_merge.h"

/* Appends the tokens that bpe_merge_piece gives, of a model with token_cuts. O(n) in text as it is written; where a
 * text leads astray again and again it is merged, in O(n log n). False when out is full or memory is out.
 *
 * Tokens are the encoding of their text if and only if each two neighbours are that of theirs: up to the first merge
 * across a bound, what is on either side of it merges as it does when the two are alone. So there is one such sequence
 * for each beginning of the text, and the walk takes the longest token that goes with the one before, or goes back
 * (van Antwerpen and Neubeck, "So many tokens, so little time", 2024). */
bool bpe_walk_piece(const struct tokenizer_tables *tables, struct slice piece, struct bpe_scratch *scratch,
                    struct token_list *out);

#endif
