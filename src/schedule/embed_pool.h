/* Who has which rows of the embedding pool: a pure state machine over images by the hash of their content, as the
 * schedule is one over sequences. Rows are given in pages, so that images of any size fill the pool without gaps. A
 * request claims all of its images at once, by priority and then in the order of arrival, or two could wait for each
 * other's. What nobody
 * holds stays until its pages are wanted: the cache. One caller at a time. */
#ifndef SPATE_SCHEDULE_EMBED_POOL_H
#define SPATE_SCHEDULE_EMBED_POOL_H

#include "base/hash.h"
#include "schedule/schedule.h"

#include <stdbool.h>

enum { EMBED_PAGE = 64, EMBED_BUCKETS = 1024 }; /* rows of a page; chains of the table by hash */

/* ABSENT: no pages yet. PLACED: its rows are its own, and to be computed. READY: they are. */
enum embed_state { EMBED_ABSENT, EMBED_PLACED, EMBED_READY };

/* An image. Belongs to whoever added it, and stays in place until the pool hands it back. */
struct embed_entry {
  struct hash128 hash;
  int32_t n_row; /* at least 1 */

  /* the pool's */
  enum embed_state state;
  int32_t n_holder;
  int32_t n_page, *page;     /* [n_page]; the owner's memory, of embed_pages(n_row) places */
  struct embed_entry *chain; /* of its bucket */
  int32_t priority;          /* PLACED: which goes first, */
  uint64_t tag;              /* and of those of one priority the lower */
  struct embed_entry *previous,
      *next; /* READY and held by nobody: from the longest unused on. PLACED: to be computed */
};

/* The images of a request, of which one may be named twice. The owner's, until embed_pool_release. */
struct embed_claim {
  struct embed_entry **entry; /* [n_entry] held */
  int32_t n_entry;
  int32_t priority, tenant; /* lower priorities go first; tenants of one, [0, SCHEDULE_TENANTS), by turns */
  bool placed;              /* each has its pages */
  bool queued;              /* for pages */
  struct embed_claim *next; /* who waits behind it */
  void *owner;              /* the caller's */
};

struct embed_list {
  struct embed_entry *first, *last;
};

struct embed_pool {
  int32_t n_page, n_free;
  int32_t *free; /* stack */
  struct embed_entry *bucket[EMBED_BUCKETS];
  struct embed_list unused, work;
  int32_t n_unused_page;
  struct embed_claim *first, *last;           /* that wait for pages */
  int32_t n_placed;                           /* claims that have them */
  uint64_t now, tenant_tag[SCHEDULE_TENANTS]; /* rows: start-time fair queueing of the work of tenants */
  uint64_t hits, misses, evictions;           /* of embed_pool_find; of images */
};

static inline int32_t embed_pages(int32_t n_row) { return (n_row + EMBED_PAGE - 1) / EMBED_PAGE; }

/* Row i of an image that has pages. */
static inline int32_t embed_row(const struct embed_entry *entry, int32_t i) {
  return entry->page[i / EMBED_PAGE] * EMBED_PAGE + i % EMBED_PAGE;
}

/* False when there is no memory. A last part of a page is left unused. */
bool embed_pool_init(struct embed_pool *pool, int32_t n_row);
void embed_pool_release_all(struct embed_pool *pool, void (*drop)(struct embed_entry *entry));

/* The image of this content, held once more; NULL: it is not here. */
struct embed_entry *embed_pool_find(struct embed_pool *pool, struct hash128 hash);

/* One that embed_pool_find has not found, held once. */
void embed_pool_add(struct embed_pool *pool, struct embed_entry *entry);

/* One that is held, held once more. */
static inline void embed_pool_hold(struct embed_entry *entry) { entry->n_holder++; }

/* Holds one less. True: it has nothing to show and nobody wants it: the owner's again. */
bool embed_pool_drop(struct embed_pool *pool, struct embed_entry *entry);

/* The images, all of them held, wait for pages; together they need no more than there are. */
void embed_pool_claim(struct embed_pool *pool, struct embed_claim *claim);
/* It waits no longer; what it holds is dropped by its owner, one by one. */
void embed_pool_unclaim(struct embed_pool *pool, struct embed_claim *claim);

/* Gives pages to the claims that wait, as far as they go, evicting what nobody holds. Calls evict with what is the
 * owner's again. In the order of arrival, unless all pages are in the hands of those who wait. */
void embed_pool_place(struct embed_pool *pool, void (*evict)(struct embed_entry *entry));

/* After embed_pool_place: images that claims have found here are held while these wait, and where nobody else has pages
 * they may wait for each other for ever. The claim that gives way, the last that has some; NULL: they will go on. */
struct embed_claim *embed_pool_stuck(const struct embed_pool *pool);

/* The image that is to be computed first, its neighbours behind it; NULL: none is. By priority; tenants of one priority
 * get as many rows computed in turn (Goyal and others, Start-time Fair Queueing, 1996). */
struct embed_entry *embed_pool_work(struct embed_pool *pool);
void embed_pool_ready(struct embed_pool *pool, struct embed_entry *entry);

#endif
