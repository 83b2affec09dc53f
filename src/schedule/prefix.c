/* Prefix reuse. Full blocks are chained by a keyed 128-bit hash, each over the hash of the one before and its own
 * tokens, of an image which part of which; the first follows the sequence's root: its salt and its adapters. A block
 * becomes findable when the step that filled it is done. */
#include "schedule/schedule_state.h"

#include <assert.h>
#include <string.h>

/* What the hash of a sequence's first block follows. */
static struct hash128 root_of(const struct schedule *s, const struct sequence *q) {
  struct {
    struct hash128 salt;
    struct sequence_adapter adapter[ROW_LORAS];
  } root;
  if (q->n_adapter == 0) return q->salt;
  memset(&root, 0, sizeof root);
  root.salt = q->salt;
  for (int i = 0; i < q->n_adapter; i++) {
    root.adapter[i].id = q->adapter[i].id;
    root.adapter[i].scale = q->adapter[i].scale;
  }
  return keyed_hash(&s->key, slice_make(&root, sizeof root));
}

void schedule_ready(struct schedule *s, struct sequence *q) {
  for (; q; q = q->sibling) {
    q->unready = false;
    q->root = root_of(s, q);
  }
}

/* `before`, and what the block holds of each span: which part of which content. */
static struct hash128 spans_hash(const struct schedule *s, const struct sequence *q, struct hash128 before,
                                 uint32_t block) {
  int64_t first = (int64_t)block * s->limits.block_size, end = first + s->limits.block_size;
  for (int32_t i = 0; i < q->n_span; i++) {
    const struct sequence_span *span = &q->span[i];
    if (span->first >= end || (int64_t)span->first + span->count <= first) continue;
    struct {
      struct hash128 before, content;
      int64_t offset;
    } input = {before, span->hash, first - span->first};
    before = keyed_hash(&s->key, slice_make(&input, sizeof input));
  }
  return before;
}

static struct hash128 block_hash(const struct schedule *s, const struct sequence *q, struct hash128 before,
                                 uint32_t block) {
  const int32_t *tokens = q->tokens + (size_t)block * (size_t)s->limits.block_size;
  struct {
    struct hash128 before;
    int32_t token[REUSE_BLOCK_MAX];
  } input = {.before = spans_hash(s, q, before, block)};
  size_t bytes = (size_t)s->limits.block_size * sizeof *tokens;
  memcpy(input.token, tokens, bytes);
  return keyed_hash(&s->key, slice_make(&input, sizeof before + bytes));
}

/* Is a running prompt about to compute the block that follows the match? Then waiting for it is faster than computing
 * it again. The wait ends with that prompt: it is computed without a break, or no longer counts. */
static bool block_coming(const struct schedule *s, const struct sequence *q, const struct prefix_match *match,
                         const uint32_t *table) {
  size_t first = (size_t)match->n_block * (size_t)s->limits.block_size;
  int64_t end = (int64_t)first + s->limits.block_size;
  for (int i = 0; i < s->n_running; i++) {
    const struct sequence *r = s->running[i];
    bool goes_on = !r->paused && !r->leaving && !r->retreating && r->priority <= q->priority;
    if (!goes_on || !r->chained || r->n_findable != match->n_block || r->n_prompt < end) continue;
    if (!hash_equal(r->root, q->root)) continue;
    if (match->n_block > 0 && sequence_table(s, r)[match->n_block - 1] != table[match->n_block - 1]) continue;
    if (memcmp(r->tokens + first, q->tokens + first, (size_t)s->limits.block_size * sizeof *q->tokens) == 0 &&
        hash_equal(spans_hash(s, r, match->hash, match->n_block), spans_hash(s, q, match->hash, match->n_block)))
      return true;
  }
  return false;
}

/* The next block of a prompt of which the match has the first ones; NO_BLOCK: it is not there, or the prompt's last,
 * which is always computed. Its hash goes into the match. */
static uint32_t block_find(const struct schedule *s, const struct sequence *q, struct prefix_match *match) {
  if ((int64_t)(match->n_block + 1) * s->limits.block_size > q->n_token - 1) return NO_BLOCK;
  struct hash128 hash = block_hash(s, q, match->hash, match->n_block);
  uint32_t block = kv_blocks_find(&s->blocks, hash);
  if (block == NO_BLOCK) return block;
  match->hash = hash;
  match->n_block++;
  return block;
}

/* What is not computed has no scores. */
static bool is_unscored(const struct sequence *q) { return q->scores_prompt && q->n_scored < q->n_prompt - 1; }

struct prefix_match prefix_find(const struct schedule *s, const struct sequence *q, uint32_t *table) {
  struct prefix_match match = {.hash = q->root};
  if (!s->reuse || is_unscored(q)) return match;
  for (uint32_t block; (block = block_find(s, q, &match)) != NO_BLOCK;) {
    match.n_idle += s->blocks.holders[block] == 0;
    table[match.n_block - 1] = block;
  }
  uint32_t most = (uint32_t)((q->n_token - 1) / s->limits.block_size);
  match.coming = match.n_block < most && block_coming(s, q, &match, table);
  return match;
}

int32_t schedule_found(const struct schedule *s, const struct sequence *q) {
  struct prefix_match match = {.hash = root_of(s, q)};
  if (!s->reuse || is_unscored(q)) return 0;
  while (block_find(s, q, &match) != NO_BLOCK) continue;
  return (int32_t)match.n_block * s->limits.block_size;
}

void prefix_publish(struct schedule *s, struct sequence *q, int32_t length) {
  const uint32_t *table = sequence_table(s, q);
  int32_t size = s->limits.block_size;
  if (sequence_beams(q) && length > q->n_prompt) length = q->n_prompt; /* the rest stays in the group's hands */
  while (s->reuse && q->chained && (int64_t)(q->n_findable + 1) * size <= length) {
    struct hash128 hash = block_hash(s, q, q->hash, q->n_findable);
    /* Of two equal blocks the first stays; what follows the second is not shared, or the tree would not be one. */
    uint32_t block = table[q->n_findable], found = kv_blocks_find(&s->blocks, hash);
    q->chained = found == NO_BLOCK || found == block; /* which another of its group has published */
    if (!q->chained) return;
    if (found == NO_BLOCK) kv_blocks_publish(&s->blocks, block, hash);
    q->n_findable++;
    q->hash = hash;
  }
}

void prefix_disown(struct schedule *s, struct sequence *q) {
  const uint32_t *table = sequence_table(s, q);
  q->chained = false;
  for (uint32_t i = 0; i < q->n_findable; i++) kv_blocks_withdraw(&s->blocks, table[i]);
  q->n_findable = 0;
}

void schedule_forget(struct schedule *s) { kv_blocks_forget(&s->blocks); }
