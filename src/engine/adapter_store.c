/* Asking for adapters, and the store's life. One lock over all names and adapters, never held while a file is read or a
 * device is written. */
#include "base/clock.h"
#include "engine/adapter_state.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <sys/stat.h>

/* --- names -------------------------------------------------------------------------------------------------------- */

/* Both kinds begin with their name. */
int stored_name_compare(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct stored_file *file_of(struct adapter_store *store, const char *name, struct error *error) {
  void *found = tfind(&name, &store->files, stored_name_compare);
  if (found) return *(struct stored_file **)found;
  size_t size = strlen(name) + 1;
  struct stored_file *file = calloc(1, sizeof *file + size);
  if (file) file->name = memcpy(file->text, name, size);
  if (file && tsearch(file, &store->files, stored_name_compare)) {
    file->next = store->first_file;
    store->first_file = file;
    return file;
  }
  free(file);
  error_set(error, ERROR_MEMORY, "Out of memory for an adapter.");
  return NULL;
}

/* A name as text of its own; false when no adapter can be called so. */
bool adapter_name_copy(struct slice name, char text[LIMIT_ADAPTER_NAME_BYTES + 1], struct error *error) {
  if (!adapter_name_check(name, error)) return false;
  memcpy(text, name.data, name.size);
  text[name.size] = '\0';
  return true;
}

bool refuse_unknown_adapter(const char *name, struct error *error) {
  return error_set(
      error, ERROR_NOT_FOUND,
      "There is no adapter \"%.200s\": the folder of --lora-dir has none of that name, nor was it loaded by "
      "that name.",
      name);
}

/* --- adapters ----------------------------------------------------------------------------------------------------- */

static struct stored_adapter *stored_new(struct adapter_store *store, struct stored_file *file, struct error *error) {
  struct stored_adapter *stored = calloc(1, sizeof *stored);
  if (!stored) {
    error_set(error, ERROR_MEMORY, "Out of memory for an adapter.");
    return NULL;
  }
  stored->file = file;
  stored->current = true;
  stored->asked_us = clock_us();
  file->current = stored;
  file->n_stored++;
  *store->last = stored;
  store->last = &stored->next;
  pthread_cond_signal(&store->work);
  return stored;
}

/* Who asks for its file from now on gets another; it goes when nobody holds it. */
void stored_detach(struct stored_adapter *stored) {
  if (stored->current) stored->file->current = NULL;
  stored->current = false;
}

bool failed_long_ago(const struct stored_adapter *stored) {
  return stored->state == ADAPTER_FAILED && clock_us() - stored->used_us >= ADAPTER_RETRY_US;
}

/* The adapter of a file, held. */
struct stored_adapter *file_take(struct adapter_store *store, const char *name, bool urgent, struct error *error) {
  struct stored_file *file = file_of(store, name, error);
  if (!file) return NULL;
  if (file->current && failed_long_ago(file->current)) stored_detach(file->current);
  struct stored_adapter *stored = file->current ? file->current : stored_new(store, file, error);
  if (!stored) return NULL;
  if (stored->state == ADAPTER_FAILED) {
    error_set(error, stored->error.code, "%s", stored->error.text);
    return NULL;
  }
  stored->holders++;
  stored->urgent |= urgent;
  stored->used_us = clock_us();
  return stored;
}

struct stored_adapter *adapter_store_take(struct adapter_store *store, struct slice name, bool urgent,
                                          struct error *error) {
  char text[LIMIT_ADAPTER_NAME_BYTES + 1];
  if (!adapter_name_copy(name, text, error)) return NULL;
  pthread_mutex_lock(&store->lock);
  const char *file = file_called(store, text);
  struct stored_adapter *stored = file ? file_take(store, file, urgent, error) : NULL;
  if (!file) refuse_unknown_adapter(text, error);
  pthread_mutex_unlock(&store->lock);
  return stored;
}

void stored_drop(struct adapter_store *store, struct stored_adapter *stored) {
  if (--stored->holders == 0) pthread_cond_signal(&store->work);
}

void adapter_store_drop(struct adapter_store *store, struct stored_adapter *stored) {
  pthread_mutex_lock(&store->lock);
  stored_drop(store, stored);
  pthread_mutex_unlock(&store->lock);
}

bool stored_await(struct adapter_store *store, struct stored_adapter *stored, struct error *error) {
  while (stored->state == ADAPTER_COMING) pthread_cond_wait(&store->settled, &store->lock);
  if (stored->state == ADAPTER_READY) return true;
  return error_set(error, stored->error.code, "%s", stored->error.text);
}

const char *stored_adapter_name(const struct stored_adapter *stored) { return stored->file->name; }

void stored_free(const struct adapter_store *store, struct stored_adapter *stored) {
  if (stored->adapter) store->options.release(stored->adapter);
  free(stored);
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

bool adapter_store_has(struct adapter_store *store, struct slice name) {
  char text[LIMIT_ADAPTER_NAME_BYTES + 1];
  if (!adapter_name_copy(name, text, NULL)) return false;
  pthread_mutex_lock(&store->lock);
  bool has = file_called(store, text) != NULL;
  pthread_mutex_unlock(&store->lock);
  return has;
}

void adapter_store_visit(struct adapter_store *store, void (*visit)(void *user, const struct stored_adapter *stored),
                         void *user) {
  pthread_mutex_lock(&store->lock);
  for (const struct stored_adapter *s = store->all; s; s = s->next) visit(user, s);
  pthread_mutex_unlock(&store->lock);
}

void adapter_store_stats(struct adapter_store *store, struct adapter_store_stats *stats) {
  pthread_mutex_lock(&store->lock);
  *stats = store->stats;
  pthread_mutex_unlock(&store->lock);
}

/* --- placements --------------------------------------------------------------------------------------------------- */

static void placement_ask(struct adapter_store *store, int slot, struct stored_adapter *stored) {
  stored->holders++;
  store->placement[slot].stored = stored;
  store->placement[slot].state = PLACE_COMING;
  pthread_cond_signal(&store->placing);
}

static enum adapter_placing placement_take(struct placement *placement, struct error *error) {
  enum adapter_placing state = placement->state;
  if (state == PLACE_FAILED) *error = placement->error;
  if (state == PLACE_DONE || state == PLACE_FAILED) placement->state = PLACE_NONE;
  return state;
}

void adapter_store_place(struct adapter_store *store, int slot, struct stored_adapter *stored) {
  pthread_mutex_lock(&store->lock);
  placement_ask(store, slot, stored);
  pthread_mutex_unlock(&store->lock);
}

enum adapter_placing adapter_store_placed(struct adapter_store *store, int slot, struct error *error) {
  pthread_mutex_lock(&store->lock);
  enum adapter_placing state = placement_take(&store->placement[slot], error);
  pthread_mutex_unlock(&store->lock);
  return state;
}

bool adapter_store_put(struct adapter_store *store, int slot, struct stored_adapter *stored, struct error *error) {
  struct placement *placement = &store->placement[slot];
  pthread_mutex_lock(&store->lock);
  bool done = stored_await(store, stored, error);
  if (done) {
    placement_ask(store, slot, stored);
    while (placement->state == PLACE_COMING) pthread_cond_wait(&store->settled, &store->lock);
    done = placement_take(placement, error) == PLACE_DONE;
  }
  pthread_mutex_unlock(&store->lock);
  return done;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static bool threads_start(struct adapter_store *store, struct error *error) {
  while (store->n_reader < ADAPTER_READERS &&
         pthread_create(&store->reader[store->n_reader], NULL, adapter_loader_thread, store) == 0)
    pthread_setname_np(store->reader[store->n_reader++], "adapter-reader");
  store->places =
      store->n_reader == ADAPTER_READERS && pthread_create(&store->placer, NULL, adapter_placer_thread, store) == 0;
  if (!store->places)
    return error_set(error, ERROR_MEMORY, "The system refused to start a thread: raise its limit on threads.");
  pthread_setname_np(store->placer, "adapter-placer");
  return true;
}

static bool store_start(struct adapter_store *store, struct error *error) {
  struct stat about;
  store->folder = realpath(store->options.folder, NULL);
  store->given = strdup(store->options.folder);
  store->placement = calloc((size_t)store->options.n_slot + 1, sizeof *store->placement);
  if (!store->folder || stat(store->folder, &about) < 0)
    return error_set(error, ERROR_NOT_FOUND, "The folder of adapters %s cannot be opened: %s.", store->options.folder,
                     strerror(errno));
  store->listed = about.st_mtim;
  store->list_again = true; /* what came meanwhile may have this time */
  store->names = adapter_names_read(store->folder, error);
  if (!store->names) return false;
  if (!store->placement || !store->given) return error_set(error, ERROR_MEMORY, "Out of memory for adapters.");
  return threads_start(store, error);
}

struct adapter_store *adapter_store_new(const struct adapter_store_options *options, struct error *error) {
  struct adapter_store *store = calloc(1, sizeof *store);
  if (!store) {
    error_set(error, ERROR_MEMORY, "Out of memory for adapters.");
    return NULL;
  }
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&store->lock, NULL);
  pthread_cond_init(&store->work, &monotonic);
  pthread_cond_init(&store->placing, NULL);
  pthread_cond_init(&store->settled, NULL);
  pthread_condattr_destroy(&monotonic);
  store->options = *options;
  store->last = &store->all;
  store->swept = &store->first_file;
  if (store_start(store, error)) return store;
  adapter_store_free(store);
  return NULL;
}

void adapter_store_free(struct adapter_store *store) {
  if (!store) return;
  pthread_mutex_lock(&store->lock);
  store->stopping = true;
  pthread_cond_broadcast(&store->work);
  pthread_cond_signal(&store->placing);
  pthread_mutex_unlock(&store->lock);
  for (int i = 0; i < store->n_reader; i++) pthread_join(store->reader[i], NULL);
  if (store->places) pthread_join(store->placer, NULL);
  for (struct stored_adapter *stored; (stored = store->all);) {
    store->all = stored->next;
    stored_free(store, stored);
  }
  tdestroy(store->files, free);
  tdestroy(store->aliases, free);
  adapter_names_free(store->names);
  pthread_mutex_destroy(&store->lock);
  pthread_cond_destroy(&store->work);
  pthread_cond_destroy(&store->placing);
  pthread_cond_destroy(&store->settled);
  free(store->placement);
  free(store->folder);
  free(store->given);
  free(store);
}
