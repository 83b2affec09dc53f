/* Rows of the embedding pool: who gets them, who waits, what is forgotten first; a random walk with every page counted;
 * the encoder's share beside streams. */
#include "schedule/embed_pool.h"
#include "schedule/encoder_pace.h"
#include "schedule_fixture.h"

enum { PAGES_MOST = 8 };

static struct embed_entry *evicted[64];
static int n_evicted;

static void evict_note(struct embed_entry *entry) { evicted[n_evicted++ % 64] = entry; }
static void nothing(struct embed_entry *entry) { (void)entry; }

struct picture {
  struct embed_entry entry;
  int32_t page[PAGES_MOST];
};

static struct embed_entry *picture_make(struct picture *picture, uint64_t hash, int32_t pages) {
  *picture = (struct picture){.entry = {.hash = {hash, 1}, .n_row = pages * EMBED_PAGE - 3}};
  picture->entry.page = picture->page;
  return &picture->entry;
}

/* Everything that has pages is encoded. */
static void work_do(struct embed_pool *pool) {
  for (struct embed_entry *entry; (entry = embed_pool_work(pool));) embed_pool_ready(pool, entry);
}

static void test_shared(void **state) {
  (void)state;
  struct embed_pool pool;
  struct picture a;
  struct embed_entry *entry = picture_make(&a, 1, 2), *named[1] = {entry};
  struct embed_claim one = {.entry = named, .n_entry = 1}, two = {.entry = named, .n_entry = 1};
  assert_true(embed_pool_init(&pool, 4 * EMBED_PAGE));
  assert_null(embed_pool_find(&pool, entry->hash));
  embed_pool_add(&pool, entry);
  assert_ptr_equal(embed_pool_find(&pool, entry->hash), entry); /* before it is computed */
  embed_pool_claim(&pool, &one);
  embed_pool_claim(&pool, &two);
  embed_pool_place(&pool, evict_note);
  assert_true(one.placed && two.placed);
  assert_int_equal(pool.n_free, 2);
  assert_ptr_equal(embed_pool_work(&pool), entry);
  assert_int_equal(embed_row(entry, 0), entry->page[0] * EMBED_PAGE);
  assert_int_equal(embed_row(entry, EMBED_PAGE + 5), entry->page[1] * EMBED_PAGE + 5);
  work_do(&pool);
  assert_false(embed_pool_drop(&pool, entry));
  assert_false(embed_pool_drop(&pool, entry)); /* kept, though nobody holds it */
  assert_ptr_equal(embed_pool_find(&pool, entry->hash), entry);
  assert_int_equal(entry->state, EMBED_READY);
  assert_int_equal(pool.hits, 2);
  assert_int_equal(pool.misses, 1);
  embed_pool_release_all(&pool, nothing);
}

/* An image that waits to be computed goes as early as the best who wants it. */
static void test_better_priority(void **state) {
  (void)state;
  struct embed_pool pool;
  struct picture a, b;
  struct embed_entry *first[1] = {picture_make(&a, 1, 1)}, *second[1] = {picture_make(&b, 2, 1)};
  struct embed_claim early = {.entry = first, .n_entry = 1, .priority = 3},
                     late = {.entry = second, .n_entry = 1, .priority = 5},
                     worse = {.entry = second, .n_entry = 1, .priority = 7},
                     best = {.entry = second, .n_entry = 1, .priority = 1};
  assert_true(embed_pool_init(&pool, 4 * EMBED_PAGE));
  embed_pool_add(&pool, first[0]);
  embed_pool_add(&pool, second[0]);
  embed_pool_claim(&pool, &early);
  embed_pool_claim(&pool, &late);
  embed_pool_claim(&pool, &worse);
  embed_pool_place(&pool, evict_note);
  assert_ptr_equal(embed_pool_work(&pool), first[0]);
  embed_pool_claim(&pool, &best);
  embed_pool_place(&pool, evict_note);
  assert_true(best.placed);
  assert_ptr_equal(embed_pool_work(&pool), second[0]);
  assert_ptr_equal(second[0]->next, first[0]);
  assert_null(first[0]->next);
  work_do(&pool);
  embed_pool_release_all(&pool, nothing);
}

