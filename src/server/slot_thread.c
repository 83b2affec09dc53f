/* The slot's thread: it carries out orders, and closes engines that nobody holds any more. */
#include "base/clock.h"
#include "base/log.h"
#include "server/slot_state.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- engines that have left --------------------------------------------------------------------------------------- */

/* Takes an engine that nobody holds out of the list; NULL: there is none. Under the lock. */
static struct served_engine *unheld_take(struct engine_slot *slot) {
  struct served_engine **place = &slot->open;
  while (*place && (*place)->holders > 0) place = &(*place)->next;
  struct served_engine *served = *place;
  if (served) *place = served->next;
  return served;
}

/* Closes those that nobody holds, without the lock meanwhile. Called and returns with it. */
static void unheld_close(struct engine_slot *slot) {
  struct served_engine *served;
  while ((served = unheld_take(slot))) {
    pthread_mutex_unlock(&slot->lock);
    spate_close(served->engine);
    log_info("Engine %d is closed.", served->generation);
    free(served);
    malloc_trim(0); /* what it had in small pieces */
    pthread_mutex_lock(&slot->lock);
  }
}

/* --- what is in the slot ------------------------------------------------------------------------------------------ */

static bool all_adopted(const struct engine_slot *slot) {
  for (int i = 0; i < SLOT_LOOPS; i++)
    if (slot->loop[i].present && slot->loop[i].adopted != slot->turn) return false;
  return true;
}

/* Puts an engine, or none, into the slot; returns when every loop knows. What was there is no longer held by the slot.
 */
static void current_set(struct engine_slot *slot, struct served_engine *served) {
  pthread_mutex_lock(&slot->lock);
  struct served_engine *before = slot->current;
  slot->current = served;
  slot->turn++;
  slot_ring_all(slot);
  while (!all_adopted(slot)) pthread_cond_wait(&slot->changed, &slot->lock);
  if (before) before->holders--;
  pthread_mutex_unlock(&slot->lock);
}

/* --- opening ------------------------------------------------------------------------------------------------------ */

static bool open_goes_on(void *user, const char *stage, uint64_t done, uint64_t total) {
  struct engine_slot *slot = user;
  (void)stage, (void)done, (void)total;
  return !atomic_load(&slot->closing);
}

static bool path_make(const struct engine_slot *slot, char path[PATH_MAX], struct error *error) {
  const char *model = slot->order.model;
  int size =
      *model ? snprintf(path, PATH_MAX, "%s/%s", slot->folder, model) : snprintf(path, PATH_MAX, "%s", slot->model);
  return size < PATH_MAX || error_set(error, ERROR_INVALID, "The path of %s is too long.", model);
}

static struct served_engine *engine_open_again(struct engine_slot *slot, const char *path, struct error *error) {
  spate_open_options options = slot->again;
  spate_error problem;
  options.model = path;
  options.beside = slot->current ? slot->current->engine : NULL; /* nobody else changes it */
  options.progress = open_goes_on;
  options.user = slot;
  spate_engine *engine = spate_open(&options, &problem);
  if (engine) return served_new(slot, engine, error);
  error_set(error, (enum error_code)problem.code, "%s", problem.text);
  return NULL;
}

static bool reload_refuse(const struct engine_slot *slot, struct error *error) {
  size_t size = strlen(error->text);
  if (!slot->current) return error_prefix(error, "The server goes on sleeping. ");
  if (error->code == ERROR_MEMORY)
    snprintf(error->text + size, sizeof error->text - size,
             " Or let go of the running engine first: POST /sleep, then POST /wake_up, which opens the file anew.");
  return error_prefix(error, "Engine %d goes on serving. ", slot->current->generation);
}

/* What serves is not touched before the new engine is open and its file hashed. */
static bool engine_reload(struct engine_slot *slot, struct error *error) {
  char path[PATH_MAX];
  if (!path_make(slot, path, error)) return reload_refuse(slot, error);
  char *model = strdup(path);
  struct served_engine *served = model ? engine_open_again(slot, path, error) : NULL;
  if (!model) error_set(error, ERROR_MEMORY, "Out of memory for a path.");
  if (!served) {
    free(model);
    return reload_refuse(slot, error);
  }
  uint64_t kv_before = slot->current ? slot->current->info.kv_bytes : 0;
  free(slot->model);
  slot->model = model;
  if (served->info.kv_bytes < kv_before)
    log_warning(
        "Engine %d has %llu MiB of KV cache where engine %d had %llu, for want of memory beside it: POST /sleep "
        "and POST /wake_up give it all.",
        served->generation, (unsigned long long)(served->info.kv_bytes >> 20), slot->current->generation,
        (unsigned long long)(kv_before >> 20));
  if (slot->current) given_names_note(&slot->given, slot->current->engine);
  given_names_give(&slot->given, served->engine);
  current_set(slot, served);
  return true;
}

