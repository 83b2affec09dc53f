/* The folder as the store's reader sees it: its names, and what is known of files that have gone. */
#include "base/clock.h"
#include "base/log.h"
#include "engine/adapter_state.h"

#include <search.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
  LOOK_NS = 1000000000,
  FAILED_LOOKS = 10, /* of this length until what could not be listed is tried again */
  FILES_PAGE = 256,  /* that are looked at while the lock is held */
};

static bool times_equal(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

/* A folder that cannot be listed leaves the names as they are, and is looked at again after a while. What changes while
 * it is listed may have the same time: it is listed once more. */
void folder_look(struct adapter_store *store) {
  uint64_t wanted = store->looks_wanted;
  bool forced = wanted != store->looks_done;
  store->looking = true;
  store->next_look_ns = clock_ns() + LOOK_NS;
  struct stat about;
  struct error error;
  pthread_mutex_unlock(&store->lock);
  bool there = stat(store->folder, &about) == 0;
  bool changed = there && !times_equal(about.st_mtim, store->listed); /* which whoever looks alone writes */
  bool lists = there && (changed || forced || store->list_again);
  struct adapter_names *names = lists ? adapter_names_read(store->folder, &error) : NULL;
  if (lists && !names) log_warning("%s", error.text);
  pthread_mutex_lock(&store->lock);
  struct adapter_names *before = names ? store->names : NULL;
  if (names) {
    store->listed = about.st_mtim;
    store->names = names;
    store->swept = &store->first_file;
  }
  if (lists) store->list_again = changed || !names;
  store->looking = false;
  store->looks_done = wanted;
  store->next_look_ns = clock_ns() + (uint64_t)LOOK_NS * (lists && !names ? FAILED_LOOKS : 1);
  adapter_names_free(before);
  pthread_cond_broadcast(&store->settled);
}

bool files_sweep(struct adapter_store *store) {
  for (int i = 0; i < FILES_PAGE && *store->swept; i++) {
    struct stored_file *file = *store->swept;
    bool gone = !adapter_names_find(store->names, file->name) && file->n_alias == 0;
    if (gone && file->current && file->current->state != ADAPTER_COMING) stored_detach(file->current);
    if (!gone || file->n_stored > 0) {
      store->swept = &file->next;
      continue;
    }
    *store->swept = file->next;
    tdelete(file, &store->files, stored_name_compare);
    free(file);
  }
  return *store->swept != NULL;
}