/* What nobody wants any more before it is computed leaves nothing. */
static void test_dropped_early(void **state) {
  (void)state;
  struct embed_pool pool;
  struct picture a;
  struct embed_entry *entry = picture_make(&a, 1, 2), *named[1] = {entry};
  struct embed_claim claim = {.entry = named, .n_entry = 1};
  assert_true(embed_pool_init(&pool, 2 * EMBED_PAGE));
  for (int placed = 0; placed < 2; placed++) {
    embed_pool_add(&pool, entry);
    embed_pool_claim(&pool, &claim);
    if (placed) embed_pool_place(&pool, evict_note);
    embed_pool_unclaim(&pool, &claim);
    assert_true(embed_pool_drop(&pool, entry));
    assert_null(embed_pool_find(&pool, entry->hash));
    assert_null(embed_pool_work(&pool));
    assert_int_equal(pool.n_free, 2);
    assert_null(pool.first);
    assert_null(pool.last);
  }
  embed_pool_release_all(&pool, nothing);
}

/* Two requests of two images each, where there is room for two: the first gets both, whoever else waits. */
static void test_all_or_nothing(void **state) {
  (void)state;
  struct embed_pool pool;
  struct picture p[5];
  struct embed_entry *first[2] = {picture_make(&p[0], 1, 1), picture_make(&p[1], 2, 1)};
  struct embed_entry *second[2] = {picture_make(&p[2], 3, 1), picture_make(&p[3], 4, 1)};
  struct embed_entry *third[2] = {picture_make(&p[4], 5, 1), &p[4].entry}; /* named twice */
  struct embed_claim one = {.entry = first, .n_entry = 2}, two = {.entry = second, .n_entry = 2},
                     three = {.entry = third, .n_entry = 2};
  assert_true(embed_pool_init(&pool, 3 * EMBED_PAGE));
  for (int i = 0; i < 5; i++) embed_pool_add(&pool, &p[i].entry);
  embed_pool_find(&pool, p[4].entry.hash);
  embed_pool_claim(&pool, &one);
  embed_pool_claim(&pool, &two);
  embed_pool_claim(&pool, &three);
  embed_pool_place(&pool, evict_note);
  assert_true(one.placed);
  assert_false(two.placed);
  assert_false(three.placed); /* there is a page for it, but it does not overtake */
  work_do(&pool);
  embed_pool_drop(&pool, first[0]);
  embed_pool_drop(&pool, first[1]);
  n_evicted = 0;
  embed_pool_place(&pool, evict_note);
  assert_true(two.placed);
  assert_true(three.placed);
  assert_int_equal(n_evicted, 2); /* the longest unused first */
  assert_ptr_equal(evicted[0], first[0]);
  assert_int_equal(pool.n_free, 0);
  embed_pool_release_all(&pool, nothing);
}

static void test_used_stay(void **state) {
  (void)state;
  struct embed_pool pool;
  struct picture p[3];
  struct embed_entry *a[1] = {picture_make(&p[0], 1, 1)}, *b[1] = {picture_make(&p[1], 2, 1)},
                     *c[1] = {picture_make(&p[2], 3, 1)};
  struct embed_claim claims[3] = {{.entry = a, .n_entry = 1}, {.entry = b, .n_entry = 1}, {.entry = c, .n_entry = 1}};
  assert_true(embed_pool_init(&pool, 2 * EMBED_PAGE));
  for (int i = 0; i < 2; i++) {
    embed_pool_add(&pool, &p[i].entry);
    embed_pool_claim(&pool, &claims[i]);
    embed_pool_place(&pool, evict_note);
    work_do(&pool);
    embed_pool_drop(&pool, &p[i].entry);
  }
  assert_non_null(embed_pool_find(&pool, a[0]->hash)); /* used again, and held */
  embed_pool_add(&pool, c[0]);
  embed_pool_claim(&pool, &claims[2]);
  n_evicted = 0;
  embed_pool_place(&pool, evict_note);
  assert_int_equal(n_evicted, 1);
  assert_ptr_equal(evicted[0], b[0]);
  assert_non_null(embed_pool_find(&pool, a[0]->hash));
  embed_pool_release_all(&pool, nothing);
}

