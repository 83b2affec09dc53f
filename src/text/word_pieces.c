/* WordPiece, greedily. In the plain form tokens that begin a word have a space in front, so the word gets one before it
 * is looked up; as they are written those that begin none have a prefix, behind which the walk through the trie begins.
 */
#include "text/word_pieces.h"

#include "base/utf8.h"

enum { WORD_BYTES = 1 + 4 * LIMIT_WORD_CHARS };

static bool append_unknown(const struct tokenizer_tables *tables, struct token_list *out) {
  return tables->header->unk < 0 || token_list_append(out, tables->header->unk);
}

/* The longest token that text begins with, and its bytes; TOKEN_NONE: there is none. node: where tokens begin. */
static uint32_t longest_token(const struct tokenizer_tables *tables, const struct trie_node *node, struct slice text,
                              size_t *size) {
  uint32_t longest = TOKEN_NONE;
  if (!node) return TOKEN_NONE;
  for (size_t end = 0; end < text.size;) {
    node = trie_step(tables->trie, node, text.data[end++]);
    if (!node) break;
    bool within = end < text.size && (text.data[end] & 0xC0) == 0x80;
    if (node->token == TOKEN_NONE || within) continue;
    longest = node->token;
    *size = end;
  }
  return longest;
}

static const struct trie_node *behind_prefix(const struct tokenizer_tables *tables) {
  const struct trie_node *node = tables->trie;
  for (size_t i = 0; node && i < tables->prefix.size; i++) node = trie_step(tables->trie, node, tables->prefix.data[i]);
  return node;
}

/* The tokens of a word, or the unknown one for all of it: whether the rest of a word is found counts where the list is
 * full, too, so the first ids of a text do not depend on how many are asked for. spaced: it has a space in front, which
 * alone is no beginning. later: where tokens that begin no word begin. */
static bool append_pieces(const struct tokenizer_tables *tables, const struct trie_node *later, struct slice word,
                          bool spaced, struct token_list *out) {
  const struct trie_node *node = tables->trie;
  size_t before = out->count, size = 0;
  bool room = true;
  for (size_t at = 0; at < word.size; at += size, node = later) {
    uint32_t id = longest_token(tables, node, slice_make(word.data + at, word.size - at), &size);
    if (id == TOKEN_NONE || (spaced && at == 0 && size == 1)) {
      token_list_cut(out, before);
      return append_unknown(tables, out);
    }
    room = room && token_list_append(out, (int32_t)id);
  }
  return room;
}

bool word_pieces_encode(const struct tokenizer_tables *tables, struct slice word, struct token_list *out) {
  uint8_t bytes[WORD_BYTES];
  if (word.size > sizeof bytes - 1 || utf8_characters(word) > tables->header->word_chars)
    return append_unknown(tables, out);
  if (tables->header->flags & MODEL_WRITTEN) return append_pieces(tables, behind_prefix(tables), word, false, out);
  bytes[0] = ' ';
  memcpy(bytes + 1, word.data, word.size);
  return append_pieces(tables, tables->trie, slice_make(bytes, word.size + 1), true, out);
}

bool word_encode(const struct tokenizer_tables *tables, struct slice word, struct token_list *out) {
  uint8_t bytes[1 + LIMIT_TOKEN_BYTES];
  if (word.size > LIMIT_TOKEN_BYTES) return append_unknown(tables, out);
  bytes[0] = ' ';
  memcpy(bytes + 1, word.data, word.size);
  bool written = tables->header->flags & MODEL_WRITTEN;
  uint32_t id = tables_find(tables, written ? word : slice_make(bytes, word.size + 1));
  return id == TOKEN_NONE ? append_unknown(tables, out) : token_list_append(out, (int32_t)id);
}
