/* The walk: candidates from the trie, longest first; ends that nothing follows are not gone to twice. */
#include "text/bpe_walk.h"

#include "base/utf8.h"

enum { WORK_PER_BYTE = 32, WORK_AT_LEAST = 4096 }; /* looks at nodes and merges, after which merging is as quick */

/* One piece. Of the scratch: ids and next hold the tokens of the walk and where they start, prev and rank the
 * candidates of a place and their sizes; dead is the walk's alone, as unknown symbols are merged on the way. */
struct walk {
  const struct tokenizer_tables *tables;
  struct slice piece;
  struct bpe_scratch *scratch;
  size_t start, at; /* of this stretch, and of what is next */
  size_t count;     /* tokens from start to at */
  size_t work;
};

/* Whether two tokens stay two when they are alone. Time runs backwards: x and y are what stands at the bound after the
 * merge of rank `limit`, and merge with one another unless that one was sooner. Of equal ranks the left one is. */
static bool pair_holds(struct walk *w, uint32_t x, uint32_t y) {
  const struct tokenizer_tables *tables = w->tables;
  const struct token_cut *cuts = tables->cuts;
  uint32_t limit = TOKEN_NONE;
  for (bool behind = true;; w->work++) {
    const struct merge_slot *merge = tables_merge(tables, x, y);
    if (merge && (merge->rank < limit || (merge->rank == limit && behind))) return false;
    const struct token_cut *left = &cuts[x], *right = &cuts[y];
    if (left->left == TOKEN_NONE && right->left == TOKEN_NONE) return true;
    behind = right->left != TOKEN_NONE && (left->left == TOKEN_NONE || right->rank >= left->rank);
    limit = behind ? right->rank : left->rank;
    x = behind ? x : left->right;
    y = behind ? right->left : y;
  }
}

static bool tired(const struct walk *w) { return w->work > w->piece.size * WORK_PER_BYTE + WORK_AT_LEAST; }

/* The tokens of less than `below` bytes that the text at `at` begins with and merging may end in: how many. */
static size_t candidates_find(struct walk *w, size_t at, size_t below) {
  const struct trie_node *nodes = w->tables->trie, *node = nodes + w->tables->trie_first[w->piece.data[at]];
  const uint8_t *text = w->piece.data + at;
  uint32_t *tokens = w->scratch->prev, *sizes = w->scratch->rank;
  size_t most = w->piece.size - at < below ? w->piece.size - at : below - 1, count = 0, size = 0;
  if (node == nodes) return 0;
  while (node && size < most) {
    tokens[count] = node->token;
    sizes[count] = (uint32_t)++size;
    count += node->token != TOKEN_NONE;
    node = size < most ? trie_step(nodes, node, text[size]) : NULL;
  }
  w->work += size;
  return count;
}

static bool end_dead(const struct walk *w, size_t at) { return w->scratch->dead[at / 64] >> at % 64 & 1; }

/* Goes on by the longest of the candidates that holds. */
static bool walk_on(struct walk *w, size_t candidates) {
  const struct bpe_scratch *s = w->scratch;
  while (candidates-- > 0 && !tired(w)) {
    uint32_t token = s->prev[candidates];
    size_t end = w->at + s->rank[candidates];
    if (end_dead(w, end) || (w->count > 0 && !pair_holds(w, s->ids[w->count - 1], token))) continue;
    s->ids[w->count] = token;
    s->next[w->count++] = (uint32_t)w->at;
    w->at = end;
    return true;
  }
  return false;
}

static bool walk_flush(struct walk *w, struct token_list *out) {
  for (size_t i = 0; i < w->count; i++)
    if (!token_list_append(out, (int32_t)w->scratch->ids[i])) return false;
  w->count = 0;
  return true;
}

/* From where this stretch starts: merged, as all pieces may be. */
static bool walk_give_up(struct walk *w, struct token_list *out) {
  struct slice rest = slice_make(w->piece.data + w->start, w->piece.size - w->start);
  w->at = w->start = w->piece.size;
  w->count = 0;
  return bpe_merge_piece(w->tables, rest, w->scratch, out);
}

static size_t symbol_size(const struct walk *w, size_t at) {
  uint32_t code;
  if (w->tables->header->flags & MODEL_BYTE_LEVEL) return 1;
  size_t size = utf8_read(slice_make(w->piece.data + at, w->piece.size - at), &code);
  return size ? size : 1;
}

/* Symbols without a token of their own, which become tokens that never merge: the stretch ends before them, and the
 * next starts behind. Where they leave nothing, or what text may also be, their neighbours may merge. */
static bool walk_past_unknown(struct walk *w, struct token_list *out) {
  size_t end = w->at, from = out->count;
  for (size_t size; end < w->piece.size; end += size) {
    size = symbol_size(w, end);
    if (candidates_find(w, end, size + 1) > 0) break;
  }
  bool apart = walk_flush(w, out);
  size_t before = out->count;
  apart = apart && bpe_merge_piece(w->tables, slice_make(w->piece.data + w->at, end - w->at), w->scratch, out);
  apart = apart && out->count > before;
  for (size_t i = before; i < out->count; i++) apart &= !(w->tables->token_flags[out->ids[i]] & TOKEN_TEXT);
  if (!apart) { /* or not known to be, as out is full: what there is room for is then right, too */
    token_list_cut(out, from);
    return walk_give_up(w, out);
  }
  w->start = w->at = end;
  return true;
}

/* One token on, or as many back as it takes to go on. */
static bool walk_step(struct walk *w, struct token_list *out) {
  size_t candidates = candidates_find(w, w->at, SIZE_MAX);
  if (candidates == 0 && !tired(w)) return walk_past_unknown(w, out);
  while (!walk_on(w, candidates)) {
    if (w->count == 0 || tired(w)) return walk_give_up(w, out);
    w->scratch->dead[w->at / 64] |= (uint64_t)1 << w->at % 64;
    size_t size = w->at - w->scratch->next[--w->count];
    w->at -= size;
    candidates = candidates_find(w, w->at, size);
  }
  return true;
}

bool bpe_walk_piece(const struct tokenizer_tables *tables, struct slice piece, struct bpe_scratch *scratch,
                    struct token_list *out) {
  if (piece.size >= TOKEN_NONE || !bpe_scratch_reserve(scratch, piece.size + 1)) return false;
  memset(scratch->dead, 0, (piece.size / 64 + 1) * sizeof *scratch->dead);
  struct walk w = {.tables = tables, .piece = piece, .scratch = scratch};
  while (w.at < piece.size)
    if (!walk_step(&w, out)) return false;
  return walk_flush(&w, out);
}
