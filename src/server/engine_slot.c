/* The slot as loops and other callers see it. */
#include "server/slot_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- life --------------------------------------------------------------------------------------------------------- */

struct served_engine *served_new(struct engine_slot *slot, spate_engine *engine, struct error *error) {
  struct served_engine *served = calloc(1, sizeof *served);
  if (!served) {
    spate_close(engine);
    error_set(error, ERROR_MEMORY, "Out of memory for an engine.");
    return NULL;
  }
  *served = (struct served_engine){.engine = engine, .info.size = sizeof served->info, .holders = 1};
  spate_info(engine, &served->info);
  size_t size;
  const char *template = spate_chat_template(engine, &size);
  served->dialect = answer_dialect_of(slice_make(template, size));
  spate_totals_add(slot->totals, engine);
  pthread_mutex_lock(&slot->lock);
  served->generation = ++slot->generation;
  served->next = slot->open;
  slot->open = served;
  pthread_mutex_unlock(&slot->lock);
  return served;
}

static void slot_free(struct engine_slot *slot) {
  while (slot->open) {
    struct served_engine *next = slot->open->next;
    spate_close(slot->open->engine);
    free(slot->open);
    slot->open = next;
  }
  pthread_mutex_destroy(&slot->lock);
  pthread_cond_destroy(&slot->changed);
  spate_totals_free(slot->totals);
  given_names_release(&slot->given);
  free(slot->model);
  free(slot);
}

/* Without a thread yet, and with nothing in it. */
static struct engine_slot *slot_new(const spate_open_options *again, const char *folder, struct error *error) {
  spate_error problem;
  struct engine_slot *slot = calloc(1, sizeof *slot);
  if (!slot) {
    error_set(error, ERROR_MEMORY, "Out of memory for a server.");
    return NULL;
  }
  slot->again = *again;
  slot->folder = folder;
  given_names_init(&slot->given);
  pthread_mutex_init(&slot->lock, NULL);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&slot->changed, &monotonic);
  pthread_condattr_destroy(&monotonic);
  slot->model = strdup(again->model);
  slot->totals = spate_totals_new(&problem);
  if (slot->model && slot->totals) return slot;
  slot_free(slot);
  error_set(error, ERROR_MEMORY, "Out of memory for a server.");
  return NULL;
}

struct engine_slot *engine_slot_open(spate_engine *engine, const spate_open_options *again, const char *folder,
                                     struct error *error) {
  struct engine_slot *slot = slot_new(again, folder, error);
  if (!slot) {
    spate_close(engine);
    return NULL;
  }
  slot->current = served_new(slot, engine, error);
  if (slot->current && pthread_create(&slot->thread, NULL, slot_thread, slot) == 0) return slot;
  if (slot->current)
    error_set(error, ERROR_MEMORY, "The system refused to start a thread: raise its limit on threads.");
  slot_free(slot);
  return NULL;
}

void engine_slot_close(struct engine_slot *slot) {
  if (!slot) return;
  pthread_mutex_lock(&slot->lock);
  atomic_store(&slot->closing, true);
  pthread_cond_broadcast(&slot->changed);
  pthread_mutex_unlock(&slot->lock);
  pthread_join(slot->thread, NULL);
  slot_free(slot);
}

/* --- orders ------------------------------------------------------------------------------------------------------- */

/* A file's name, so that nothing outside of the folder can be asked for. */
static bool model_check(const struct engine_slot *slot, const char *model, struct error *error) {
  if (!*model) return true;
  if (!slot->folder)
    return error_set(error, ERROR_INVALID,
                     "This server opens no other model than its own: leave model out, or start it with --reload-dir.");
  bool plain = *model != '.';
  for (const char *c = model; *c; c++) plain &= *c != '/' && (unsigned char)*c >= ' ' && *c != 0x7f;
  return plain || error_set(error, ERROR_INVALID,
                            "model is \"%.100s\", expected the name of a file in the folder of --reload-dir, without a "
                            "path and no dot first.",
                            model);
}

/* There must be room. Under the lock, as the next. */
static void waiter_add(struct engine_slot *slot, const struct slot_order *order) {
  if (order->loop == SLOT_NO_LOOP) return;
  slot->waiter[slot->n_waiter++] = (struct slot_waiter){.loop = order->loop, .result.http_id = order->http_id};
}

/* Is it an abort of a sleep that is being carried out? */
static bool order_joins(const struct engine_slot *slot, const struct slot_order *order) {
  return slot->busy && slot->order.action == SLOT_SLEEP && order->action == SLOT_SLEEP && order->abort;
}

bool engine_slot_order(struct engine_slot *slot, const struct slot_order *order, struct error *error) {
  if (!model_check(slot, order->model, error)) return false;
  pthread_mutex_lock(&slot->lock);
  bool given = slot->n_waiter < SLOT_WAITERS && (!slot->busy || order_joins(slot, order));
  if (given && !slot->busy) slot->order = *order;
  if (given) {
    slot->busy = true;
    slot->order.abort = order->abort;
    waiter_add(slot, order);
    pthread_cond_broadcast(&slot->changed);
  }
  pthread_mutex_unlock(&slot->lock);
  return given ||
         error_set(error, ERROR_BUSY,
                   "The engine is being reloaded, sent to sleep or woken already: ask again when that is done.");
}

