/* The layout is huggingface_hub's (its guide "Understand caching"). */
#include "hub/hub_cache.h"

#include "base/file.h"
#include "base/limits.h"
#include "hub/hub_choice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value && *value ? value : NULL;
}

/* A path of the environment; ~/ is the home. */
static bool path_set(char path[PATH_MAX], const char *base, const char *below, struct error *error) {
  const char *home = variable("HOME");
  bool tilde = base[0] == '~' && (base[1] == '/' || base[1] == '\0');
  int size = -1;
  if (!tilde || home) size = snprintf(path, PATH_MAX, "%s%s%s", tilde ? home : "", base + tilde, below);
  if (size > 0 && size < PATH_MAX - 1) return true;
  return error_set(error, ERROR_INVALID, "There is no folder for models: set HF_HOME, or HOME.");
}

bool hub_named_path(char path[PATH_MAX], const char *named, struct error *error) {
  return path_set(path, named, "", error);
}

bool hub_home(char path[PATH_MAX], struct error *error) {
  const char *home = variable("HF_HOME"), *xdg = variable("XDG_CACHE_HOME");
  if (home) return path_set(path, home, "", error);
  return xdg ? path_set(path, xdg, "/huggingface", error) : path_set(path, "~", "/.cache/huggingface", error);
}

bool hub_cache_root(char path[PATH_MAX], struct error *error) {
  const char *cache = variable("HF_HUB_CACHE");
  char home[PATH_MAX];
  if (!cache) cache = variable("HUGGINGFACE_HUB_CACHE"); /* its former name */
  if (cache) return path_set(path, cache, "", error);
  return hub_home(home, error) && path_set(path, home, "/hub", error);
}

bool hub_repository_folder(const char *root, const char *repository, char path[PATH_MAX], struct error *error) {
  const char *slash = strchr(repository, '/');
  int organization = slash ? (int)(slash - repository) : 0;
  int size = snprintf(path, PATH_MAX, "%s/models--%.*s%s%s", root, organization, repository, slash ? "--" : "",
                      slash ? slash + 1 : repository);
  return size < PATH_MAX || error_set(error, ERROR_INVALID, "The path of the cache of models is too long.");
}

bool hub_cache_commit(const char *folder, const struct hub_id *id, char commit[HUB_COMMIT_BYTES]) {
  char path[PATH_MAX], text[HUB_COMMIT_BYTES + 1] = "";
  if (hub_is_commit(id->revision)) {
    memcpy(commit, id->revision, HUB_COMMIT_BYTES);
    return true;
  }
  if (snprintf(path, sizeof path, "%s/refs/%s", folder, id->revision) >= (int)sizeof path) return false;
  FILE *file = fopen(path, "r");
  if (!file) return false;
  size_t size = fread(text, 1, HUB_COMMIT_BYTES, file);
  fclose(file);
  text[size > 40 && text[40] == '\n' ? 40 : size] = '\0';
  if (!hub_is_commit(text)) return false;
  memcpy(commit, text, HUB_COMMIT_BYTES);
  return true;
}

/* --- a snapshot --------------------------------------------------------------------------------------------------- */

/* How the id was written, to be pulled again. */
static void id_write(const struct hub_id *id, char out[1024]) {
  bool revision = strcmp(id->revision, "main") != 0;
  snprintf(out, 1024, "%s%s%s%s%s", id->repository, *id->choice ? ":" : "", id->choice, revision ? "@" : "",
           revision ? id->revision : "");
}

static bool shards_check(struct hub_listing *listing, const struct hub_file *index, const char *folder,
                         const char *where, struct error *error) {
  char path[PATH_MAX];
  struct file file = {.descriptor = -1};
  if (snprintf(path, sizeof path, "%s/%s", folder, index->name) >= (int)sizeof path)
    return error_set(error, ERROR_INVALID, "The path of the cache of models is too long.");
  bool good =
      file_open(&file, path, error) &&
      (file.size <= LIMIT_CONFIG_BYTES ||
       error_set(error, ERROR_LIMIT, "%s has %zu bytes, expected at most %d.", path, file.size, LIMIT_CONFIG_BYTES)) &&
      hub_choose_shards(listing, index, slice_make(file.data, file.size), where, error);
  file_close(&file);
  return good;
}

