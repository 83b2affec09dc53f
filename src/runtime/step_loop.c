/* The step thread: drain the mailbox, step, tell. After start-up it allocates nothing, and takes a lock only when a
 * request ends, an adapter is put into a slot or the program is parked. */
#include "base/clock.h"
#include "runtime/queue_review.h"
#include "runtime/request_search.h"
#include "runtime/runtime_state.h"

enum { IDLE_WAIT_MS = 200, STARVED_WAIT_MS = 20 };

/* --- the list of live requests ------------------------------------------------------------------------------------ */

static void live_add(struct runtime *rt, struct request *r) {
  r->previous = NULL;
  r->next = rt->live;
  if (rt->live) rt->live->previous = r;
  rt->live = r;
}

static void live_remove(struct runtime *rt, struct request *r) {
  *(r->previous ? &r->previous->next : &rt->live) = r->next;
  if (r->next) r->next->previous = r->previous;
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

/* Takes an ended generation out of the schedule; true when no step holds it any more. An engine that has stopped runs
 * none, and asks the schedule for none. */
static bool unscheduled(struct runtime *rt, struct generation *g) {
  bool stopped = atomic_load_explicit(&rt->failed, memory_order_relaxed);
  if (g->scheduled && (schedule_remove(rt->schedule, &g->sequence) || stopped)) g->scheduled = false;
  return !g->scheduled;
}

/* Tells what there is to tell; pauses the generation while its inbox is full. It is over after its last event, which is
 * told once, when no step holds it; its request is freed with the last of them: true. */
static bool generation_settle(struct runtime *rt, struct generation *g) {
  struct request *r = g->request;
  if (g->over || (g->ended && !unscheduled(rt, g))) return false;
  if (g->ended && request_ended(r))
    runtime_metrics_end(&rt->metrics, r, clock_us()); /* who reads it finds it counted */
  bool told = request_deliver_scores(r) && generation_deliver(g);
  if (g->scheduled && !g->ended) schedule_pause(rt->schedule, &g->sequence, !told);
  if (!g->ended || !told) return false;
  g->over = true;
  if (++r->n_over < r->n_generation) return false;
  live_remove(rt, r);
  request_table_leave(&rt->table, r);
  request_free(r);
  return true;
}

/* --- in ----------------------------------------------------------------------------------------------------------- */

static void request_start(struct runtime *rt, struct request *r) {
  if (r->error.code) {
    struct error error = r->error;
    request_fail(r, &error);
    return;
  }
  if (atomic_load(&r->cancelled)) { /* perhaps before it had tokens */
    request_end(r, FINISH_CANCELLED);
    return;
  }
  if (atomic_load(&r->place) == REQUEST_SHED) return; /* and live_review says so */
  for (int i = 0; i < r->n_generation; i++) {
    struct generation *g = &r->generation[i];
    if (g->sequence.n_before == 0) detokenizer_init(&g->detokenizer, rt->tokenizer, r->detokenize);
    g->scheduled = true;
  }
  schedule_add(rt->schedule, &r->generation[0].sequence, clock_us());
}

static void letters_take(struct runtime *rt) {
  struct letter *letter = mailbox_take(&rt->to_step);
  while (letter) {
    struct request *r = (struct request *)(void *)letter;
    letter = letter->next;
    live_add(rt, r);
    atomic_fetch_sub(&rt->metrics.arriving, 1);
    request_start(rt, r);
  }
}

void request_settle(struct runtime *rt, struct request *r) {
  bool adapted = r->adapters.n == 0 || r->adapters.ready, seen = r->images.n == 0 || r->images.ready;
  if (adapted && seen) schedule_ready(rt->schedule, &r->generation[0].sequence);
}

bool request_retreat(struct runtime *rt, struct request *r) {
  struct error error;
  r->images.claimed = r->images.ready = r->images.again = false;
  for (int i = 0; i < r->n_generation; i++) {
    struct generation *g = &r->generation[i];
    if (!g->scheduled) continue;
    g->sequence.n_before = g->sequence.n_token - g->sequence.n_prompt;
    g->sequence.unready = true;
    g->scheduled = !schedule_remove(rt->schedule, &g->sequence);
  }
  live_remove(rt, r);
  atomic_fetch_add(&rt->metrics.arriving, 1);
  if (image_store_queue(rt->images, r, request_image_turn(r), &error)) return true;
  atomic_fetch_sub(&rt->metrics.arriving, 1);
  live_add(rt, r);
  request_fail(r, &error);
  return false;
}

/* What is due for a request outside of a step: true when more is at once. */
static bool request_review(struct runtime *rt, struct request *r) {
  bool more = false;
  for (int i = 0, n = r->n_generation; i < n; i++) {
    struct generation *g = &r->generation[i];
    if (r->searched) more |= !request_search_tell(g);
    if ((g->ended || g->sequence.paused) && generation_settle(rt, g)) return more;
  }
  return more;
}

/* Cancelled, out of time, waiting to be told, shed, failed with the engine. True when there is more to tell at once. */
static bool live_review(struct runtime *rt, bool draining) {
  struct error failure = runtime_failure(rt);
  uint64_t now = clock_us();
  bool more = false;
  queue_rank(rt, now);
  if (failure.code && rt->images) image_store_break(rt->images);
  for (struct request *r = rt->live, *next; r; r = next) {
    next = r->next;
    if (draining) inbox_abandon(r->inbox);
    if (failure.code) request_fail(r, &failure);
    queue_review(rt, r, now);
    request_adapters_review(rt, r);
    if (!request_images_review(rt, r)) continue;
    if (draining || atomic_load_explicit(&r->cancelled, memory_order_relaxed)) request_end(r, FINISH_CANCELLED);
    more |= request_review(rt, r);
  }
  inbox_signal(&rt->inboxes);
  return more;
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

/* Its own numbers may have left their range, which is nobody else's matter, however often one asks so: a client would
 * stop the engine for all otherwise. */
static void spoilt_tell(struct request *r) {
  struct error error;
  if (request_ended(r)) return;
  error_set(&error, ERROR_INTERNAL,
            "The logits that were computed for this request are not finite numbers, so that no token can be drawn: its "
            "keys or values may have left the range of the KV cache's type; bf16 and fp32 have a wide one "
            "(--kv-cache-dtype).");
  request_fail(r, &error);
}

static void event_tell(struct runtime *rt, struct generation *g, const struct schedule_event *event, uint64_t now_us) {
  if (event->kind == EVENT_OUT) g->scheduled = false;
  if (event->kind == EVENT_OUT || g->ended) return;
  if (!request_table_begin(g->request)) return; /* shed while its first step ran: nothing of it is told */
  if (g->request->queued_tokens) request_table_recount(&rt->table, g->request, 0); /* it waits no longer */
  switch (event->kind) {
  case EVENT_SPOILT:
    probe_hear_request(&rt->probe, true);
    spoilt_tell(g->request);
    break;
  case EVENT_SCORE: request_score(g->request, event); break;
  case EVENT_BEAM: request_search_hear(rt->schedule, g, event); break;
  default:
    probe_hear_request(&rt->probe, false);
    runtime_metrics_token(&rt->metrics, g, now_us);
    if (event->kind == EVENT_VECTOR)
      request_hear_vector(g->request, &rt->engine->file.facts->encoder, event->vector);
    else
      generation_accept(g, event->token, event->logprob, event->top);
  }
}

static void events_tell(struct runtime *rt, const struct schedule_events *events, uint64_t now_us) {
  for (int i = 0; i < events->n_event; i++) {
    const struct sequence *sequence = events->event[i].sequence;
    if (sequence == &rt->probe.sequence) {
      probe_hear(rt, &events->event[i]);
      continue;
    }
    bool last = i + 1 == events->n_event || events->event[i + 1].sequence != sequence;
    event_tell(rt, sequence->owner, &events->event[i], now_us);
    if (last) generation_settle(rt, sequence->owner);
  }
  inbox_signal(&rt->inboxes);
}

static double metrics_update(struct runtime *rt) {
  struct schedule_stats stats;
  schedule_stats(rt->schedule, &stats);
  runtime_metrics_update(&rt->metrics, &stats);
  return stats.kv_used;
}

static bool step_start(struct runtime *rt, const struct batch *batch, struct error *error) {
  const struct backend *backend = rt->engine->backend;
  rt->n_step_out++;
  runtime_metrics_step(&rt->metrics, batch, metrics_update(rt)); /* a long step shows while it runs */
  return step_body_run(rt, batch, error) && backend->finish(rt->engine->program, NULL, error);
}

static bool oldest_collect(struct runtime *rt, struct error *error) {
  struct result result;
  if (!step_body_await(rt, error) || !rt->engine->backend->collect(rt->engine->program, &result, error)) return false;
  /* Asked before anything is told: weights that were gone in between have made the result wrong. */
  if (!engine_file_intact(&rt->engine->file, error)) return false;
  struct schedule_events events;
  uint64_t now = clock_us();
  rt->n_step_out--;
  schedule_done(rt->schedule, &result, now, &events);
  metrics_update(rt); /* before the events are told: who has read an answer finds it counted */
  events_tell(rt, &events, now);
  return true;
}

bool steps_collect(struct runtime *rt, struct error *error) {
  while (rt->n_step_out > 0)
    if (!oldest_collect(rt, error)) return false;
  return true;
}

/* Starts the step, if there is one, and collects the oldest when the device is as far ahead as it may be, or nothing
 * new could start. */
static bool step_turn(struct runtime *rt, const struct batch *batch, struct error *error) {
  if (batch && !step_start(rt, batch, error)) {
    engine_file_intact(&rt->engine->file, error); /* weights that were gone have made any error wrong */
    return false;
  }
  return (batch && rt->n_step_out <= rt->engine->backend->run_ahead) || oldest_collect(rt, error);
}

static void steps_stop(struct runtime *rt, const struct error *error) {
  rt->n_step_out = 0;
  schedule_abandon(rt->schedule);
  runtime_stop(rt, error);
}

/* False when there is nothing to do now. */
static bool step_next(struct runtime *rt) {
  adapter_slots_tell(rt);
  struct error error = {0};
  bool encodes = false;
  if (atomic_load_explicit(&rt->failed, memory_order_relaxed)) return false;
  if (!images_turn(rt, &encodes, &error)) {
    steps_stop(rt, &error);
    return true;
  }
  uint64_t start_us = clock_us();
  const struct batch *batch = schedule_next(rt->schedule, start_us);
  rt->streams = batch || rt->n_step_out > 0; /* those that wait for their readers lose nothing */
  adapter_slots_fill(rt);
  if (!batch && rt->n_step_out == 0) return encodes;
  bool asked = rt->live != NULL; /* and not the probe alone */
  if (!step_turn(rt, batch, &error)) steps_stop(rt, &error);
  uint64_t now_us = clock_us();
  if (rt->images) image_store_grant(rt->images, schedule_aside_us(rt->schedule));
  if (asked) rt->used_us = now_us;
  atomic_store(&rt->progress_us, now_us);
  return true;
}

/* Only with nothing live and no adapter on its way: who parked us uses every seat, slot and block, so that prefixes
 * are not found again afterwards. */
static void park_if_wanted(struct runtime *rt) {
  if (rt->live || rt->n_placing > 0) return;
  pthread_mutex_lock(&rt->park_lock);
  if (rt->park_wanted) schedule_forget(rt->schedule);
  while (rt->park_wanted) {
    rt->parked = true;
    pthread_cond_broadcast(&rt->park_changed);
    pthread_cond_wait(&rt->park_changed, &rt->park_lock);
  }
  rt->parked = false;
  pthread_mutex_unlock(&rt->park_lock);
}

/* A server that is not asked gives its cache's memory back, and with it the prefixes that would be found again. */
static void cache_release_if_idle(struct runtime *rt) {
  bool due = rt->idle_us > 0 && rt->used_us > 0 && !rt->live && clock_us() - rt->used_us >= rt->idle_us;
  if (!due || !rt->engine->backend->release_cache) return;
  schedule_forget(rt->schedule);
  rt->engine->backend->release_cache(rt->engine->program);
  rt->used_us = 0;
  metric_add(&rt->metrics.cache_releases, 1);
}

static int idle_wait_ms(const struct runtime *rt) {
  int longest = rt->live ? STARVED_WAIT_MS : IDLE_WAIT_MS;
  int64_t due_us = schedule_due(rt->schedule, clock_us());
  return due_us >= 0 && due_us < longest * 1000 ? (int)(due_us / 1000) + 1 : longest;
}

/* Nothing to run: idle, every running sequence waits for room in its inbox, or a batch is forming. */
static void step_idle(struct runtime *rt) {
  metrics_update(rt);
  atomic_store(&rt->progress_us, clock_us());
  cache_release_if_idle(rt);
  park_if_wanted(rt);
  mailbox_wait(&rt->to_step, idle_wait_ms(rt));
}

void *step_thread(void *argument) {
  struct runtime *rt = argument;
  for (;;) {
    bool draining = atomic_load(&rt->draining); /* read before taking: by then nothing more can arrive */
    letters_take(rt);
    bool more = live_review(rt, draining);
    bool probing = probe_review(rt, draining);
    if (draining && !rt->live && !probing) return NULL;
    if (!step_next(rt) && !more) step_idle(rt);
  }
}
