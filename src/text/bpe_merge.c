/* BPE: the merge of the lowest rank first, the leftmost of equals, until none applies.
 *
 * Short pieces (words) scan an array for the lowest rank; long ones (a megabyte of one letter) keep the merges in a
 * heap over a linked list, so that the work is O(n log n) on any input. */
#include "text/bpe_merge.h"

#include "base/utf8.h"

#include <stdlib.h>

enum {
  SHORT_PIECE = 48,     /* bytes; above it the heap is faster than scanning */
  SCRATCH_LEAST = 1024, /* symbols */
};

void bpe_scratch_release(struct bpe_scratch *scratch) {
  free(scratch->ids);
  free(scratch->next);
  free(scratch->prev);
  free(scratch->rank);
  free(scratch->heap);
  free(scratch->dead);
  *scratch = (struct bpe_scratch){0};
}

bool bpe_scratch_reserve(struct bpe_scratch *scratch, size_t symbols) {
  if (symbols <= scratch->capacity) return true;
  bpe_scratch_release(scratch);
  if (symbols < SCRATCH_LEAST) symbols = SCRATCH_LEAST;
  scratch->ids = malloc(symbols * sizeof *scratch->ids);
  scratch->next = malloc(symbols * sizeof *scratch->next);
  scratch->prev = malloc(symbols * sizeof *scratch->prev);
  scratch->rank = malloc(symbols * sizeof *scratch->rank);
  scratch->heap = malloc(2 * symbols * sizeof *scratch->heap);
  scratch->dead = malloc((symbols / 64 + 1) * sizeof *scratch->dead);
  bool done = scratch->dead && scratch->ids && scratch->next && scratch->prev && scratch->rank && scratch->heap;
  scratch->capacity = done ? symbols : 0;
  return done;
}

/* --- symbols -------------------------------------------------------------------------------------------------- */

struct symbols {
  uint32_t *ids;
  size_t count;
  bool unknown; /* an unknown token waits for the next known one */
};

static void flush_unknown(const struct tokenizer_tables *tables, struct symbols *symbols) {
  if (symbols->unknown) symbols->ids[symbols->count++] = (uint32_t)tables->header->unk;
  symbols->unknown = false;
}

/* What a byte or character without a token becomes: nothing when the tokenizer has no unknown token. */
static void add_unknown(const struct tokenizer_tables *tables, struct symbols *symbols) {
  if (tables->header->unk < 0) return;
  if (!(tables->header->flags & MODEL_FUSE_UNKNOWN)) flush_unknown(tables, symbols);
  symbols->unknown = true;
}

/* An unknown token goes on waiting behind bytes that a character falls back to: that is how the package has it. */
static bool add_bytes(const struct tokenizer_tables *tables, struct slice bytes, struct symbols *symbols) {
  for (size_t i = 0; i < bytes.size; i++)
    if (tables->byte_tokens[bytes.data[i]] == TOKEN_NONE) return false;
  for (size_t i = 0; i < bytes.size; i++) symbols->ids[symbols->count++] = tables->byte_tokens[bytes.data[i]];
  return true;
}

static bool add_byte(const struct tokenizer_tables *tables, uint8_t byte, struct symbols *symbols) {
  if (tables->byte_tokens[byte] == TOKEN_NONE) return false;
  flush_unknown(tables, symbols);
  symbols->ids[symbols->count++] = tables->byte_tokens[byte];
  return true;
}

static bool add_known(const struct tokenizer_tables *tables, struct slice bytes, struct symbols *symbols) {
  uint32_t id = tables_find(tables, bytes);
  if (id == TOKEN_NONE) return false;
  flush_unknown(tables, symbols);
  symbols->ids[symbols->count++] = id;
  return true;
}

static void add_character(const struct tokenizer_tables *tables, struct slice character, struct symbols *symbols) {
  if (add_known(tables, character, symbols)) return;
  if (!(tables->header->flags & MODEL_BYTE_FALLBACK) || !add_bytes(tables, character, symbols))
    add_unknown(tables, symbols);
}