/* A pair of GGUF files is opened by its folder, as long as it has no third. */
static bool is_pair(const struct hub_listing *listing, const struct hub_choice *choice) {
  if (!choice->projector || strchr(choice->model->name, '/')) return false;
  int n = 0;
  for (int i = 0; i < listing->n; i++) n += strstr(listing->files[i].name, ".gguf") != NULL;
  return n == 2;
}

static bool snapshot_open(const struct hub_id *id, const char *folder, char path[PATH_MAX], struct error *error) {
  char where[PATH_MAX + 32];
  struct hub_listing listing;
  struct hub_choice choice;
  hub_listing_init(&listing);
  snprintf(where, sizeof where, "%s in the cache", id->repository);
  bool good = hub_listing_scan(&listing, folder, error) && hub_choose(&listing, id->choice, where, &choice, error) &&
              (!choice.index || shards_check(&listing, choice.index, folder, where, error));
  bool whole = good && (choice.kind == HUB_FOLDER || is_pair(&listing, &choice));
  if (good && snprintf(path, PATH_MAX, "%s%s%s", folder, whole ? "" : "/", whole ? "" : choice.model->name) >= PATH_MAX)
    good = error_set(error, ERROR_INVALID, "The path of the cache of models is too long.");
  hub_listing_release(&listing);
  return good;
}

bool hub_cache_find(const struct hub_id *id, char path[PATH_MAX], struct error *error) {
  char root[PATH_MAX], folder[PATH_MAX], snapshot[PATH_MAX + 64], commit[HUB_COMMIT_BYTES], written[1024];
  struct error why;
  id_write(id, written);
  if (!hub_cache_root(root, error) || !hub_repository_folder(root, id->repository, folder, error)) return false;
  bool known = hub_cache_commit(folder, id, commit);
  if (known) snprintf(snapshot, sizeof snapshot, "%s/snapshots/%s", folder, commit);
  if (!known || access(snapshot, F_OK) != 0)
    return error_set(error, ERROR_NOT_FOUND,
                     "%s is neither a file or folder here nor a model in the cache %s: spate pull %s fetches it.",
                     written, root, written);
  if (snapshot_open(id, snapshot, path, &why)) return true;
  bool missing = why.code == ERROR_FORMAT || why.code == ERROR_NOT_FOUND || why.code == ERROR_UNSUPPORTED;
  if (!missing) return error_set(error, why.code, "%s", why.text);
  return error_set(error, why.code, "%s Spate pull %s fetches what is missing.", why.text, written);
}

/* A word that is spelt as a file is one, though the hub could have a model of that name. */
static bool is_file_name(const char *model) {
  static const char *const ends[] = {".gguf", ".spate", ".safetensors", ".json", ".bin"};
  size_t size = strlen(model);
  for (size_t i = 0; !strchr(model, '/') && i < sizeof ends / sizeof *ends; i++)
    if (size >= strlen(ends[i]) && strcmp(model + size - strlen(ends[i]), ends[i]) == 0) return true;
  return false;
}

bool hub_model_path(const char *model, char path[PATH_MAX], struct error *error) {
  struct hub_id id;
  struct stat status;
  if (strlen(model) >= PATH_MAX) return error_set(error, ERROR_INVALID, "The model's path is too long.");
  if (stat(model, &status) != 0 && errno == ENOENT && !is_file_name(model) && hub_id_parse(&id, model, NULL))
    return hub_cache_find(&id, path, error);
  strcpy(path, model);
  return true;
}
