/* The store's readers: they read and drop adapters, and have the folder looked at. */
#include "base/clock.h"
#include "base/log.h"
#include "engine/adapter_state.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum {
  LATE_US = 1000000,
  FULL_US = 5000000, /* that one waits for memory which others hold */
  FILES_PAGE = 256,  /* that are looked at while the lock is held */
};

/* --- what is over ------------------------------------------------------------------------------------------------- */

/* Takes it out of the list; its memory is the caller's. */
static void stored_unlink(struct adapter_store *store, struct stored_adapter *stored) {
  struct stored_adapter **place = &store->all;
  while (*place != stored) place = &(*place)->next;
  *place = stored->next;
  if (store->last == &stored->next) store->last = place;
  stored->file->n_stored--;
  if (!adapter_names_find(store->names, stored->file->name)) store->swept = &store->first_file;
  if (!stored->adapter) return;
  store->stats.held--;
  store->stats.held_bytes -= stored->adapter->bytes;
}

/* The one of those that nobody holds that was used longest ago. */
static struct stored_adapter *idlest_of(const struct adapter_store *store) {
  struct stored_adapter *idlest = NULL;
  for (struct stored_adapter *s = store->all; s; s = s->next)
    if (s->adapter && s->holders == 0 && (!idlest || s->used_us < idlest->used_us)) idlest = s;
  return idlest;
}

static bool is_over(const struct stored_adapter *stored) {
  return stored->holders == 0 && (!stored->current || stored->state == ADAPTER_COMING || failed_long_ago(stored));
}

/* What one takes that is not there yet, as far as that is known. */
static uint64_t bytes_of(const struct stored_adapter *coming) { return coming->file->bytes ? coming->file->bytes : 1; }

/* NULL: of what there is. */
static bool has_memory(const struct adapter_store *store, const struct stored_adapter *coming) {
  return store->stats.held_bytes + store->reading_bytes + (coming ? bytes_of(coming) : 0) <= store->options.max_bytes;
}

bool store_has_room(const struct adapter_store *store, const struct stored_adapter *coming) {
  return store->stats.held + store->n_reading + (coming != NULL) <= store->options.max_held &&
         has_memory(store, coming);
}

/* Called and returns with the lock. */
static void stored_leave(struct adapter_store *store, struct stored_adapter *leaver) {
  stored_detach(leaver);
  stored_unlink(store, leaver);
  pthread_mutex_unlock(&store->lock);
  stored_free(store, leaver);
  pthread_mutex_lock(&store->lock);
}

static bool idlest_leave(struct adapter_store *store) {
  struct stored_adapter *idlest = idlest_of(store);
  if (!idlest) return false;
  store->stats.evictions++;
  stored_leave(store, idlest);
  return true;
}

/* One that nobody will ask for again, or one too many. False: there is none. */
static bool leaver_free(struct adapter_store *store, const struct stored_adapter *coming) {
  struct stored_adapter *leaver = store->all;
  while (leaver && !is_over(leaver)) leaver = leaver->next;
  if (!leaver) return !store_has_room(store, coming) && idlest_leave(store);
  stored_leave(store, leaver);
  return true;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Where the folder lies is none of a client's business. */
static void path_hide(const char *folder, struct error *error) {
  char *found = strstr(error->text, folder);
  size_t size = strlen(folder) + 1; /* and the / */
  if (found && strlen(found) > size) memmove(found, found + size, strlen(found + size) + 1);
}

static unsigned long long mebibytes(uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

static struct adapter *file_read(const struct adapter_store *store, const char *name, struct identity *identity,
                                 struct error *error) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s/%s", store->folder, name) >= (int)sizeof path) {
    error_set(error, ERROR_INVALID, "The path of the adapter \"%.100s\" is too long.", name);
    return NULL;
  }
  struct identity after;
  identity_read(path, identity);
  struct adapter *adapter = store->options.read(path, store->options.engine, store->options.max_rank, error);
  identity_read(path, &after);
  identity->settled &= memcmp(identity->part, after.part, sizeof after.part) == 0;
  if (!adapter) path_hide(store->folder, error);
  if (!adapter || adapter->bytes <= store->options.max_bytes) return adapter;
  error_set(error, ERROR_LIMIT, "The adapter \"%.100s\" takes %llu MiB, more than --lora-memory allows all: %llu MiB.",
            name, mebibytes(adapter->bytes), mebibytes(store->options.max_bytes));
  store->options.release(adapter);
  return NULL;
}

/* Content that has not changed keeps its number, and with it its slot and its cached prefixes. */
static uint64_t id_of(struct adapter_store *store, struct stored_file *file, const struct identity *identity) {
  const struct identity *known = &file->identity;
  bool same = known->settled && identity->settled && memcmp(known->part, identity->part, sizeof known->part) == 0;
  if (!file->id || !same) file->id = ++store->n_id;
  file->identity = *identity;
  return file->id;
}

static void stored_settle(struct adapter_store *store, struct stored_adapter *stored, const struct error *error) {
  stored->error = *error;
  if (!stored->adapter) {
    stored->used_us = clock_us();
    store->stats.failures++;
  }
  atomic_store(&stored->state, stored->adapter ? ADAPTER_READY : ADAPTER_FAILED);
}

/* Now that it is known what it takes: is there memory for it, when all have left that nobody holds? */
static bool adapter_fits(struct adapter_store *store, struct stored_adapter *stored, const struct adapter *adapter) {
  stored->file->bytes = adapter->bytes;
  while (!has_memory(store, stored))
    if (!idlest_leave(store)) return false;
  return true;
}