/* A symbol that is looked up with what stands before one that begins no piece, and behind one that ends one. */
static void add_affixed(const struct tokenizer_tables *tables, struct slice character, bool first, bool last,
                        struct symbols *symbols) {
  uint8_t bytes[2 * LIMIT_AFFIX_BYTES + 4];
  size_t before = first ? 0 : tables->prefix.size, behind = last ? tables->suffix.size : 0;
  memcpy(bytes, tables->prefix.data, before);
  memcpy(bytes + before, character.data, character.size);
  memcpy(bytes + before + character.size, tables->suffix.data, behind);
  add_character(tables, slice_make(bytes, before + character.size + behind), symbols);
}

/* How many symbols a piece begins with at most: one a byte, also of what is put around characters where that may fall
 * back to bytes. */
static size_t symbols_most(const struct tokenizer_tables *tables, struct slice piece) {
  bool falls = tables->header->flags & MODEL_BYTE_FALLBACK;
  return piece.size * (falls ? 1 + tables->prefix.size + tables->suffix.size : 1);
}

/* The symbols that merging starts from; ids has room for symbols_most. */
static size_t piece_symbols(const struct tokenizer_tables *tables, struct slice piece, uint32_t *ids) {
  struct symbols symbols = {.ids = ids};
  bool byte_level = tables->header->flags & MODEL_BYTE_LEVEL, affixes = tables->prefix.size + tables->suffix.size > 0;
  for (size_t at = 0, size; at < piece.size; at += size) {
    uint32_t code;
    struct slice rest = slice_make(piece.data + at, piece.size - at);
    size = byte_level ? 1 : utf8_read(rest, &code);
    if (size == 0) size = 1; /* only in a vocabulary that is not UTF-8 */
    rest.size = size;
    if (affixes)
      add_affixed(tables, rest, at == 0, at + size == piece.size, &symbols);
    else if (!byte_level)
      add_character(tables, rest, &symbols);
    else if (!add_byte(tables, rest.data[0], &symbols))
      add_unknown(tables, &symbols);
  }
  flush_unknown(tables, &symbols);
  return symbols.count;
}

/* --- short pieces --------------------------------------------------------------------------------------------- */

/* A list of at most SHORT_PIECE symbols; one that went into the one before it is no longer linked. Which merge is next
 * is a matter of luck: it is found without a branch. */
struct short_list {
  uint32_t *ids;
  const struct merge_slot *pair[SHORT_PIECE];
  uint64_t merge[SHORT_PIECE]; /* rank << 32 | symbol: how it merges with the next; or UINT64_MAX */
  uint8_t next[SHORT_PIECE], prev[SHORT_PIECE];
  size_t count;
};

static inline void short_pair(const struct tokenizer_tables *tables, struct short_list *list, size_t at) {
  size_t next = list->next[at];
  const struct merge_slot *merge = next < list->count ? tables_merge(tables, list->ids[at], list->ids[next]) : NULL;
  list->merge[at] = merge ? (uint64_t)merge->rank << 32 | at : UINT64_MAX;
  list->pair[at] = merge;
}

static void short_begin(const struct tokenizer_tables *tables, struct short_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    list->next[i] = (uint8_t)(i + 1);
    list->prev[i] = (uint8_t)(i - 1);
  }
  for (size_t i = 0; i < list->count; i++) short_pair(tables, list, i);
}

/* The merge of the lowest rank, the leftmost of equals; NULL: there is none. */
static const struct merge_slot *short_take(const struct tokenizer_tables *tables, struct short_list *list) {
  uint64_t best = UINT64_MAX;
  for (size_t i = 0; i < list->count; i++) best = list->merge[i] < best ? list->merge[i] : best;
  if (best == UINT64_MAX) return NULL;
  size_t at = (uint32_t)best, gone = list->next[at], next = list->next[gone];
  const struct merge_slot *taken = list->pair[at];
  list->ids[at] = taken->result;
  list->merge[gone] = UINT64_MAX;
  list->next[at] = (uint8_t)next;
  if (next < list->count) list->prev[next] = (uint8_t)at;
  short_pair(tables, list, at);
  if (at > 0) short_pair(tables, list, list->prev[at]);
  return taken;
}

