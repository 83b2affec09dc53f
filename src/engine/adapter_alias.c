/* Names that were given to adapters by request, or taken away. */
#include "base/buffer.h"
#include "engine/adapter_state.h"

#include <search.h>
#include <stdlib.h>

enum { NAMES_PAGE = 256 }; /* that are looked at while the lock is held */

static struct stored_alias *alias_find(const struct adapter_store *store, const char *name) {
  void *found = tfind(&name, &store->aliases, stored_name_compare);
  return found ? *(struct stored_alias **)found : NULL;
}

/* What it stands for: a file holds as many names as stand for it. */
static void alias_point(struct adapter_store *store, struct stored_alias *alias, struct stored_file *file) {
  if (file) file->n_alias++;
  if (alias->file && --alias->file->n_alias == 0) store->swept = &store->first_file;
  alias->file = file;
}

static void alias_remove(struct adapter_store *store, struct stored_alias *alias) {
  tdelete(alias, &store->aliases, stored_name_compare);
  alias_point(store, alias, NULL);
  free(alias);
  store->n_alias--;
}

/* file NULL: nobody is called so. After false the name is what it was. */
static bool alias_set(struct adapter_store *store, const char *name, struct stored_file *file, struct error *error) {
  struct stored_alias *alias = alias_find(store, name);
  size_t size = strlen(name) + 1;
  if (alias) {
    alias_point(store, alias, file);
    return true;
  }
  if (store->n_alias == LIMIT_ADAPTER_ALIASES)
    return error_set(error, ERROR_LIMIT, "%d adapters have been loaded or unloaded by name, no more can be.",
                     LIMIT_ADAPTER_ALIASES);
  alias = calloc(1, sizeof *alias + size);
  if (alias) alias->name = memcpy(alias->text, name, size);
  if (!alias || !tsearch(alias, &store->aliases, stored_name_compare)) {
    free(alias);
    return error_set(error, ERROR_MEMORY, "Out of memory for the name of an adapter.");
  }
  alias_point(store, alias, file);
  store->n_alias++;
  return true;
}

/* The file that is called so; NULL: none is. */
const char *file_called(const struct adapter_store *store, const char *name) {
  const struct stored_alias *alias = alias_find(store, name);
  if (!alias) return adapter_names_find(store->names, name);
  return alias->file ? alias->file->name : NULL;
}

/* --- by request --------------------------------------------------------------------------------------------------- */

static struct slice below(const char *folder, struct slice path) {
  size_t size = strlen(folder);
  while (size > 0 && folder[size - 1] == '/') size--;
  bool is_below = path.size > size && memcmp(path.data, folder, size) == 0 && path.data[size] == '/';
  return is_below ? slice_make(path.data + size + 1, path.size - size - 1) : path;
}

/* A path is the folder's, as it was given or without links, and a name, or a name. */
static struct slice path_strip(const struct adapter_store *store, struct slice path) {
  struct slice name = below(store->folder, path);
  return name.size < path.size ? name : below(store->given, path);
}

static void folder_look_now(struct adapter_store *store) {
  uint64_t wanted = ++store->looks_wanted;
  pthread_cond_signal(&store->work);
  while (store->looks_done < wanted) pthread_cond_wait(&store->settled, &store->lock);
}

/* What a file's adapter was before it is read again, held; NULL: none, or there is no room for both. */
static struct stored_adapter *stored_before(struct adapter_store *store, struct stored_file *file) {
  struct stored_adapter *before = file->current;
  if (!before || (before->state == ADAPTER_COMING && !before->reading)) return NULL;
  stored_detach(before);
  if (before->state != ADAPTER_READY || !store_has_room(store, before)) return NULL;
  before->holders++;
  return before;
}

/* It stays what it was if no other could be read. */
static void stored_restore(struct adapter_store *store, struct stored_adapter *before) {
  struct stored_file *file = before->file;
  if (file->current && file->current->state == ADAPTER_FAILED) stored_detach(file->current);
  before->current = !file->current;
  if (before->current) file->current = before;
  stored_drop(store, before);
}

/* Under the lock. An adapter that was read before, and whose file may have changed, is read again. What is coming
 * must not have been begun before now. */
static bool named_load(struct adapter_store *store, const char *name, const char *file, struct error *error) {
  folder_look_now(store);
  const char *found = adapter_names_find(store->names, file);
  if (!found)
    return error_set(error, ERROR_NOT_FOUND,
                     "There is no adapter \"%.200s\" in the folder of --lora-dir: lora_path is a name in it, or its "
                     "path and that.",
                     file);
  struct stored_file *stored_file = file_of(store, found, error);
  if (!stored_file) return false;
  struct stored_adapter *before = stored_before(store, stored_file);
  struct stored_adapter *stored = file_take(store, stored_file->name, true, error);
  bool loaded = stored && stored_await(store, stored, error) && alias_set(store, name, stored->file, error);
  if (before) stored_restore(store, before);
  if (stored) stored_drop(store, stored);
  return loaded;
}

