/* The runtime's life, and what other threads may do to it. */
#include "runtime/runtime.h"

#include "base/clock.h"
#include "base/limits.h"
#include "runtime/runtime_state.h"

#include <stdlib.h>
#include <sys/random.h>

/* --- life --------------------------------------------------------------------------------------------------------- */

/* The name is what `top -H` shows, and what tests/fault/fault.c knows the step thread by. */
static bool thread_start(struct runtime *rt, pthread_t *thread, void *(*run)(void *), const char *name) {
  bool started = pthread_create(thread, NULL, run, rt) == 0;
  if (started) pthread_setname_np(*thread, name);
  return started;
}

static bool threads_start(struct runtime *rt, struct error *error) {
  rt->stepper_started = thread_start(rt, &rt->stepper, step_thread, "spate-step");
  rt->worker_started = thread_start(rt, &rt->worker, worker_thread, "spate-worker");
  rt->watcher_started = thread_start(rt, &rt->watcher, watch_thread, "spate-watch");
  if (rt->stepper_started && rt->worker_started && rt->watcher_started) return true;
  return error_set(error, ERROR_MEMORY, "The system refused to start a thread: raise its limit on threads.");
}

static bool schedule_start(struct runtime *rt, const struct runtime_options *options, struct error *error) {
  const struct plan *plan = rt->engine->plan;
  const struct backend *backend = rt->engine->backend;
  static const struct plan_vision blind;
  const struct plan_vision *vision = options->image_form ? &options->image_form->vision->vision : &blind;
  struct schedule_options schedule = {.limits = &rt->engine->limits,
                                      .n_group = plan->n_group,
                                      .n_vector = plan_samples(plan) ? 0 : plan_values(plan)[plan_result(plan)].cols,
                                      .run_ahead = backend->run_ahead,
                                      .step_tile = backend->step_tile,
                                      .text_tokens =
                                          backend->text_tokens ? backend->text_tokens(rt->engine->device) : 0,
                                      .policy = options->policy,
                                      .batch_delay_us = (uint32_t)options->batch_delay_ms * 1000u,
                                      .target_gap_us = options->target_gap_us,
                                      .no_reuse = options->no_block_reuse,
                                      .mutual = vision->mutual,
                                      .axes = vision->axes,
                                      .key = rt->key};
  int32_t requests = options->max_queue + rt->engine->limits.seats;
  rt->schedule = schedule_new(&schedule);
  metric_set(&rt->metrics.itl_target, options->target_gap_us / 1e6);
  if (rt->schedule && request_table_init(&rt->table, requests, options->max_queue_tokens)) return true;
  return error_set(error, ERROR_MEMORY, "Out of memory for %d requests.", requests);
}

static void options_take(struct runtime *rt, const struct runtime_options *options) {
  rt->engine = options->engine;
  rt->tokenizer = options->tokenizer;
  rt->chat = options->chat;
  rt->chat_problem = options->chat_problem;
  rt->stall_us = options->stall_us;
  rt->encodes = !plan_samples(options->engine->plan);
  rt->idle_us = options->idle_us;
  rt->defaults = &options->engine->file.facts->generation;
}

struct runtime *runtime_new(const struct runtime_options *options, struct error *error) {
  struct runtime *rt = calloc(1, sizeof *rt);
  if (!rt) {
    error_set(error, ERROR_MEMORY, "Out of memory for the runtime.");
    return NULL;
  }
  options_take(rt, options);
  mailbox_init(&rt->to_worker);
  mailbox_init(&rt->to_step);
  mailbox_init(&rt->to_watcher);
  rt->inboxes.mailbox = &rt->to_step;
  pthread_mutex_init(&rt->park_lock, NULL);
  pthread_cond_init(&rt->park_changed, NULL);
  pthread_mutex_init(&rt->failure_lock, NULL);
  atomic_store(&rt->progress_us, clock_us());
  if (getrandom(&rt->key, sizeof rt->key, 0) != (ssize_t)sizeof rt->key)
    error_set(error, ERROR_IO, "The system gave no random bytes: see getrandom(2).");
  else if (runtime_metrics_init(&rt->metrics, rt->engine, !options->no_block_reuse, error) &&
           schedule_start(rt, options, error) && adapters_start(rt, options, error) &&
           images_start(rt, options, error) && threads_start(rt, error))
    return rt;
  runtime_free(rt);
  return NULL;
}