/* Who waits holds what it has found here: those who wait for each other's pages overtake, or the last gives way. */
static void test_waiting_hold(void **state) {
  (void)state;
  struct embed_pool pool;
  struct picture p[5];
  struct embed_entry *big[1] = {picture_make(&p[0], 1, 3)};
  struct embed_entry *a[2] = {picture_make(&p[1], 2, 2), picture_make(&p[2], 3, 1)};
  struct embed_entry *b[2] = {picture_make(&p[3], 4, 2), picture_make(&p[4], 5, 2)};
  struct embed_claim one = {.entry = a, .n_entry = 1}, other = {.entry = b, .n_entry = 1};
  assert_true(embed_pool_init(&pool, 4 * EMBED_PAGE));
  struct embed_claim *sent[2] = {&one, &other};
  for (int i = 0; i < 2; i++) { /* earlier requests leave theirs behind */
    embed_pool_add(&pool, sent[i]->entry[0]);
    embed_pool_claim(&pool, sent[i]);
    embed_pool_place(&pool, evict_note);
    work_do(&pool);
    embed_pool_unclaim(&pool, sent[i]);
    embed_pool_drop(&pool, sent[i]->entry[0]);
  }
  struct embed_claim first = {.entry = big, .n_entry = 1}, second = {.entry = a, .n_entry = 2},
                     third = {.entry = b, .n_entry = 2};
  embed_pool_add(&pool, big[0]);
  assert_non_null(embed_pool_find(&pool, a[0]->hash));
  assert_non_null(embed_pool_find(&pool, b[0]->hash));
  embed_pool_add(&pool, a[1]);
  embed_pool_add(&pool, b[1]);
  embed_pool_claim(&pool, &first);
  embed_pool_claim(&pool, &second);
  embed_pool_claim(&pool, &third);
  embed_pool_place(&pool, evict_note);
  assert_false(first.placed || second.placed || third.placed); /* each page is held by one who waits */
  assert_ptr_equal(embed_pool_stuck(&pool), &third);
  embed_pool_unclaim(&pool, &third);
  embed_pool_drop(&pool, b[0]);
  assert_true(embed_pool_drop(&pool, b[1]));
  embed_pool_place(&pool, evict_note);
  assert_false(first.placed);
  assert_true(second.placed); /* which overtakes */
  assert_null(embed_pool_stuck(&pool));
  work_do(&pool);
  embed_pool_unclaim(&pool, &second);
  embed_pool_drop(&pool, a[0]);
  embed_pool_drop(&pool, a[1]);
  embed_pool_place(&pool, evict_note);
  assert_true(first.placed);
  embed_pool_release_all(&pool, nothing);
}

/* --- a walk --------------------------------------------------------------------------------------------------------
 */

enum { WALK_PAGES = 12, WALK_PICTURES = 20, WALK_CLAIMS = 6, WALK_STEPS = 200000 };

struct walk {
  struct embed_pool pool;
  struct picture picture[WALK_PICTURES];
  bool known[WALK_PICTURES]; /* the pool has it */
  struct embed_entry *entry[WALK_CLAIMS][3];
  struct embed_claim claim[WALK_CLAIMS];
  bool live[WALK_CLAIMS];
  uint64_t random;
};

static struct walk walk;

static uint32_t draw(uint32_t below) {
  walk.random = walk.random * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(walk.random >> 33) % below;
}

static void walk_evict(struct embed_entry *entry) { walk.known[entry->hash.low] = false; }

static void walk_begin(int i) {
  struct embed_claim *claim = &walk.claim[i];
  *claim = (struct embed_claim){.entry = walk.entry[i]};
  int32_t pages = 0;
  for (int n = 1 + (int)draw(3); claim->n_entry < n;) {
    uint32_t which = draw(WALK_PICTURES);
    struct hash128 hash = {which, 1};
    pages += 1 + (int32_t)which % 4;
    if (pages > WALK_PAGES) break;
    struct embed_entry *found = embed_pool_find(&walk.pool, hash);
    assert_int_equal(found != NULL, walk.known[which]);
    if (!found) {
      found = picture_make(&walk.picture[which], which, 1 + (int32_t)which % 4);
      embed_pool_add(&walk.pool, found);
      walk.known[which] = true;
    }
    claim->entry[claim->n_entry++] = found;
  }
  embed_pool_claim(&walk.pool, claim);
  walk.live[i] = true;
}

static void walk_end(int i) {
  struct embed_claim *claim = &walk.claim[i];
  embed_pool_unclaim(&walk.pool, claim);
  for (int k = 0; k < claim->n_entry; k++)
    if (embed_pool_drop(&walk.pool, claim->entry[k])) walk.known[claim->entry[k]->hash.low] = false;
  walk.live[i] = false;
}