/* --- orders ------------------------------------------------------------------------------------------------------- */

/* Waits until something changes, or answers have had their time: then they are cancelled, once. Under the lock. */
static void sleep_wait(struct engine_slot *slot, const struct timespec *until, bool *cancelled) {
  bool late = false;
  if (*cancelled)
    pthread_cond_wait(&slot->changed, &slot->lock);
  else if (!slot->order.abort)
    late = pthread_cond_timedwait(&slot->changed, &slot->lock, until) == ETIMEDOUT;
  if (*cancelled || !(late || slot->order.abort)) return;
  slot_cancel_all(slot);
  *cancelled = true;
}

/* Also engines that have been replaced before end their answers. */
static bool engine_sleep(struct engine_slot *slot, struct error *error) {
  struct timespec until;
  bool cancelled = false;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += slot->order.wait_s;
  if (slot->current) {
    given_names_note(&slot->given, slot->current->engine);
    current_set(slot, NULL);
  }
  pthread_mutex_lock(&slot->lock);
  for (unheld_close(slot); slot->open && !atomic_load(&slot->closing); unheld_close(slot))
    sleep_wait(slot, &until, &cancelled);
  bool closed = !slot->open;
  pthread_mutex_unlock(&slot->lock);
  return closed || error_set(error, ERROR_CANCELLED, "The server is shutting down.");
}

static bool order_run(struct engine_slot *slot, struct error *error) {
  switch (slot->order.action) {
  case SLOT_RELOAD: return engine_reload(slot, error);
  case SLOT_SLEEP: return engine_sleep(slot, error);
  case SLOT_WAKE: return slot->current || engine_reload(slot, error);
  }
  return error_set(error, ERROR_INTERNAL, "There is no order %d.", (int)slot->order.action);
}

static void result_log(const struct engine_slot *slot, const struct slot_result *result) {
  if (result->error.code)
    log_error("%s", result->error.text);
  else if (result->asleep)
    log_info("The server sleeps: the memory of engine %d is given back.", result->generation);
  else
    log_info("Engine %d serves %s after %.3f s.", result->generation, slot->current->info.name, result->seconds);
}

/* To all that wait for this order; others have theirs. Under the lock. */
static void result_tell(struct engine_slot *slot, const struct slot_result *result) {
  for (int i = 0; i < slot->n_waiter; i++) {
    struct slot_waiter *waiter = &slot->waiter[i];
    uint64_t http_id = waiter->result.http_id;
    if (waiter->done) continue;
    waiter->done = true;
    waiter->result = *result;
    waiter->result.http_id = http_id;
    engine_slot_ring(slot, waiter->loop);
  }
}

/* Called and returns with the lock. */
static void order_carry_out(struct engine_slot *slot) {
  pthread_mutex_unlock(&slot->lock);
  uint64_t start = clock_ns();
  struct error error = {0};
  bool done = order_run(slot, &error);
  struct slot_result result = {.error = error,
                               .asleep = !slot->current, /* which nobody else changes */
                               .generation = slot->current ? slot->current->generation : slot->generation,
                               .seconds = (double)(clock_ns() - start) * 1e-9};
  result_log(slot, &result); /* a log that nobody reads keeps no loop waiting for the lock */
  pthread_mutex_lock(&slot->lock);
  slot->count[slot->order.action][done]++;
  slot->busy = false;
  result_tell(slot, &result);
}

void *slot_thread(void *argument) {
  struct engine_slot *slot = argument;
  pthread_setname_np(pthread_self(), "engine-slot");
  pthread_mutex_lock(&slot->lock);
  while (!atomic_load(&slot->closing)) {
    unheld_close(slot);
    if (slot->busy)
      order_carry_out(slot);
    else if (!atomic_load(&slot->closing))
      pthread_cond_wait(&slot->changed, &slot->lock);
  }
  pthread_mutex_unlock(&slot->lock);
  return NULL;
}
