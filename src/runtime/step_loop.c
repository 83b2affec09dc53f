/* The step thread: drain the mailbox, step, tell. After start-up it allocates nothing, and takes a lock only when a
 * request ends or the program is parked. */
#include "base/clock.h"
#include "runtime/runtime_state.h"

enum { IDLE_WAIT_MS = 200, STARVED_WAIT_MS = 20 };

/* --- the list of live generations --------------------------------------------------------------------------------- */

static void live_add(struct runtime *rt, struct generation *g) {
  g->previous = NULL;
  g->next = rt->live;
  if (rt->live) rt->live->previous = g;
  rt->live = g;
}

static void live_remove(struct runtime *rt, struct generation *g) {
  *(g->previous ? &g->previous->next : &rt->live) = g->next;
  if (g->next) g->next->previous = g->previous;
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void end_count(struct runtime_metrics *m, const struct generation *g) {
  struct metric *by_reason[] = {[FINISH_NONE] = &m->finished_failed,
                                [FINISH_STOP] = &m->finished_stop,
                                [FINISH_LENGTH] = &m->finished_length,
                                [FINISH_CANCELLED] = &m->finished_cancelled};
  metric_add(by_reason[g->finish], 1);
  metric_observe(&m->generation_seconds, (double)(clock_us() - g->submitted_us) * 1e-6);
}

/* Takes an ended generation out of the schedule; true when no step holds it any more. An engine that has stopped runs
 * none, and asks the schedule for none. */
static bool unscheduled(struct runtime *rt, struct generation *g) {
  bool stopped = atomic_load_explicit(&rt->failed, memory_order_relaxed);
  if (g->scheduled && (schedule_remove(rt->schedule, &g->sequence) || stopped)) g->scheduled = false;
  return !g->scheduled;
}

/* Tells what there is to tell. Frees the generation after its last event, which is told once, when no step holds it;
 * pauses it while its inbox is full. */
static void generation_settle(struct runtime *rt, struct generation *g) {
  if (g->ended && !unscheduled(rt, g)) return;
  bool told = generation_deliver(g);
  if (g->scheduled && !g->ended) schedule_pause(rt->schedule, &g->sequence, !told);
  if (!g->ended || !told) return;
  end_count(&rt->metrics, g);
  live_remove(rt, g);
  request_table_leave(&rt->table, g);
  generation_free(g);
}

/* --- in ----------------------------------------------------------------------------------------------------------- */

static void generation_start(struct runtime *rt, struct generation *g) {
  if (g->error.code) {
    struct error error = g->error;
    generation_fail(g, &error);
  } else if (atomic_load(&g->cancelled)) { /* perhaps before it had tokens */
    generation_end(g, FINISH_CANCELLED);
  } else {
    detokenizer_init(&g->detokenizer, rt->tokenizer, 0);
    schedule_add(rt->schedule, &g->sequence, clock_us());
    g->scheduled = true;
  }
}

static void letters_take(struct runtime *rt) {
  struct letter *letter = mailbox_take(&rt->to_step);
  while (letter) {
    struct generation *g = (struct generation *)(void *)letter;
    letter = letter->next;
    live_add(rt, g);
    metric_observe(&rt->metrics.queue_seconds, (double)(clock_us() - g->submitted_us) * 1e-6);
    generation_start(rt, g);
  }
}

static void timeout_tell(struct generation *g) {
  struct error error;
  error_set(&error, ERROR_TIMEOUT, "The request has taken the %.3g seconds of its timeout_s; %d tokens were generated.",
            (double)(g->deadline_us - g->submitted_us) * 1e-6, g->generated);
  generation_fail(g, &error);
}

/* Cancelled, out of time, waiting to be told, failed with the engine: whatever is due for a generation outside of a
 * step. */
static void live_review(struct runtime *rt, bool draining) {
  struct error failure = runtime_failure(rt);
  uint64_t now = clock_us();
  for (struct generation *g = rt->live, *next; g; g = next) {
    next = g->next;
    if (draining) inbox_abandon(g->inbox);
    if (failure.code) generation_fail(g, &failure);
    if (now >= g->deadline_us && !g->ended) timeout_tell(g);
    if (draining || atomic_load_explicit(&g->cancelled, memory_order_relaxed)) generation_end(g, FINISH_CANCELLED);
    if (g->ended || g->sequence.paused) generation_settle(rt, g);
  }
}

/* --- steps -------------------------------------------------------------------------------------------------------- */

static void token_time(struct runtime *rt, struct generation *g) {
  uint64_t now = clock_us();
  if (g->generated == 0)
    metric_observe(&rt->metrics.first_token_seconds, (double)(now - g->submitted_us) * 1e-6);
  else
    metric_observe(&rt->metrics.between_tokens_seconds, (double)(now - g->last_us) * 1e-6);
  g->last_us = now;
}

static void events_tell(struct runtime *rt, const struct schedule_events *events) {
  for (int i = 0; i < events->n_event; i++) {
    struct generation *g = events->event[i].sequence->owner;
    if (events->event[i].token < 0) {
      g->scheduled = false;
    } else if (!g->ended) {
      token_time(rt, g);
      generation_accept(g, &events->event[i]);
    }
    generation_settle(rt, g);
  }
}

static void metrics_update(struct runtime *rt) {
  struct schedule_stats stats;
  schedule_stats(rt->schedule, &stats);
  runtime_metrics_update(&rt->metrics, &stats);
}

static bool step_start(struct runtime *rt, const struct batch *batch, struct error *error) {
  const struct backend *backend = rt->engine->backend;
  rt->n_step_out++;
  return backend->submit(rt->engine->program, batch, error) && backend->finish(rt->engine->program, NULL, error);
}

static bool oldest_collect(struct runtime *rt, struct error *error) {
  struct result result;
  if (!rt->engine->backend->collect(rt->engine->program, &result, error)) return false;
  /* Asked before anything is told: weights that were gone in between have made the result wrong. */
  if (!engine_file_intact(&rt->engine->file, error)) return false;
  struct schedule_events events;
  rt->n_step_out--;
  schedule_done(rt->schedule, &result, clock_us(), &events);
  metrics_update(rt); /* before the events are told: who has read an answer finds it counted */
  events_tell(rt, &events);
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

/* False when there is nothing to do now. */
static bool step_next(struct runtime *rt) {
  if (atomic_load_explicit(&rt->failed, memory_order_relaxed)) return false;
  const struct batch *batch = schedule_next(rt->schedule, clock_us());
  if (!batch && rt->n_step_out == 0) return false;
  struct error error = {0};
  if (!step_turn(rt, batch, &error)) {
    rt->n_step_out = 0;
    schedule_abandon(rt->schedule);
    runtime_stop(rt, &error);
  }
  atomic_store(&rt->progress_us, clock_us());
  return true;
}

/* Only with nothing live: who parked us uses every seat and block. */
static void park_if_wanted(struct runtime *rt) {
  if (rt->live) return;
  pthread_mutex_lock(&rt->park_lock);
  while (rt->park_wanted) {
    rt->parked = true;
    pthread_cond_broadcast(&rt->park_changed);
    pthread_cond_wait(&rt->park_changed, &rt->park_lock);
  }
  rt->parked = false;
  pthread_mutex_unlock(&rt->park_lock);
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
  park_if_wanted(rt);
  mailbox_wait(&rt->to_step, idle_wait_ms(rt));
}

void *step_thread(void *argument) {
  struct runtime *rt = argument;
  for (;;) {
    bool draining = atomic_load(&rt->draining); /* read before taking: by then nothing more can arrive */
    letters_take(rt);
    live_review(rt, draining);
    if (draining && !rt->live) return NULL;
    if (!step_next(rt)) step_idle(rt);
  }
}