/* Each page is free or one image's. */
static void walk_check(void) {
  bool seen[WALK_PAGES] = {false};
  int pages = 0;
  for (int i = 0; i < walk.pool.n_free; i++) seen[walk.pool.free[i]] = true;
  pages = walk.pool.n_free;
  for (int p = 0; p < WALK_PICTURES; p++) {
    const struct embed_entry *entry = &walk.picture[p].entry;
    if (!walk.known[p]) continue;
    assert_int_equal(entry->n_page, entry->state == EMBED_ABSENT ? 0 : embed_pages(entry->n_row));
    for (int k = 0; k < entry->n_page; k++, pages++) {
      assert_false(seen[entry->page[k]]);
      seen[entry->page[k]] = true;
    }
  }
  assert_int_equal(pages, WALK_PAGES);
  for (int i = 0; i < WALK_CLAIMS; i++)
    for (int k = 0; walk.live[i] && walk.claim[i].placed && k < walk.claim[i].n_entry; k++)
      assert_int_not_equal(walk.claim[i].entry[k]->state, EMBED_ABSENT);
}

static void test_walk(void **state) {
  (void)state;
  walk.random = 1;
  assert_true(embed_pool_init(&walk.pool, WALK_PAGES * EMBED_PAGE));
  for (int step = 0; step < WALK_STEPS; step++) {
    int i = (int)draw(WALK_CLAIMS);
    switch (draw(3)) {
    case 0: embed_pool_place(&walk.pool, walk_evict); break;
    case 1:
      if (embed_pool_work(&walk.pool)) embed_pool_ready(&walk.pool, embed_pool_work(&walk.pool));
      break;
    default: walk.live[i] ? walk_end(i) : walk_begin(i); break;
    }
    walk_check();
  }
  for (int i = 0; i < WALK_CLAIMS; i++)
    if (walk.live[i]) walk_end(i);
  walk_check();
  assert_int_equal(walk.pool.n_free + walk.pool.n_unused_page, WALK_PAGES);
  assert_true(walk.pool.evictions > 1000);
  embed_pool_release_all(&walk.pool, nothing);
}

/* --- the encoder's share -------------------------------------------------------------------------------------------
 */

/* Beside steps of 10 ms with 4 ms granted, in slices that go over by up to 3 ms: the encoder has its share, no more,
 * and nothing is saved up while there is no work. */
static void test_pace(void **state) {
  (void)state;
  struct encoder_pace pace = {0};
  double encoder_us = 0, longest_us = 0;
  assert_true(encoder_pace_slice(&pace, -1) == ENCODER_ALONE_US);
  for (int i = 0; i < 500; i++) encoder_pace_grant(&pace, 4000);
  for (int i = 0; i < 1000; i++) {
    double slice_us = encoder_pace_slice(&pace, 4000), ran_us = slice_us > 0 ? slice_us + i % 4 * 1000 : 0;
    assert_true(slice_us <= 4000);
    if (slice_us > 0) encoder_pace_ran(&pace, 4000, ran_us);
    if (ran_us > longest_us) longest_us = ran_us;
    encoder_us += ran_us;
    encoder_pace_grant(&pace, 4000);
  }
  assert_true(encoder_us > 3900.0 * 1000 && encoder_us <= 4000.0 * 1000 + 3000);
  assert_true(longest_us <= 7000);
  encoder_pace_ran(&pace, -1, 20000); /* nobody streams: nothing is owed */
  assert_true(pace.credit_us == 0);
}

/* Runs that cannot be cut are paid for before the next. */
static void test_pace_uncut(void **state) {
  (void)state;
  struct encoder_pace pace = {0};
  double encoder_us = 0;
  assert_int_equal(encoder_pace_tokens(&pace, 4000, false, 100, 400), 400); /* nothing is known */
  encoder_pace_learn(&pace, 100, 30000);
  for (int i = 0; i < 1000; i++) {
    encoder_pace_grant(&pace, 4000);
    if (encoder_pace_slice(&pace, 4000) <= 0) continue;
    int32_t tokens = encoder_pace_tokens(&pace, 4000, false, 100, 400);
    assert_int_equal(tokens, 100);
    encoder_pace_ran(&pace, 4000, 30000);
    encoder_us += 30000;
  }
  assert_true(encoder_us > 3900.0 * 1000 && encoder_us < 4100.0 * 1000);
  assert_int_equal(encoder_pace_tokens(&pace, 4000, true, 100, 4000), ENCODER_BESIDE);
  assert_int_equal(encoder_pace_tokens(&pace, 4000, true, 2000, 4000), 2000);
  assert_int_equal(encoder_pace_tokens(&pace, -1, true, 100, 4000), 4000);
}