static void adapter_keep(struct adapter_store *store, struct stored_adapter *stored, struct adapter *adapter,
                         const struct identity *identity) {
  stored->adapter = adapter;
  stored->id = id_of(store, stored->file, identity);
  store->stats.held++;
  store->stats.held_bytes += adapter->bytes;
  store->stats.loads++;
}

static void read_log(const struct stored_adapter *stored, const struct adapter *adapter, uint64_t start_ns,
                     const struct error *error) {
  double milliseconds = (double)(clock_ns() - start_ns) * 1e-6;
  if (adapter)
    log_debug("The adapter \"%s\" of rank %d is read: %.1f MiB, %.1f ms.", stored->file->name, adapter->rank,
              (double)adapter->bytes / (1 << 20), milliseconds);
  else
    log_warning("The adapter \"%s\" is not loaded. %s", stored->file->name, error->text);
}

/* Called and returns with the lock. The adapter is held meanwhile. One that turns out to be too large for what others
 * hold is coming still. */
static void stored_read(struct adapter_store *store, struct stored_adapter *stored) {
  struct identity identity;
  struct error error = {0};
  uint64_t start = clock_ns(), reserved = bytes_of(stored);
  stored->holders++;
  stored->reading = true;
  store->n_reading++;
  store->reading_bytes += reserved;
  pthread_mutex_unlock(&store->lock);
  struct adapter *adapter = file_read(store, stored->file->name, &identity, &error);
  read_log(stored, adapter, start, &error);
  pthread_mutex_lock(&store->lock);
  store->n_reading--;
  store->reading_bytes -= reserved;
  bool fits = !adapter || adapter_fits(store, stored, adapter);
  if (adapter && fits) adapter_keep(store, stored, adapter, &identity);
  if (fits) stored_settle(store, stored, &error);
  stored->reading = false;
  stored->holders--;
  if (fits) return;
  pthread_mutex_unlock(&store->lock);
  store->options.release(adapter);
  pthread_mutex_lock(&store->lock);
}

/* Requests of several adapters may hold all the memory, and each lack one more: who has waited longest gives up. */
static void stored_refuse(struct adapter_store *store, struct stored_adapter *stored) {
  struct error error;
  error_set(&error, ERROR_BUSY,
            "There is no memory for the adapter \"%.100s\": those that requests hold take %llu MiB of the %llu MiB of "
            "--lora-memory. Try again later.",
            stored->file->name, mebibytes(store->stats.held_bytes), mebibytes(store->options.max_bytes));
  log_warning("%s", error.text);
  stored_detach(stored); /* who asks from now on waits anew */
  stored_settle(store, stored, &error);
}

/* Nobody reads it yet, and somebody waits for it. */
static bool is_wanted(const struct stored_adapter *s) {
  return s->state == ADAPTER_COMING && s->holders > 0 && !s->reading;
}

/* The first from here on that has room, or may do without: of those that have waited for long one at a time does, the
 * first, and the next has to wait as long again. Nobody overtakes one that lacks memory. */
static struct stored_adapter *wanted_of(struct adapter_store *store, struct stored_adapter *first) {
  uint64_t now = clock_us();
  for (struct stored_adapter *s = first; s; s = s->next) {
    if (!is_wanted(s)) continue;
    if (!has_memory(store, s)) return NULL;
    if (store_has_room(store, s) || s->urgent) return s;
    if (now - s->asked_us < LATE_US || now - store->late_us < LATE_US) continue;
    store->late_us = now;
    return s;
  }
  return NULL;
}

static struct stored_adapter *first_wanted(const struct adapter_store *store) {
  struct stored_adapter *s = store->all;
  while (s && !is_wanted(s)) s = s->next;
  return s;
}

/* Reads one, or refuses one that has waited for memory for too long: then the others wait for what its requests let go.
 */
static bool wanted_do(struct adapter_store *store, struct stored_adapter *first) {
  if (!has_memory(store, first)) {
    uint64_t now = clock_us();
    if (store->n_reading > 0 || now - first->asked_us < FULL_US || now - store->late_us < LATE_US) return false;
    store->late_us = now;
    stored_refuse(store, first);
    return true;
  }
  struct stored_adapter *wanted = wanted_of(store, first);
  if (wanted) stored_read(store, wanted);
  return wanted != NULL;
}

/* --- the threads -------------------------------------------------------------------------------------------------- */

static bool look_is_due(const struct adapter_store *store) {
  return !store->looking && (store->looks_wanted != store->looks_done || clock_ns() >= store->next_look_ns);
}

static void work_wait(struct adapter_store *store) {
  struct timespec until = {(time_t)(store->next_look_ns / 1000000000), (long)(store->next_look_ns % 1000000000)};
  pthread_cond_timedwait(&store->work, &store->lock, &until);
}

/* One piece of work; false: there is none, nor has the lock been let go since that was found. */
static bool work_do(struct adapter_store *store) {
  struct stored_adapter *first = first_wanted(store);
  return leaver_free(store, first) || (first && wanted_do(store, first)) || files_sweep(store);
}

void *adapter_loader_thread(void *argument) {
  struct adapter_store *store = argument;
  pthread_mutex_lock(&store->lock);
  while (!store->stopping) {
    if (look_is_due(store)) { /* traffic wakes the threads before their time is over, again and again */
      folder_look(store);
      continue;
    }
    if (!work_do(store)) {
      work_wait(store);
      continue;
    }
    pthread_cond_broadcast(&store->settled);
    pthread_mutex_unlock(&store->lock);
    if (store->options.changed) store->options.changed(store->options.user);
    pthread_mutex_lock(&store->lock);
  }
  pthread_mutex_unlock(&store->lock);
  return NULL;
}