/* In the order in which work flows, so that each thread finds its mailbox final. */
static void threads_end(struct runtime *rt) {
  atomic_store(&rt->stopping, true);
  atomic_store(&rt->verify.stop, true);
  if (rt->worker_started) request_table_cancel_all(&rt->table, NULL); /* or images would all be decoded first */
  mailbox_wake(&rt->to_watcher);
  mailbox_wake(&rt->to_worker);
  if (rt->worker_started) pthread_join(rt->worker, NULL);
  image_store_stop(rt->images);
  atomic_store(&rt->draining, true);
  mailbox_wake(&rt->to_step);
  if (rt->stepper_started) pthread_join(rt->stepper, NULL);
  if (rt->watcher_started) pthread_join(rt->watcher, NULL);
}

void runtime_free(struct runtime *rt) {
  if (!rt) return;
  threads_end(rt);
  runtime_metrics_adapters(&rt->metrics, rt->adapters); /* what nobody has asked for counts too */
  runtime_metrics_store(&rt->metrics, rt->images);
  metric_totals_leave(&rt->metrics);
  adapter_store_free(rt->adapters);
  image_store_free(rt->images);
  free(rt->placing);
  schedule_free(rt->schedule);
  runtime_metrics_release(&rt->metrics);
  request_table_release(&rt->table);
  mailbox_release(&rt->to_worker);
  mailbox_release(&rt->to_step);
  mailbox_release(&rt->to_watcher);
  pthread_mutex_destroy(&rt->park_lock);
  pthread_cond_destroy(&rt->park_changed);
  pthread_mutex_destroy(&rt->failure_lock);
  free(rt);
}

/* --- metrics -------------------------------------------------------------------------------------------------------
 */

bool runtime_metrics(struct runtime *rt, struct buffer *out) {
  runtime_metrics_adapters(&rt->metrics, rt->adapters);
  runtime_metrics_store(&rt->metrics, rt->images);
  return runtime_metrics_write(&rt->metrics, out) &&
         adapter_metric_write(rt->adapters, rt->engine->limits.adapters, out);
}

void runtime_totals_join(struct runtime *rt, struct metric_totals *totals) { metric_totals_join(totals, &rt->metrics); }

/* --- requests ----------------------------------------------------------------------------------------------------- */

struct inbox *runtime_inbox(struct runtime *rt, struct error *error) {
  return inbox_new(&rt->inboxes, error);
}

void runtime_inbox_close(struct runtime *rt, struct inbox *inbox) {
  inbox_abandon(inbox);
  request_table_cancel_all(&rt->table, inbox);
  mailbox_wake(&rt->to_step);
  inbox_drop(inbox);
}

bool runtime_answer_fit(const struct runtime *rt, int32_t n_prompt, int32_t *max_tokens, int32_t n_beam,
                        struct error *error) {
  int32_t left = rt->engine->limits.length - n_prompt;
  if (left > 0 && *max_tokens > left) *max_tokens = left;
  return schedule_fits(rt->schedule, n_prompt, *max_tokens, n_beam, error);
}

/* Blocks are shared among sequences of equal salt only: those of one tenant and one cache_salt. */
static struct hash128 salt_of(const struct runtime *rt, const struct request_params *params) {
  struct {
    struct hash128 given;
    uint64_t tenant;
  } salt = {keyed_hash(&rt->key, params->cache_salt), (uint64_t)params->tenant};
  return keyed_hash(&rt->key, slice_make(&salt, sizeof salt));
}

/* Rows of a prompt's scores that may wait: the first token's, and those of all steps that may be out. */
static int32_t scores_most(const struct runtime *rt) {
  return 1 + rt->engine->limits.outputs * (rt->engine->backend->run_ahead + 1);
}

/* Of a text no more is known at first than that a token is a byte at least; the worker tells the number. */
static int32_t prompt_tokens_most(const struct runtime *rt, const struct request_params *params) {
  size_t tokens = params->n_token ? (size_t)params->n_token : params->lead.size + params->prompt.size;
  size_t room = (size_t)(rt->engine->limits.length - params->max_tokens);
  return (int32_t)(tokens < room ? tokens : room);
}

