/* The names of the adapters in a folder: its sub-folders and its files that end in .gguf, of which none begins with a
 * dot. What a client calls an adapter is looked up here, and never becomes a path. Constant once read. */
#ifndef SPATE_ENGINE_ADAPTER_NAMES_H
#define SPATE_ENGINE_ADAPTER_NAMES_H

#include "base/error.h"
#include "base/slice.h"

#include <stddef.h>

struct adapter_names;

/* Links are followed. Names that are no UTF-8 or have control characters are left out. */
struct adapter_names *adapter_names_read(const char *folder, struct error *error);
void adapter_names_free(struct adapter_names *names); /* NULL is allowed */

size_t adapter_names_count(const struct adapter_names *names);
const char *adapter_names_at(const struct adapter_names *names, size_t index); /* ascending */

/* The folder's own name of it; NULL: there is none. */
const char *adapter_names_find(const struct adapter_names *names, const char *name);

/* May an adapter be called so? The sentence does not repeat what may not be shown. */
bool adapter_name_check(struct slice name, struct error *error);

#endif