bool adapter_store_load(struct adapter_store *store, struct slice name, struct slice path, struct error *error) {
  char name_text[LIMIT_ADAPTER_NAME_BYTES + 1], file_text[LIMIT_ADAPTER_NAME_BYTES + 1];
  if (!adapter_name_copy(name, name_text, error)) return false;
  if (!adapter_name_copy(path_strip(store, path), file_text, NULL))
    return error_set(error, ERROR_INVALID,
                     "lora_path must be the name of an adapter in the folder of --lora-dir, or the folder's path, a / "
                     "and that name.");
  pthread_mutex_lock(&store->lock);
  bool loaded = named_load(store, name_text, file_text, error);
  pthread_mutex_unlock(&store->lock);
  return loaded;
}

static bool named_unload(struct adapter_store *store, const char *name, struct error *error) {
  const char *file = file_called(store, name);
  if (!file) return refuse_unknown_adapter(name, error);
  void *found = tfind(&file, &store->files, stored_name_compare);
  struct stored_file *stored_file = found ? *(struct stored_file **)found : NULL;
  bool hides = adapter_names_find(store->names, name) != NULL;
  if (stored_file && stored_file->current && stored_file->current->state != ADAPTER_COMING)
    stored_detach(stored_file->current);
  pthread_cond_signal(&store->work);
  struct stored_alias *alias = alias_find(store, name);
  if (hides || !alias) return alias_set(store, name, NULL, error); /* what is not in the folder was given */
  alias_remove(store, alias);
  return true;
}

bool adapter_store_unload(struct adapter_store *store, struct slice name, struct error *error) {
  char text[LIMIT_ADAPTER_NAME_BYTES + 1];
  if (!adapter_name_copy(name, text, error)) return false;
  pthread_mutex_lock(&store->lock);
  bool unloaded = named_unload(store, text, error);
  pthread_mutex_unlock(&store->lock);
  return unloaded;
}

/* --- of another store --------------------------------------------------------------------------------------------- */

struct given_visit {
  void (*visit)(void *user, const char *name, const char *file);
  void *user;
};

static void alias_tell(const void *node, VISIT when, void *argument) {
  const struct given_visit *given = argument;
  const struct stored_alias *alias = *(struct stored_alias *const *)node;
  if (when == postorder || when == leaf) given->visit(given->user, alias->name, alias->file ? alias->file->name : NULL);
}

void adapter_store_given(struct adapter_store *store, void (*visit)(void *user, const char *name, const char *file),
                         void *user) {
  struct given_visit given = {visit, user};
  pthread_mutex_lock(&store->lock);
  twalk_r(store->aliases, alias_tell, &given);
  pthread_mutex_unlock(&store->lock);
}

bool adapter_store_give(struct adapter_store *store, struct slice name, struct slice file, struct error *error) {
  char name_text[LIMIT_ADAPTER_NAME_BYTES + 1], file_text[LIMIT_ADAPTER_NAME_BYTES + 1];
  if (!adapter_name_copy(name, name_text, error) || (file.data && !adapter_name_copy(file, file_text, error)))
    return false;
  pthread_mutex_lock(&store->lock);
  struct stored_file *stored_file = file.data ? file_of(store, file_text, error) : NULL;
  bool given = (stored_file || !file.data) && alias_set(store, name_text, stored_file, error);
  pthread_mutex_unlock(&store->lock);
  return given;
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

/* Names in texts of their own, each with its NUL, so that they are told without the lock. */
struct telling {
  const struct adapter_store *store;
  size_t left;
  struct buffer names;
};

/* A name that stands in the folder too is told with that. */
static void alias_note(const void *node, VISIT when, void *argument) {
  struct telling *telling = argument;
  const struct stored_alias *alias = *(struct stored_alias *const *)node;
  if ((when != postorder && when != leaf) || telling->left == 0 || !alias->file) return;
  if (adapter_names_find(telling->store->names, alias->name)) return;
  buffer_append(&telling->names, alias->name, strlen(alias->name) + 1);
  telling->left--;
}

/* Up to a page of the folder's names from *next on, which are not hidden. False: those were the last. */
static bool page_note(struct telling *telling, size_t *next) {
  const struct adapter_names *names = telling->store->names;
  size_t end = *next + NAMES_PAGE;
  for (; *next < end && *next < adapter_names_count(names) && telling->left > 0; ++*next) {
    const char *name = adapter_names_at(names, *next);
    if (!file_called(telling->store, name)) continue;
    buffer_append(&telling->names, name, strlen(name) + 1);
    telling->left--;
  }
  return *next < adapter_names_count(names) && telling->left > 0;
}

static void names_tell(struct buffer *names, void (*visit)(void *user, const char *name), void *user) {
  for (size_t at = 0; at < names->size; at += strlen(names->data + at) + 1) visit(user, names->data + at);
  buffer_clear(names);
}

void adapter_store_list(struct adapter_store *store, size_t most, void (*visit)(void *user, const char *name),
                        void *user) {
  struct telling telling = {.store = store, .left = most};
  size_t next = 0;
  buffer_init(&telling.names, (LIMIT_ADAPTER_ALIASES + NAMES_PAGE) * (LIMIT_ADAPTER_NAME_BYTES + 1));
  pthread_mutex_lock(&store->lock);
  twalk_r(store->aliases, alias_note, &telling);
  for (bool more = true; more;) {
    more = page_note(&telling, &next);
    pthread_mutex_unlock(&store->lock);
    names_tell(&telling.names, visit, user);
    pthread_mutex_lock(&store->lock);
  }
  pthread_mutex_unlock(&store->lock);
  buffer_release(&telling.names);
}