/* Images become any number of tokens, whatever their text is like. */
static size_t params_charge(const struct runtime *rt, const struct request_params *params) {
  bool images = params->n_image > 0 || (params->chat && rt->images);
  int32_t tokens = images ? rt->engine->limits.length - params->max_tokens : prompt_tokens_most(rt, params);
  return rules_charge(&params->rules) + request_charge(params, scores_most(rt), tokens);
}

static uint64_t request_refuse(struct runtime *rt, const struct error *error) {
  runtime_metrics_refuse(&rt->metrics, error);
  return 0;
}

/* What it takes of the queue, how long it may, and with whom it shares blocks. */
static void request_measure(const struct runtime *rt, struct request *r, const struct request_params *params) {
  r->images.store = rt->images;
  r->charge = params_charge(rt, params);
  r->queued_tokens = request_tokens(r, prompt_tokens_most(rt, params));
  r->submitted_us = clock_us();
  r->deadline_us = params->timeout_s > 0 ? r->submitted_us + (uint64_t)((double)params->timeout_s * 1e6) : UINT64_MAX;
  r->generation[0].sequence.deadline_us = params->timeout_s > 0 ? r->deadline_us : 0;
  for (int i = 0; i < r->n_generation; i++) r->generation[i].sequence.salt = salt_of(rt, params);
}

/* A request that is whole, of parameters that are checked; NULL with a sentence. */
static struct request *request_make(struct runtime *rt, struct inbox *inbox, const struct request_params *params,
                                    struct error *error) {
  struct request_adapters adapters;
  struct logit_rules *rules =
      rules_compile(&params->rules, rt->tokenizer, rt->defaults, rt->engine->plan->vocab, error);
  bool ready =
      rules && request_check_beams(params, rules, error) && request_adapters_take(rt, &adapters, params, error);
  if (rules && !ready) free(rules);
  struct request *r = ready ? request_new(params, rules, &adapters, scores_most(rt), inbox, error) : NULL;
  if (r) request_measure(rt, r, params);
  return r;
}

uint64_t runtime_submit(struct runtime *rt, struct inbox *inbox, const struct request_params *params,
                        struct error *error) {
  struct error failure = runtime_failure(rt);
  struct request_params fitted = *params;
  if (failure.code) error_set(error, failure.code, "%s", failure.text);
  if (failure.code || !request_check(rt, &fitted, error)) return request_refuse(rt, error);
  struct request *r = request_make(rt, inbox, &fitted, error);
  if (!r) return request_refuse(rt, error);
  bool shed, entered = request_table_enter(&rt->table, r, &shed, error);
  if (shed) mailbox_wake(&rt->to_step);
  if (!entered) {
    request_free(r);
    return params->again && error->code == ERROR_BUSY ? 0 : request_refuse(rt, error);
  }
  uint64_t id = r->id; /* once put, the request is no longer ours */
  metric_add(&rt->metrics.requests, 1);
  atomic_fetch_add(&rt->metrics.arriving, 1);
  mailbox_put(params->n_token ? &rt->to_step : &rt->to_worker, &r->letter);
  return id;
}

void runtime_cancel(struct runtime *rt, uint64_t id) {
  if (id == 0) request_table_cancel_all(&rt->table, NULL);
  if (id == 0 || request_table_cancel(&rt->table, id)) mailbox_wake(&rt->to_step);
}

/* --- parking ------------------------------------------------------------------------------------------------------ */

bool runtime_park(struct runtime *rt, struct error *error) {
  struct error failure = runtime_failure(rt);
  if (failure.code) return error_set(error, failure.code, "%s", failure.text);
  if (request_table_live(&rt->table) > 0)
    return error_set(error, ERROR_BUSY, "Requests are running: wait until the engine is idle.");
  pthread_mutex_lock(&rt->park_lock);
  bool free_now = !rt->park_wanted;
  rt->park_wanted = true;
  mailbox_wake(&rt->to_step);
  while (free_now && !rt->parked) pthread_cond_wait(&rt->park_changed, &rt->park_lock);
  pthread_mutex_unlock(&rt->park_lock);
  return free_now || error_set(error, ERROR_BUSY, "Another caller is using the engine directly.");
}

void runtime_resume(struct runtime *rt) {
  pthread_mutex_lock(&rt->park_lock);
  rt->park_wanted = false;
  pthread_cond_broadcast(&rt->park_changed);
  pthread_mutex_unlock(&rt->park_lock);
}
