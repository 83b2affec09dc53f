/* All tokens as a trie: which of them a text begins with, in one walk. For what asks for all of them at each place:
 * Unigram, WordPiece, and long pieces of BPE (bpe_walk.h). */
#ifndef SPATE_TEXT_TOKEN_TRIE_H
#define SPATE_TEXT_TOKEN_TRIE_H

#include "text/tokenizer_spec.h"

/* Node 0 is the root; a node's children lie one after the other, behind it, ascending by byte. */
struct trie_node {
  uint32_t first; /* child */
  uint32_t token; /* that ends here; TOKEN_NONE: none does */
  uint16_t count; /* of children */
  uint8_t byte;   /* that leads here */
  uint8_t reserved;
};

struct token_trie {
  struct trie_node *nodes; /* [count], in the spec's arena */
  size_t count;
};

/* Of the spec's indexed tokens. O(bytes of all tokens). */
bool token_trie_build(struct tokenizer_spec *spec, struct token_trie *trie, struct error *error);

/* Every node's children are nodes behind it, its token a token. */
bool token_trie_check(const struct trie_node *nodes, size_t count, size_t n_token);

/* The child that byte leads to, NULL: there is none. */
static inline const struct trie_node *trie_step(const struct trie_node *nodes, const struct trie_node *node,
                                                uint8_t byte) {
  const struct trie_node *child = nodes + node->first;
  if (node->count == 0) return NULL;
  for (uint32_t count = node->count, half; count > 1; count -= half) { /* no branch: which way is a matter of luck */
    half = count / 2;
    child += child[half].byte <= byte ? half : 0;
  }
  return child->byte == byte ? child : NULL;
}

#endif
