/* Reading a folder into a sorted list. */
#include "engine/adapter_names.h"

#include "base/arena.h"
#include "base/limits.h"
#include "base/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct adapter_names {
  struct arena arena; /* of the texts */
  char **name;        /* [count] ascending by strcmp */
  size_t count, room;
};

bool adapter_name_check(struct slice name, struct error *error) {
  if (name.size < 1 || name.size > LIMIT_ADAPTER_NAME_BYTES)
    return error_set(error, ERROR_INVALID, "An adapter's name of %zu bytes was given, expected 1 to %d.", name.size,
                     LIMIT_ADAPTER_NAME_BYTES);
  bool plain = utf8_valid(name) && name.data[0] != '.';
  for (size_t i = 0; plain && i < name.size; i++)
    plain = name.data[i] >= ' ' && name.data[i] != 0x7F && name.data[i] != '/';
  return plain || error_set(error, ERROR_INVALID,
                            "An adapter's name was given that begins with a dot, has a / or a control character, or is "
                            "no UTF-8: no adapter is called so.");
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static bool ends_in_gguf(const char *name) {
  size_t size = strlen(name);
  return size > 5 && strcmp(name + size - 5, ".gguf") == 0;
}

static bool entry_is_adapter(int folder, const struct dirent *entry) {
  struct stat about;
  if (!adapter_name_check(slice_text(entry->d_name), NULL)) return false;
  if (entry->d_type == DT_DIR) return true;
  if (entry->d_type == DT_REG) return ends_in_gguf(entry->d_name);
  if (fstatat(folder, entry->d_name, &about, 0) < 0) return false;
  return S_ISDIR(about.st_mode) || (S_ISREG(about.st_mode) && ends_in_gguf(entry->d_name));
}

static bool name_add(struct adapter_names *names, const char *name, struct error *error) {
  if (names->count == LIMIT_ADAPTER_NAMES)
    return error_set(error, ERROR_LIMIT, "The folder of adapters has more than %d of them: use several folders.",
                     LIMIT_ADAPTER_NAMES);
  if (names->count == names->room) {
    size_t room = names->room ? 2 * names->room : 64;
    char **larger = realloc(names->name, room * sizeof *larger);
    if (!larger) return error_set(error, ERROR_MEMORY, "Out of memory for the names of adapters.");
    names->name = larger;
    names->room = room;
  }
  names->name[names->count] = arena_text(&names->arena, slice_text(name));
  if (!names->name[names->count]) return error_set(error, ERROR_MEMORY, "Out of memory for the names of adapters.");
  names->count++;
  return true;
}

static int names_compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static bool names_fill(struct adapter_names *names, DIR *folder, struct error *error) {
  const struct dirent *entry;
  while ((errno = 0, entry = readdir(folder)))
    if (entry_is_adapter(dirfd(folder), entry) && !name_add(names, entry->d_name, error)) return false;
  if (errno) return error_set(error, ERROR_IO, "The folder of adapters cannot be listed: %s.", strerror(errno));
  if (names->count) qsort(names->name, names->count, sizeof *names->name, names_compare);
  return true;
}

struct adapter_names *adapter_names_read(const char *folder, struct error *error) {
  DIR *listing = opendir(folder);
  struct adapter_names *names = listing ? calloc(1, sizeof *names) : NULL;
  if (!listing) error_set(error, ERROR_IO, "The folder of adapters %s cannot be opened: %s.", folder, strerror(errno));
  if (listing && !names) error_set(error, ERROR_MEMORY, "Out of memory for the names of adapters.");
  if (names) arena_init(&names->arena, (size_t)LIMIT_ADAPTER_NAMES * (LIMIT_ADAPTER_NAME_BYTES + 17));
  bool read = names && names_fill(names, listing, error);
  if (listing) closedir(listing);
  if (read) return names;
  adapter_names_free(names);
  return NULL;
}

void adapter_names_free(struct adapter_names *names) {
  if (!names) return;
  arena_release(&names->arena);
  free(names->name);
  free(names);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

size_t adapter_names_count(const struct adapter_names *names) { return names->count; }

const char *adapter_names_at(const struct adapter_names *names, size_t index) { return names->name[index]; }

const char *adapter_names_find(const struct adapter_names *names, const char *name) {
  char **found = names->count ? bsearch(&name, names->name, names->count, sizeof *names->name, names_compare) : NULL;
  return found ? *found : NULL;
}