bool engine_slot_busy(struct engine_slot *slot) {
  pthread_mutex_lock(&slot->lock);
  bool busy = slot->busy;
  pthread_mutex_unlock(&slot->lock);
  return busy;
}

/* --- loops -------------------------------------------------------------------------------------------------------- */

static void bell_ring(const struct slot_loop *loop) {
  uint64_t one = 1;
  ssize_t written = write(loop->bell, &one, sizeof one);
  (void)written; /* full: it rings */
}

void slot_ring_all(struct engine_slot *slot) {
  for (int i = 0; i < SLOT_LOOPS; i++)
    if (slot->loop[i].present) bell_ring(&slot->loop[i]);
  pthread_cond_broadcast(&slot->changed);
}

/* One of this loop's, with a result if that is wanted; −1: none. Under the lock. */
static int waiter_find(const struct engine_slot *slot, int loop, bool done) {
  for (int at = 0; at < slot->n_waiter; at++)
    if (slot->waiter[at].loop == loop && (slot->waiter[at].done || !done)) return at;
  return -1;
}

static void waiter_leave(struct engine_slot *slot, int at) { slot->waiter[at] = slot->waiter[--slot->n_waiter]; }

int engine_slot_enter(struct engine_slot *slot, int *loop, struct error *error) {
  int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (bell < 0) {
    error_set(error, ERROR_IO, "No descriptor for a network loop: %s.", strerror(errno));
    return -1;
  }
  pthread_mutex_lock(&slot->lock);
  int i = 0;
  while (slot->loop[i].present) i++; /* there are at most as many loops as places */
  slot->loop[i] = (struct slot_loop){.present = true, .bell = bell, .adopted = slot->turn};
  pthread_mutex_unlock(&slot->lock);
  *loop = i;
  return bell;
}

void engine_slot_leave(struct engine_slot *slot, int loop) {
  pthread_mutex_lock(&slot->lock);
  slot->loop[loop].present = false;
  for (int at; (at = waiter_find(slot, loop, false)) >= 0;) waiter_leave(slot, at);
  pthread_cond_broadcast(&slot->changed);
  pthread_mutex_unlock(&slot->lock);
  close(slot->loop[loop].bell);
}

void engine_slot_silence(struct engine_slot *slot, int loop) {
  uint64_t rings;
  ssize_t size = read(slot->loop[loop].bell, &rings, sizeof rings);
  (void)size; /* nothing to read is fine: the loop looks all the same */
}

struct served_engine *engine_slot_look(struct engine_slot *slot, int loop) {
  pthread_mutex_lock(&slot->lock);
  struct served_engine *served = slot->current;
  if (served) served->holders++;
  slot->loop[loop].seen = slot->turn;
  pthread_mutex_unlock(&slot->lock);
  return served;
}

void engine_slot_adopted(struct engine_slot *slot, int loop) {
  pthread_mutex_lock(&slot->lock);
  slot->loop[loop].adopted = slot->loop[loop].seen;
  pthread_cond_broadcast(&slot->changed);
  pthread_mutex_unlock(&slot->lock);
}

bool engine_slot_result(struct engine_slot *slot, int loop, struct slot_result *result) {
  pthread_mutex_lock(&slot->lock);
  int at = waiter_find(slot, loop, true);
  if (at >= 0) {
    *result = slot->waiter[at].result;
    waiter_leave(slot, at);
  }
  pthread_mutex_unlock(&slot->lock);
  return at >= 0;
}

void engine_slot_ring(struct engine_slot *slot, int loop) { bell_ring(&slot->loop[loop]); }

/* --- engines -------------------------------------------------------------------------------------------------------
 */

void engine_slot_hold(struct engine_slot *slot, struct served_engine *served) {
  pthread_mutex_lock(&slot->lock);
  served->holders++;
  pthread_mutex_unlock(&slot->lock);
}

void engine_slot_drop(struct engine_slot *slot, struct served_engine *served) {
  pthread_mutex_lock(&slot->lock);
  if (--served->holders == 0) pthread_cond_broadcast(&slot->changed);
  pthread_mutex_unlock(&slot->lock);
}

int engine_slot_generation(struct engine_slot *slot, const struct served_engine *served) {
  if (served) return served->generation;
  pthread_mutex_lock(&slot->lock);
  int generation = slot->generation;
  pthread_mutex_unlock(&slot->lock);
  return generation;
}

bool engine_slot_asleep(struct engine_slot *slot) {
  pthread_mutex_lock(&slot->lock);
  bool asleep = !slot->current;
  pthread_mutex_unlock(&slot->lock);
  return asleep;
}

bool engine_slot_healthy(struct engine_slot *slot, spate_error *error) {
  pthread_mutex_lock(&slot->lock);
  struct served_engine *served = slot->current;
  if (served) served->holders++;
  pthread_mutex_unlock(&slot->lock);
  if (!served) return true;
  bool healthy = spate_healthy(served->engine, error);
  engine_slot_drop(slot, served);
  return healthy;
}

void slot_cancel_all(struct engine_slot *slot) {
  for (struct served_engine *served = slot->open; served; served = served->next) spate_cancel(served->engine, 0);
}

void engine_slot_cancel(struct engine_slot *slot) {
  pthread_mutex_lock(&slot->lock);
  slot_cancel_all(slot);
  pthread_mutex_unlock(&slot->lock);
}
