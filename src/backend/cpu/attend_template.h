/* Attention over the paged cache, written once for all instruction sets: on the primitives of vector_*.h, and on the
 * products of a tile (attend_vectors_template.h, or a matrix unit's).
 *
 * A query walks the tiles of 64 absolute positions that it sees, in ascending order, whatever the block size: scores,
 * then the online softmax, then the weighted values. Queries of a work share the loads of a tile and nothing else, and
 * the keys that only another query of the work sees weigh an exact zero, so chunks and neighbours do not change a
 * query's bytes. Tokens of several rows share the tiles that their rows have in common, then each goes on alone. */

/* A work under way. */
struct attention {
  const struct attend_work *work;
  struct attend_state state;
  struct tile_operands operands;
};

static int int_min(int a, int b) { return a < b ? a : b; }
static int int_max(int a, int b) { return a > b ? a : b; }

static bool sees_tile(const struct attend_work *work, int token, int start) {
  return work->first[token] < start + KEY_TILE && work->last[token] >= start && work->first[token] <= work->last[token];
}

/* The tokens of [begin, end) between the first and the last that see anything of the tile at `start`, and the keys that
 * any of them sees; false: none. */
static bool tile_tokens(const struct attend_work *work, int *begin, int *end, struct tile_span *span) {
  while (*begin < *end && !sees_tile(work, *begin, span->start)) ++*begin;
  while (*end > *begin && !sees_tile(work, *end - 1, span->start)) --*end;
  span->low = KEY_TILE, span->high = 0;
  for (int t = *begin; t < *end; t++) {
    if (!sees_tile(work, t, span->start)) continue;
    span->low = int_min(span->low, int_max(work->first[t] - span->start, 0));
    span->high = int_max(span->high, int_min(work->last[t] - span->start + 1, KEY_TILE));
  }
  span->first = (size_t)*begin * (size_t)work->n_head;
  span->n_query = (*end - *begin) * work->n_head;
  return *begin < *end;
}

/* What a token sees of the tile becomes weights. */
static void token_softmax(const struct attend_work *work, const struct attend_state *state, int token, int start,
                          int n_vector, const struct tile_scales *scales) {
  int low = work->first[token] - start, high = work->last[token] - start + 1;
  for (int h = 0; h < work->n_head; h++) {
    size_t query = (size_t)token * (size_t)work->n_head + (size_t)h;
    float step = work->slope ? work->slope[h] : 0;
    struct tile_bend bend = {work->softcap, step * (float)(start - work->last[token]), step, NULL};
    if (work->distance) bend.by_key = work->distance + (size_t)h * work->distances + (start - work->place - token);
    if (!sees_tile(work, token, start))
      softmax_skip(state, query, n_vector);
    else if (low <= 0 && high >= KEY_TILE)
      softmax_update(state, query, true, KEY_TILE / LANES, 0, KEY_TILE, bend, scales);
    else
      softmax_update(state, query, false, n_vector, low, high, bend, scales);
  }
}

/* Tokens [begin, end) against the tile at position `start` of a KV head that is theirs, of which `left` positions are
 * seen from there on. */
static void tile_attend(const struct attention *a, const struct kv_head *kv, int begin, int end, int start, int left) {
  struct tile_span span = {.kv = kv, .start = start, .ahead = int_min(left, 2 * KEY_TILE)};
  struct tile_view view;
  struct tile_scales scales;
  bool coded = kv_is_coded(kv->layout->dtype);
  if (!tile_tokens(a->work, &begin, &end, &span)) return;
  tile_view_init(&a->operands, &span, &view);
  if (coded) scales_read(kv, start, span.low, span.high, &scales);
  tile_scores(&a->operands, &a->state, &span, &view);
  for (int t = begin; t < end; t++)
    token_softmax(a->work, &a->state, t, start, (span.high + LANES - 1) / LANES, coded ? &scales : NULL);
  tile_values(&a->operands, &a->state, &span, &view);
}

/* Tokens [begin, end) against the positions that they see of [from, to) of a KV head that is theirs. */
static void span_attend(const struct attention *a, const struct kv_head *kv, int begin, int end, int from, int to) {
  int low = to, high = from;
  for (int t = begin; t < end; t++) {
    low = int_min(low, int_max(a->work->first[t], from));
    high = int_max(high, int_min(a->work->last[t], to - 1) + 1);
  }
  for (int start = low / KEY_TILE * KEY_TILE; start < high; start += KEY_TILE)
    tile_attend(a, kv, begin, end, start, high - start);
}

static void attend(const struct attend_work *work) {
  float *scratch = work->scratch;
  struct attention a = {.work = work, .state = state_start(work, &scratch)};
  a.operands = operands_start(work, &a.state, &scratch);
  span_attend(&a, &work->kv, 0, work->n_token, 0, work->shared);
  if (work->shared != SHARED_ALL)
    for (int t = 0; t < work->n_token; t++) {
      struct kv_head own = work->kv;
      own.block = work->block[t];
      span_attend(&a, &own, t, t + 1, work->shared, SHARED_ALL);
    }
  state_finish(work, &a.state);
}
