/* SentencePiece's precompiled normalization rules ("charsmap"): a trie of texts and what each of them becomes. The
 * bytes come from model files: nothing of them is trusted, each step through the trie is checked. */
#ifndef SPATE_TEXT_CHARSMAP_H
#define SPATE_TEXT_CHARSMAP_H

#include "base/buffer.h"

/* Little endian: uint32_t size of the trie in bytes, the trie (a double array of Darts-clone, uint32_t units), then the
 * texts that its values are offsets in, UTF-8, each ended by a NUL. */
bool charsmap_check(struct slice map);

/* To what of a text the rules are applied. */
enum charsmap_mode {
  CHARSMAP_CLUSTERS, /* as the package `tokenizers` does: to a grapheme cluster of up to five bytes as a whole, where a
                        rule begins it, else to its characters one by one */
  CHARSMAP_LONGEST,  /* as SentencePiece does: to the longest text that a rule is for, from the left */
  CHARSMAP_MODES,
};

/* Appends text with the rules applied. False when out is full. */
bool charsmap_apply(struct slice map, enum charsmap_mode mode, struct slice text, struct buffer *out);

#endif
