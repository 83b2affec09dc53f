/* The store's reader: it reads and drops adapters, and has the folder looked at. */
#include "base/clock.h"
#include "base/log.h"
#include "engine/adapter_state.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

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

/* Is there room for what is coming, or for what there is? */
static bool has_room(const struct adapter_store *store, bool coming) {
  return store->stats.held + coming <= store->options.max_held &&
         store->stats.held_bytes + coming <= store->options.max_bytes;
}

/* One that nobody will ask for again, or one too many; NULL: there is none. */
static struct stored_adapter *leaver_take(struct adapter_store *store, bool coming) {
  struct stored_adapter *leaver = store->all;
  while (leaver && !is_over(leaver)) leaver = leaver->next;
  if (!leaver && !has_room(store, coming) && (leaver = idlest_of(store))) store->stats.evictions++;
  if (!leaver) return NULL;
  stored_detach(leaver);
  stored_unlink(store, leaver);
  return leaver;
}

/* Called and returns with the lock. False: there is none. */
static bool leaver_free(struct adapter_store *store, bool coming) {
  struct stored_adapter *leaver = leaver_take(store, coming);
  if (!leaver) return false;
  pthread_mutex_unlock(&store->lock);
  stored_free(store, leaver);
  pthread_mutex_lock(&store->lock);
  return true;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static bool identity_read(const char *path, struct identity *identity) {
  static const char *const parts[2] = {"/adapter_model.safetensors", "/adapter_config.json"};
  char part[PATH_MAX];
  struct stat about;
  memset(identity, 0, sizeof *identity);
  for (int i = 0; i < 2; i++) {
    bool single = stat(path, &about) == 0 && !S_ISDIR(about.st_mode);
    if (snprintf(part, sizeof part, "%s%s", path, single ? "" : parts[i]) >= (int)sizeof part) return false;
    if (stat(part, &about) < 0) return false;
    identity->part[i].device = about.st_dev;
    identity->part[i].inode = about.st_ino;
    identity->part[i].size = about.st_size;
    identity->part[i].written = about.st_mtim;
    identity->part[i].changed = about.st_ctim;
  }
  return true;
}

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
  identity_read(path, identity); /* what is not there, the reader says */
  struct adapter *adapter = store->options.read(path, store->options.engine, store->options.max_rank, error);
  if (!adapter) path_hide(store->folder, error);
  if (!adapter || adapter->bytes <= store->options.max_bytes) return adapter;
  error_set(error, ERROR_LIMIT, "The adapter \"%.100s\" takes %llu MiB, more than --lora-memory allows all: %llu MiB.",
            name, mebibytes(adapter->bytes), mebibytes(store->options.max_bytes));
  store->options.release(adapter);
  return NULL;
}

/* Content that has not changed keeps its number, and with it its slot and its cached prefixes. */
static uint64_t id_of(struct adapter_store *store, struct stored_file *file, const struct identity *identity) {
  if (!file->id || memcmp(&file->identity, identity, sizeof *identity) != 0) file->id = ++store->n_id;
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

/* Called and returns with the lock. The adapter is held meanwhile. */
static void stored_read(struct adapter_store *store, struct stored_adapter *stored) {
  struct identity identity;
  struct error error = {0};
  stored->holders++;
  pthread_mutex_unlock(&store->lock);
  uint64_t start = clock_ns();
  struct adapter *adapter = file_read(store, stored->file->name, &identity, &error);
  double milliseconds = (double)(clock_ns() - start) * 1e-6;
  if (adapter)
    log_debug("The adapter \"%s\" of rank %d is read: %.1f MiB, %.1f ms.", stored->file->name, adapter->rank,
              (double)adapter->bytes / (1 << 20), milliseconds);
  else
    log_warning("The adapter \"%s\" is not loaded. %s", stored->file->name, error.text);
  pthread_mutex_lock(&store->lock);
  stored->holders--;
  stored->adapter = adapter;
  if (adapter) {
    stored->id = id_of(store, stored->file, &identity);
    store->stats.held++;
    store->stats.held_bytes += adapter->bytes;
    store->stats.loads++;
  }
  stored_settle(store, stored, &error);
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

/* The first that is coming and has room, or may do without: of those that have waited for long one at a time does, the
 * first, and the next has to wait as long again. */
static struct stored_adapter *coming_of(struct adapter_store *store) {
  uint64_t now = clock_us();
  for (struct stored_adapter *s = store->all; s; s = s->next) {
    if (s->state != ADAPTER_COMING || s->holders == 0) continue;
    if (has_room(store, true) || s->urgent) return s;
    if (now - s->asked_us < LATE_US || now - store->late_us < LATE_US) continue;
    store->late_us = now;
    return s;
  }
  return NULL;
}

/* Of those that are coming the first, which is known to be held by somebody. */
static struct stored_adapter *first_coming(const struct adapter_store *store) {
  struct stored_adapter *s = store->all;
  while (s && (s->state != ADAPTER_COMING || s->holders == 0)) s = s->next;
  return s;
}

/* Reads one, or refuses one that has waited for memory for too long: then the others wait for what its requests let go.
 */
static bool coming_do(struct adapter_store *store, struct stored_adapter *first) {
  if (store->stats.held_bytes >= store->options.max_bytes) {
    uint64_t now = clock_us();
    if (now - first->asked_us < FULL_US || now - store->late_us < LATE_US) return false;
    store->late_us = now;
    stored_refuse(store, first);
    return true;
  }
  struct stored_adapter *coming = coming_of(store);
  if (coming) stored_read(store, coming);
  return coming != NULL;
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static void work_wait(struct adapter_store *store) {
  struct timespec until = {(time_t)(store->next_look_ns / 1000000000), (long)(store->next_look_ns % 1000000000)};
  pthread_cond_timedwait(&store->work, &store->lock, &until);
}

/* One piece of work; false: there is none, nor has the lock been let go since that was found. */
static bool work_do(struct adapter_store *store) {
  if (store->looks_wanted != store->looks_done) {
    folder_look(store);
    return true;
  }
  struct stored_adapter *first = first_coming(store);
  return leaver_free(store, first != NULL) || (first && coming_do(store, first)) || files_sweep(store);
}

void *adapter_loader_thread(void *argument) {
  struct adapter_store *store = argument;
  pthread_mutex_lock(&store->lock);
  while (!store->stopping) {
    if (clock_ns() >= store->next_look_ns) { /* traffic wakes the thread before its time is over, again and again */
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