/* --- prefixes ------------------------------------------------------------------------------------------------------
 */

static int cached_of(struct schedule *s, int32_t *tokens, const struct sequence_span *span, int n_span,
                     const int32_t *embed) {
  struct sequence q = sequence_make(tokens, 19, 2);
  q.span = span;
  q.n_span = n_span;
  q.embed = embed;
  schedule_add(s, &q, 0);
  while (*step_run(s, 0)) continue;
  assert_int_equal(q.state, SEQUENCE_OUT);
  return q.n_cached;
}

/* Equal ids, other images: blocks are shared up to the first that has something else in it. */
static void test_prefixes(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 64, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[TOKENS_MAX];
  struct sequence_span cat = {6, 7, {1, 1}}, dog = {6, 7, {2, 1}}, later = {7, 7, {1, 1}};
  assert_int_equal(cached_of(s, tokens, &cat, 1, NULL), 0);
  assert_int_equal(cached_of(s, tokens, &cat, 1, NULL), 16);
  assert_int_equal(cached_of(s, tokens, &dog, 1, NULL), 4); /* the block before it */
  assert_int_equal(cached_of(s, tokens, NULL, 0, NULL), 4);
  assert_int_equal(cached_of(s, tokens, &later, 1, NULL), 4); /* the same image a token further on */
  assert_int_equal(cached_of(s, tokens, &dog, 1, NULL), 16);
  schedule_free(s);
}

/* Nobody waits for a running prompt of another image. */
static void test_no_wait_for_another(void **state) {
  (void)state;
  struct limits limits = limits_make(4, 20, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[2][TOKENS_MAX];
  struct sequence_span cat = {0, 30, {1, 1}}, dog = {0, 30, {2, 1}};
  struct sequence a = sequence_make(tokens[0], 32, 2), b = sequence_make(tokens[1], 32, 1);
  a.span = &cat;
  b.span = &dog;
  a.n_span = b.n_span = 1;
  schedule_add(s, &a, 0);
  schedule_add(s, &b, 0);
  TRACES(s, "0+20", "20+12! 0+8");
  while (*step_run(s, 0)) continue;
  assert_int_equal(b.n_cached, 0);
  schedule_free(s);
}

/* Rows in the batch, through chunks; ids beside them as they are. */
static void test_rows(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 4, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  int32_t tokens[TOKENS_MAX], embed[10] = {-1, -1, 40, 41, 42, 90, 91, -1, -1, -1};
  struct sequence q = sequence_make(tokens, 10, 2);
  q.embed = embed;
  q.unready = true;
  schedule_add(s, &q, 0);
  assert_null(schedule_next(s, 0));
  schedule_ready(s, &q);
  for (int at = 0; at < 10; at += 4) {
    const struct batch *batch = schedule_next(s, 0);
    bool any = false;
    for (int i = 0; i < batch->n_token; i++) any |= embed[at + i] >= 0;
    assert_int_equal(batch->embed != NULL, any);
    for (int i = 0; batch->embed && i < batch->n_token; i++) assert_int_equal(batch->embed[i], embed[at + i]);
    for (int i = 0; i < batch->n_token; i++) assert_int_equal(batch->token[i], at + i);
    step_finish(s, batch);
  }
  assert_null(schedule_next(s, 0)->embed); /* a generated token has none */
  schedule_abandon(s);
  assert_true(schedule_remove(s, &q));
  schedule_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_better_priority),
      cmocka_unit_test(test_shared),
      cmocka_unit_test(test_dropped_early),
      cmocka_unit_test(test_all_or_nothing),
      cmocka_unit_test(test_used_stay),
      cmocka_unit_test(test_waiting_hold),
      cmocka_unit_test(test_walk),
      cmocka_unit_test(test_pace),
      cmocka_unit_test(test_pace_uncut),
      cmocka_unit_test(test_prefixes),
      cmocka_unit_test(test_no_wait_for_another),
      cmocka_unit_test(test_rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
