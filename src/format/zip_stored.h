/* The directory of a ZIP archive whose entries are stored as they are, as PyTorch writes them: each is a piece of the
 * mapped file. Sizes and places beyond 32 bits too (zip64). */
#ifndef SPATE_FORMAT_ZIP_STORED_H
#define SPATE_FORMAT_ZIP_STORED_H

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"

struct zip_entry {
  struct slice name, data; /* in the file */
};

struct zip_stored {
  struct zip_entry *entry; /* [n_entry], ascending by their names, no two alike */
  int n_entry;
};

/* Refuses what is compressed, encrypted, damaged or has a name twice. */
bool zip_read(struct slice file, struct zip_stored *zip, struct arena *arena, struct error *error);

/* NULL: there is none. O(log n). */
const struct zip_entry *zip_find(const struct zip_stored *zip, struct slice name);

#endif
