/* The course of a pull: list, choose, fetch what is small, then what an index names, then tell where it is. */
#include "pull/pull_state.h"

#include "base/file.h"
#include "http/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Asked by what waits: the bar stays as it is. */
static bool go_on(void *user) {
  const struct pull *pull = user;
  const struct pull_options *options = pull->options;
  if (!options->progress) return true;
  return options->progress(options->user, pull->at ? pull->at->name : NULL, pull->done, pull->at ? pull->at->size : 0);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static bool file_fetch(struct pull *pull, const struct hub_file *file, struct error *error) {
  return pull_placed(pull, file) || pull_blob(pull, file, error);
}

static uint64_t missing_of(const struct pull *pull, const struct hub_file *file) {
  return pull_placed(pull, file) ? 0 : file->size - pull_blob_present(pull, file);
}

static uint64_t missing_of_all(const struct pull *pull) {
  uint64_t missing = 0;
  for (int i = 0; i < pull->listing.n; i++)
    if (pull->listing.files[i].wanted) missing += missing_of(pull, &pull->listing.files[i]);
  return missing;
}

/* The index tells which files there are: it comes first. */
static bool index_read(struct pull *pull, struct error *error) {
  char path[PATH_MAX];
  struct file file = {.descriptor = -1};
  const struct hub_file *index = pull->choice.index;
  if (index->size > LIMIT_CONFIG_BYTES)
    return error_set(error, ERROR_LIMIT, "%s has %llu bytes, expected at most %d.", index->name,
                     (unsigned long long)index->size, LIMIT_CONFIG_BYTES);
  bool good = file_fetch(pull, index, error) && pull_link_path(pull, index, path, error) &&
              file_open(&file, path, error) &&
              hub_choose_shards(&pull->listing, index, slice_make(file.data, file.size), pull->where, error);
  file_close(&file);
  return good;
}

static bool files_fetch(struct pull *pull, struct pull_result *result, struct error *error) {
  if (!hub_choose(&pull->listing, pull->options->id.choice, pull->where, &pull->choice, error)) return false;
  result->fetched = pull->choice.index ? missing_of(pull, pull->choice.index) : 0;
  if (pull->choice.index && !index_read(pull, error)) return false;
  uint64_t missing = missing_of_all(pull);
  result->fetched += missing;
  if (!pull_room_check(pull, missing, error)) return false;
  for (int i = 0; i < pull->listing.n; i++) {
    const struct hub_file *file = &pull->listing.files[i];
    if (!file->wanted) continue;
    if (!file_fetch(pull, file, error)) return false;
    result->n_file++;
    result->bytes += file->size;
  }
  return pull_ref_write(pull, error);
}

/* --- where it is -------------------------------------------------------------------------------------------------- */

/* As the other commands find it. */
static bool path_tell(const struct pull *pull, struct pull_result *result, struct error *error) {
  struct hub_id id = pull->options->id;
  memcpy(id.revision, pull->commit, sizeof pull->commit);
  return hub_cache_find(&id, result->path, error);
}

static bool offline_tell(const struct pull *pull, struct pull_result *result, struct error *error) {
  return hub_cache_find(&pull->options->id, result->path, error) ||
         error_prefix(error, "HF_HUB_OFFLINE is set, so that nothing is fetched. ");
}

static bool pull_begin(struct pull *pull, struct error *error) {
  const char *repository = pull->options->id.repository;
  snprintf(pull->where, sizeof pull->where, "The repository %s", repository);
  hub_listing_init(&pull->listing);
  pull->fetch = (struct fetch_context){.environment = &pull->environment, .go_on = go_on, .user = pull};
  return pull_environment_read(&pull->environment, error) && hub_cache_root(pull->root, error) &&
         hub_repository_folder(pull->root, repository, pull->folder, error);
}

static bool online_run(struct pull *pull, struct pull_result *result, struct error *error) {
  pull->fetch.tls = tls_client_context_open(error);
  return pull->fetch.tls && pull_list(pull, error) && files_fetch(pull, result, error) &&
         path_tell(pull, result, error);
}

bool pull_run(const struct pull_options *options, struct pull_result *result, struct error *error) {
  struct pull *pull = calloc(1, sizeof *pull);
  if (!pull) return error_set(error, ERROR_MEMORY, "There is no memory for a pull.");
  *result = (struct pull_result){0};
  pull->options = options;
  bool good = pull_begin(pull, error) &&
              (pull->environment.offline ? offline_tell(pull, result, error) : online_run(pull, result, error));
  tls_context_free(pull->fetch.tls);
  hub_listing_release(&pull->listing);
  explicit_bzero(pull->environment.token, sizeof pull->environment.token);
  free(pull);
  return good;
}
