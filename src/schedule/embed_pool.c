/* Pages, holders, and the queue of claims. */
#include "schedule/embed_pool.h"

#include <assert.h>
#include <stdlib.h>

/* --- lists -------------------------------------------------------------------------------------------------------- */

static void list_append(struct embed_list *list, struct embed_entry *entry) {
  entry->previous = list->last;
  entry->next = NULL;
  *(list->last ? &list->last->next : &list->first) = entry;
  list->last = entry;
}

static void list_remove(struct embed_list *list, struct embed_entry *entry) {
  *(entry->previous ? &entry->previous->next : &list->first) = entry->next;
  *(entry->next ? &entry->next->previous : &list->last) = entry->previous;
}

static struct embed_entry **bucket_of(struct embed_pool *pool, struct hash128 hash) {
  return &pool->bucket[hash.low % EMBED_BUCKETS];
}

static void chain_remove(struct embed_pool *pool, struct embed_entry *entry) {
  struct embed_entry **at = bucket_of(pool, entry->hash);
  while (*at != entry) at = &(*at)->chain;
  *at = entry->chain;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

bool embed_pool_init(struct embed_pool *pool, int32_t n_row) {
  *pool = (struct embed_pool){.n_page = n_row / EMBED_PAGE};
  pool->free = calloc((size_t)pool->n_page + 1, sizeof *pool->free);
  if (!pool->free) return false;
  for (int32_t i = pool->n_page; i > 0; i--) pool->free[pool->n_free++] = i - 1;
  return true;
}

void embed_pool_release_all(struct embed_pool *pool, void (*drop)(struct embed_entry *entry)) {
  for (int i = 0; i < EMBED_BUCKETS; i++)
    for (struct embed_entry *entry = pool->bucket[i], *chain; entry; entry = chain) {
      chain = entry->chain;
      drop(entry);
    }
  free(pool->free);
  *pool = (struct embed_pool){0};
}

/* --- holders ------------------------------------------------------------------------------------------------------ */

struct embed_entry *embed_pool_find(struct embed_pool *pool, struct hash128 hash) {
  struct embed_entry *entry = *bucket_of(pool, hash);
  while (entry && !hash_equal(entry->hash, hash)) entry = entry->chain;
  if (!entry) {
    pool->misses++;
    return NULL;
  }
  pool->hits++;
  if (entry->n_holder++ == 0) {
    list_remove(&pool->unused, entry);
    pool->n_unused_page -= entry->n_page;
  }
  return entry;
}

void embed_pool_add(struct embed_pool *pool, struct embed_entry *entry) {
  struct embed_entry **bucket = bucket_of(pool, entry->hash);
  entry->state = EMBED_ABSENT;
  entry->n_holder = 1;
  entry->n_page = 0;
  entry->chain = *bucket;
  *bucket = entry;
}

static void pages_free(struct embed_pool *pool, struct embed_entry *entry) {
  while (entry->n_page > 0) pool->free[pool->n_free++] = entry->page[--entry->n_page];
}

bool embed_pool_drop(struct embed_pool *pool, struct embed_entry *entry) {
  assert(entry->n_holder > 0);
  if (--entry->n_holder > 0) return false;
  if (entry->state == EMBED_READY) {
    list_append(&pool->unused, entry);
    pool->n_unused_page += entry->n_page;
    return false;
  }
  if (entry->state == EMBED_PLACED) list_remove(&pool->work, entry);
  pages_free(pool, entry);
  chain_remove(pool, entry);
  return true;
}

/* --- claims ------------------------------------------------------------------------------------------------------- */

void embed_pool_claim(struct embed_pool *pool, struct embed_claim *claim) {
  struct embed_claim **at = &pool->first;
  while (*at && (*at)->priority <= claim->priority) at = &(*at)->next;
  claim->placed = false;
  claim->queued = true;
  claim->next = *at;
  if (!*at) pool->last = claim;
  *at = claim;
}

static void claim_leave_queue(struct embed_pool *pool, struct embed_claim *claim) {
  struct embed_claim **at = &pool->first, *before = NULL;
  while (*at != claim) {
    before = *at;
    at = &before->next;
  }
  *at = claim->next;
  if (pool->last == claim) pool->last = before;
  claim->queued = false;
}

void embed_pool_unclaim(struct embed_pool *pool, struct embed_claim *claim) {
  if (claim->queued) claim_leave_queue(pool, claim);
  if (claim->placed) pool->n_placed--; /* by whoever had one placed alone: the owner reads it */
  claim->placed = false;
}

/* Pages that its images still want; one that is named twice counts once. */
static int64_t pages_wanted(const struct embed_claim *claim) {
  int64_t pages = 0;
  for (int32_t i = 0; i < claim->n_entry; i++) {
    const struct embed_entry *entry = claim->entry[i];
    bool again = false;
    for (int32_t k = 0; k < i && !again; k++) again = claim->entry[k] == entry;
    if (entry->state == EMBED_ABSENT && !again) pages += embed_pages(entry->n_row);
  }
  return pages;
}

static void oldest_evict(struct embed_pool *pool, void (*evict)(struct embed_entry *entry)) {
  struct embed_entry *entry = pool->unused.first;
  list_remove(&pool->unused, entry);
  pool->n_unused_page -= entry->n_page;
  pool->evictions++;
  pages_free(pool, entry);
  chain_remove(pool, entry);
  evict(entry);
}

static bool work_before(const struct embed_entry *a, const struct embed_entry *b) {
  return a->priority != b->priority ? a->priority < b->priority : a->tag < b->tag;
}

static void work_insert(struct embed_list *work, struct embed_entry *entry) {
  struct embed_entry *before = work->last;
  while (before && work_before(entry, before)) before = before->previous;
  entry->previous = before;
  entry->next = before ? before->next : work->first;
  *(before ? &before->next : &work->first) = entry;
  *(entry->next ? &entry->next->previous : &work->last) = entry;
}

/* One that is to be computed already goes as early as the best who wants it. */
static void entry_place(struct embed_pool *pool, struct embed_entry *entry, const struct embed_claim *claim) {
  uint64_t *tag = &pool->tenant_tag[claim->tenant];
  if (entry->state == EMBED_PLACED && claim->priority < entry->priority) {
    list_remove(&pool->work, entry);
    entry->priority = claim->priority;
    work_insert(&pool->work, entry);
  }
  if (entry->state != EMBED_ABSENT) return;
  for (int32_t pages = embed_pages(entry->n_row); entry->n_page < pages; entry->n_page++)
    entry->page[entry->n_page] = pool->free[--pool->n_free];
  entry->state = EMBED_PLACED;
  if (*tag < pool->now) *tag = pool->now;
  entry->priority = claim->priority;
  entry->tag = *tag;
  *tag += (uint64_t)entry->n_row;
  work_insert(&pool->work, entry);
}

static bool claim_place(struct embed_pool *pool, struct embed_claim *claim, void (*evict)(struct embed_entry *entry)) {
  int64_t wanted = pages_wanted(claim);
  if (wanted > (int64_t)pool->n_free + pool->n_unused_page) return false;
  while (wanted > pool->n_free) oldest_evict(pool, evict);
  for (int32_t i = 0; i < claim->n_entry; i++) entry_place(pool, claim->entry[i], claim);
  claim_leave_queue(pool, claim);
  claim->placed = true;
  pool->n_placed++;
  return true;
}

void embed_pool_place(struct embed_pool *pool, void (*evict)(struct embed_entry *entry)) {
  while (pool->first && claim_place(pool, pool->first, evict)) continue;
  for (struct embed_claim *claim = pool->first, *next; claim && pool->n_placed == 0; claim = next) {
    next = claim->next;
    claim_place(pool, claim, evict);
  }
}

static bool claim_has_pages(const struct embed_claim *claim) {
  bool has = false;
  for (int32_t i = 0; i < claim->n_entry && !has; i++) has = claim->entry[i]->n_page > 0;
  return has;
}

struct embed_claim *embed_pool_stuck(const struct embed_pool *pool) {
  struct embed_claim *stuck = NULL;
  if (!pool->first || pool->n_placed > 0) return NULL;
  for (struct embed_claim *claim = pool->first->next; claim; claim = claim->next)
    if (claim_has_pages(claim)) stuck = claim;
  return stuck;
}

/* --- work --------------------------------------------------------------------------------------------------------- */

struct embed_entry *embed_pool_work(struct embed_pool *pool) {
  return pool->work.first;
}

void embed_pool_ready(struct embed_pool *pool, struct embed_entry *entry) {
  assert(entry->state == EMBED_PLACED);
  list_remove(&pool->work, entry);
  if (entry->tag > pool->now) pool->now = entry->tag;
  entry->state = EMBED_READY;
}
