/* Rows of a request's images: claimed, waited for, and given back; those that are not asked for, because the cache has
 * their tokens. The step thread's alone, but for dropping what was never claimed. */
#include "base/clock.h"
#include "runtime/runtime_state.h"

void request_images_drop(struct request_images *images) {
  if (!images->store) return;
  image_store_unclaim(images->store, &images->claim);
  for (int32_t i = 0; i < images->claim.n_entry; i++)
    image_store_drop(images->store, (struct stored_image *)(void *)images->claim.entry[i]);
  images->claim.n_entry = 0;
}

/* Rows of images become rows of the pool; of those that were skipped none is asked for. */
static void rows_settle(struct request_images *images, int32_t own_row, int32_t n_prompt) {
  for (int32_t k = 0; k < n_prompt; k++) images->row[k] = EMBED_NONE;
  for (int32_t i = images->n_skipped; i < images->n; i++) {
    const struct sequence_span *span = &images->layout.span[i];
    for (int32_t k = span->first; k < span->first + span->count; k++) {
      int32_t row = images->layout.embed[k];
      images->row[k] = row == EMBED_OWN ? own_row : row == EMBED_NONE ? row : embed_row(images->entry[i], row);
    }
  }
}

static bool images_are_ready(const struct embed_claim *claim) {
  bool ready = claim->placed || claim->n_entry == 0;
  for (int32_t i = 0; ready && i < claim->n_entry; i++) ready = claim->entry[i]->state == EMBED_READY;
  return ready;
}

/* It has ended, and no step names its rows: whoever does not read his answer to the end keeps none from others. */
static bool rows_unwanted(const struct request *r) {
  bool scheduled = !request_ended(r);
  for (int i = 0; i < r->n_generation && !scheduled; i++) scheduled = r->generation[i].scheduled;
  return !scheduled;
}

static int32_t span_end(const struct request_images *images, int32_t i) {
  return images->layout.span[i].first + images->layout.span[i].count;
}

/* --- rows that are not there -------------------------------------------------------------------------------------- */

/* Whose prompt is in the cache needs no rows, unless it has to be computed again: then the request has its images
 * prepared once more. One that is alone; what siblings share is not told here. */
static bool may_be_blind(const struct request *r) {
  return r->n_generation == 1 && r->n_beam == 0 && !r->generation[0].sequence.scores_prompt;
}

/* The first images whose tokens are all in the cache are not encoded for this request, if one of them would have to be.
 */
static void found_skip(struct runtime *rt, struct request *r) {
  struct request_images *images = &r->images;
  struct sequence *q = &r->generation[0].sequence;
  bool known = r->adapters.n == 0 || r->adapters.ready, absent = false;
  int32_t found = may_be_blind(r) && known && !images->whole ? schedule_found(rt->schedule, q) : 0, n = 0;
  for (; n < images->n && span_end(images, n) <= found; n++) absent |= images->entry[n]->state == EMBED_ABSENT;
  if (!absent) return;
  for (int32_t i = 0; i < n; i++) image_store_drop(images->store, (struct stored_image *)(void *)images->entry[i]);
  images->n_skipped = n;
  images->claim.entry += n;
  images->claim.n_entry -= n;
  q->n_blind = span_end(images, n - 1);
}

/* Nobody reads its answer: others may have its pages. */
static bool rows_idle(const struct request *r) {
  const struct sequence *q = &r->generation[0].sequence;
  bool computed = q->state == SEQUENCE_RUNNING && q->n_step == 0 && q->length >= q->n_prompt;
  return q->paused && may_be_blind(r) && (computed || (q->state == SEQUENCE_WAITING && q->returning));
}

static void rows_release(struct request *r) {
  r->generation[0].sequence.n_blind = span_end(&r->images, r->images.n - 1);
  request_images_drop(&r->images);
}

/* False: it is live no longer. */
static bool blind_retreat(struct runtime *rt, struct request *r) {
  r->images.whole = true;
  r->generation[0].sequence.n_blind = 0;
  request_images_drop(&r->images);
  return !request_retreat(rt, r);
}

/* --- claims ------------------------------------------------------------------------------------------------------- */

static void images_claim(struct runtime *rt, struct request *r) {
  struct request_images *images = &r->images;
  images->claimed = true;
  found_skip(rt, r);
  images->claim.owner = r;
  images->claim.priority = r->generation[0].sequence.priority;
  images->claim.tenant = r->generation[0].sequence.tenant;
  if (images->claim.n_entry > 0) image_store_claim(images->store, &images->claim);
  runtime_metrics_images(&rt->metrics, images);
}

bool request_images_review(struct runtime *rt, struct request *r) {
  struct request_images *images = &r->images;
  if (images->n == 0) return true;
  if ((images->source || images->claim.n_entry > 0) && rows_unwanted(r)) {
    request_images_drop(images);
    request_images_forget(images);
  }
  if (r->error.code || request_ended(r)) return true;
  if (r->generation[0].sequence.blind) return blind_retreat(rt, r);
  if (images->ready && images->claim.n_entry > 0 && rows_idle(r)) rows_release(r);
  if (images->ready) return true;
  if (images->again) return !image_store_moves(images->store) || !request_retreat(rt, r);
  if (!images->claimed) images_claim(rt, r);
  if (!images_are_ready(&images->claim)) return true;
  rows_settle(images, rt->engine->own_row, r->generation[0].sequence.n_prompt);
  images->ready = true;
  if (!may_be_blind(r)) request_images_forget(images);
  request_settle(rt, r);
  return true;
}

/* Requests that wait hold what they have found in the pool. Where that leaves nobody enough, the last lets go of it,
 * and has its images prepared again once others go on. */
static bool stuck_resolve(struct runtime *rt) {
  struct embed_claim *claim = image_store_stuck(rt->images);
  if (!claim) return false;
  struct request *r = claim->owner;
  request_images_drop(&r->images);
  r->images.again = true;
  return true;
}

bool images_turn(struct runtime *rt, bool *due, struct error *error) {
  struct encoder_turn turn = {0};
  *due = false;
  if (!rt->images) return true;
  double granted_us = rt->streams ? schedule_aside_us(rt->schedule) : -1;
  do image_store_look(rt->images, granted_us, &turn);
  while (!turn.due && stuck_resolve(rt));
  *due = turn.due;
  if (!turn.runs) return true;
  if (!steps_collect(rt, error) || !image_store_run(rt->images, granted_us, &turn, error)) return false;
  if (turn.us) {
    atomic_store(&rt->progress_us, clock_us());
    schedule_aside(rt->schedule, (double)turn.us);
  }
  if (turn.done) runtime_metrics_encoder(&rt->metrics, turn.run_us);
  return true;
}
