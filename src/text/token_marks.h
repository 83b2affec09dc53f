/* What encoding a token's own bytes tells of it, which is asked once, when the blob is written. */
#ifndef SPATE_TEXT_TOKEN_MARKS_H
#define SPATE_TEXT_TOKEN_MARKS_H

#include "text/tokenizer_blob.h"

/* Sets TOKEN_ATOMIC in a blob that is otherwise complete, and fills its cuts where it has room for them: the trie then
 * leads to what merging may end in. Cuts that a walk could not go by are taken out, with their trie. */
bool mark_tokens(struct buffer *blob, struct error *error);

#endif