/* Merges ids[count] in place; returns how many are left. */
static size_t merge_short(const struct tokenizer_tables *tables, uint32_t *ids, size_t count,
                          const struct merge_slot **last) {
  struct short_list list;
  list.ids = ids;
  list.count = count;
  short_begin(tables, &list);
  for (const struct merge_slot *taken; (taken = short_take(tables, &list));) *last = taken;
  size_t left = 0;
  for (size_t at = 0; at < count; at = list.next[at]) ids[left++] = ids[at];
  return left;
}

/* --- long pieces ---------------------------------------------------------------------------------------------- */

static void heap_push(uint64_t *heap, size_t *size, uint64_t value) {
  size_t at = (*size)++;
  for (; at > 0 && heap[(at - 1) / 2] > value; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
  heap[at] = value;
}

static uint64_t heap_pop(uint64_t *heap, size_t *size) {
  uint64_t top = heap[0], last = heap[--*size];
  size_t at = 0;
  for (size_t child; (child = 2 * at + 1) < *size; at = child) {
    if (child + 1 < *size && heap[child + 1] < heap[child]) child++;
    if (heap[child] >= last) break;
    heap[at] = heap[child];
  }
  heap[at] = last;
  return top;
}

/* Looks up how the symbol at `at` merges with its next and queues that. An entry queued before for the same symbol is
 * stale unless its rank is still the symbol's. At most two are queued per merge and one is taken, so 2n have room. */
static void pair_queue(const struct tokenizer_tables *tables, struct bpe_scratch *s, uint32_t at, size_t *heap_size) {
  const struct merge_slot *merge =
      s->next[at] == TOKEN_NONE ? NULL : tables_merge(tables, s->ids[at], s->ids[s->next[at]]);
  s->rank[at] = merge ? merge->rank : TOKEN_NONE;
  if (merge) heap_push(s->heap, heap_size, (uint64_t)merge->rank << 32 | at);
}

static void merge_long(const struct tokenizer_tables *tables, struct bpe_scratch *s, size_t count) {
  size_t heap_size = 0;
  for (uint32_t i = 0; i < count; i++) {
    s->prev[i] = i ? i - 1 : TOKEN_NONE;
    s->next[i] = i + 1 < count ? i + 1 : TOKEN_NONE;
  }
  for (uint32_t i = 0; i < count; i++) pair_queue(tables, s, i, &heap_size);
  while (heap_size > 0) {
    uint64_t top = heap_pop(s->heap, &heap_size);
    uint32_t at = (uint32_t)top, gone;
    if (s->rank[at] != top >> 32) continue;
    gone = s->next[at];
    s->last = tables_merge(tables, s->ids[at], s->ids[gone]);
    s->ids[at] = s->last->result;
    s->rank[gone] = TOKEN_NONE;
    s->next[at] = s->next[gone];
    if (s->next[at] != TOKEN_NONE) s->prev[s->next[at]] = at;
    pair_queue(tables, s, at, &heap_size);
    if (s->prev[at] != TOKEN_NONE) pair_queue(tables, s, s->prev[at], &heap_size);
  }
}

/* --- pieces --------------------------------------------------------------------------------------------------- */

static bool merge_long_piece(const struct tokenizer_tables *tables, struct slice piece, struct bpe_scratch *scratch,
                             struct token_list *out) {
  size_t most = symbols_most(tables, piece);
  if (most >= TOKEN_NONE || !bpe_scratch_reserve(scratch, most)) return false;
  size_t count = piece_symbols(tables, piece, scratch->ids);
  if (count == 0) return true;
  merge_long(tables, scratch, count);
  for (uint32_t at = 0; at != TOKEN_NONE; at = scratch->next[at])
    if (!token_list_append(out, (int32_t)scratch->ids[at])) return false;
  return true;
}

bool bpe_merge_piece(const struct tokenizer_tables *tables, struct slice piece, struct bpe_scratch *scratch,
                     struct token_list *out) {
  scratch->last = NULL;
  if (symbols_most(tables, piece) > SHORT_PIECE) return merge_long_piece(tables, piece, scratch, out);
  uint32_t ids[SHORT_PIECE];
  size_t count = merge_short(tables, ids, piece_symbols(tables, piece, ids), &scratch->last);
  for (size_t i = 0; i < count; i++)
    if (!token_list_append(out, (int32_t)ids[i])) return false;
  return true;
}
