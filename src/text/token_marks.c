/* Marks: every token is encoded, and what is found goes where the blob has room for it. */
#include "text/token_marks.h"

#include "base/utf8.h"
#include "text/piece_encode.h"

/* The piece that may be this token: its bytes without the suffix of a word; empty: none may. */
static struct slice whole_piece(const struct tokenizer_tables *tables, uint32_t id) {
  struct slice piece = tables_piece(tables, id), suffix = tables->suffix;
  bool ends = piece.size > suffix.size && memcmp(piece.data + piece.size - suffix.size, suffix.data, suffix.size) == 0;
  return slice_make(piece.data, ends ? piece.size - suffix.size : 0);
}

/* What is found of tokens by encoding their bytes. */
struct token_marks {
  struct tokenizer_tables tables;
  uint8_t *flags;         /* of the blob, as are the cuts */
  struct token_cut *cuts; /* NULL: none are wanted */
  struct piece_scratch scratch;
  struct token_list ids;
};

/* Atomic, so that encoding takes a piece that is a token without asking the model; and how merging ends in it. */
static bool mark_token(struct token_marks *m, uint32_t id) {
  bool whole = m->tables.header->flags & MODEL_IGNORE_MERGES;
  token_list_clear(&m->ids);
  if ((!whole || m->cuts) && !piece_encode_anew(&m->tables, whole_piece(&m->tables, id), &m->scratch, &m->ids))
    return false;
  bool same = m->ids.count == 1 && m->ids.ids[0] == (int32_t)id;
  if (whole || same) m->flags[id] |= TOKEN_ATOMIC;
  const struct merge_slot *last = m->scratch.bpe.last;
  bool text = m->tables.header->flags & MODEL_BYTE_LEVEL || utf8_valid(tables_piece(&m->tables, id));
  if (!m->cuts || !same || !text) return true;
  m->cuts[id] = last ? (struct token_cut){last->left, last->right, last->rank} : (struct token_cut){TOKEN_NONE, 0, 0};
  return true;
}

/* A walk takes what it finds in the trie. */
static void trie_keep_merged(const struct token_marks *m, struct buffer *blob) {
  struct blob_range range = m->tables.header->sections[SECTION_TRIE];
  struct trie_node *nodes = (struct trie_node *)(blob->data + range.offset);
  for (size_t i = 0; i < range.size / sizeof *nodes; i++) {
    uint32_t id = nodes[i].token;
    if (id != TOKEN_NONE && m->cuts[id].left == TOKEN_NONE && m->cuts[id].right == TOKEN_NONE)
      nodes[i].token = TOKEN_NONE;
  }
}

/* A walk reckons the order of merges by their ranks: a token must come behind its parts. */
static bool cuts_ascend(const struct token_marks *m) {
  for (uint32_t id = 0; id < m->tables.header->n_token; id++) {
    const struct token_cut *cut = &m->cuts[id];
    if (cut->left == TOKEN_NONE) continue;
    const struct token_cut *left = &m->cuts[cut->left], *right = &m->cuts[cut->right];
    if (left->left != TOKEN_NONE && left->rank >= cut->rank) return false;
    if (right->left != TOKEN_NONE && right->rank >= cut->rank) return false;
  }
  return true;
}

bool mark_tokens(struct buffer *blob, struct error *error) {
  struct token_marks m = {0};
  if (!tables_open(&m.tables, buffer_slice(blob), error)) return false;
  /* the bytes of tokens of words are no pieces */
  if (m.tables.header->model == MODEL_WORDPIECE || m.tables.header->model == MODEL_WORDLEVEL) return true;
  struct blob_header *header = (struct blob_header *)blob->data;
  m.flags = (uint8_t *)blob->data + header->sections[SECTION_TOKEN_FLAGS].offset;
  m.cuts = m.tables.cuts ? (struct token_cut *)(blob->data + header->sections[SECTION_CUTS].offset) : NULL;
  token_list_init(&m.ids, 2 * LIMIT_TOKEN_BYTES);
  bool fine = true;
  for (uint32_t id = 0; fine && id < header->n_token; id++)
    if (m.flags[id] & TOKEN_TEXT) fine = mark_token(&m, id);
  if (fine && m.cuts) trie_keep_merged(&m, blob);
  if (fine && m.cuts && !cuts_ascend(&m)) header->sections[SECTION_CUTS].size = header->sections[SECTION_TRIE].size = 0;
  piece_scratch_release(&m.scratch);
  token_list_release(&m.ids);
  return fine || spec_out_of_memory(error);
}
