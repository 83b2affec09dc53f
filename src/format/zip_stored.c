/* PKWARE's APPNOTE 6.3: from the record at the end to the directory, from there to each entry. Checksums are not
 * computed: that would read all of a file that is only mapped. */
#include "format/zip_stored.h"

#include "base/checked.h"
#include "base/limits.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
  END_BYTES = 22,
  LOCATOR_BYTES = 20,
  END64_BYTES = 56,
  CENTRAL_BYTES = 46,
  LOCAL_BYTES = 30,
  EXTRA_ZIP64 = 1,
  ENCRYPTED = 1,
};

static const uint32_t end_mark = 0x06054b50, locator_mark = 0x07064b50, end64_mark = 0x06064b50,
                      central_mark = 0x02014b50, local_mark = 0x04034b50, wide = UINT32_MAX;

static uint64_t number_at(const uint8_t *at, int size) {
  uint64_t number = 0;
  for (int i = size; i > 0; i--) number = number << 8 | at[i - 1];
  return number;
}

static bool damaged(const char *what, struct error *error) {
  return error_set(error, ERROR_FORMAT, "The archive %s: it is truncated or damaged; get it again.", what);
}

static int entry_compare(const void *a, const void *b) {
  struct slice left = ((const struct zip_entry *)a)->name, right = ((const struct zip_entry *)b)->name;
  int order = memcmp(left.data, right.data, left.size < right.size ? left.size : right.size);
  return order ? order : (left.size > right.size) - (left.size < right.size);
}

/* --- the directory ------------------------------------------------------------------------------------------------ */

struct directory {
  uint64_t count, at, size;
};

/* The wider record, where there is one: whatever has the narrow one's numbers too is taken from it. */
static bool end64_read(struct slice file, struct directory *directory, bool *found, struct error *error) {
  *found = false;
  if (file.size < END_BYTES + LOCATOR_BYTES) return true;
  const uint8_t *locator = file.data + file.size - END_BYTES - LOCATOR_BYTES;
  if (number_at(locator, 4) != locator_mark) return true;
  uint64_t at = number_at(locator + 8, 8);
  if (!range_within(at, END64_BYTES, file.size) || number_at(file.data + at, 4) != end64_mark)
    return damaged("has no record where its end says that one is", error);
  const uint8_t *record = file.data + at;
  *directory = (struct directory){number_at(record + 32, 8), number_at(record + 48, 8), number_at(record + 40, 8)};
  *found = true;
  return true;
}

static bool directory_find(struct slice file, struct directory *directory, struct error *error) {
  bool found = false;
  const uint8_t *end = file.size >= END_BYTES ? file.data + file.size - END_BYTES : NULL;
  if (!end || number_at(end, 4) != end_mark) return damaged("has no end", error);
  if (!end64_read(file, directory, &found, error)) return false;
  if (!found) *directory = (struct directory){number_at(end + 10, 2), number_at(end + 16, 4), number_at(end + 12, 4)};
  if (!range_within(directory->at, directory->size, file.size))
    return damaged("has its directory beyond its end", error);
  return directory->count <= LIMIT_ZIP_ENTRIES ||
         error_set(error, ERROR_LIMIT, "The archive has %" PRIu64 " entries; at most %d are supported.",
                   directory->count, LIMIT_ZIP_ENTRIES);
}

/* --- an entry ----------------------------------------------------------------------------------------------------- */

struct placed {
  uint64_t size, packed, at; /* `at` of its own header */
};

/* Numbers that 32 bits do not hold are in a field of the extra ones, those alone, in this order. */
static bool wide_read(struct slice extra, struct placed *placed, struct error *error) {
  uint64_t *numbers[] = {&placed->size, &placed->packed, &placed->at};
  while (extra.size >= 4) {
    size_t kind = number_at(extra.data, 2), size = number_at(extra.data + 2, 2), at = 4;
    if (size > extra.size - 4) break;
    for (int i = 0; kind == EXTRA_ZIP64 && i < 3; i++) {
      if (*numbers[i] != wide) continue;
      if (at + 8 > size + 4) return damaged("lacks a size", error);
      *numbers[i] = number_at(extra.data + at, 8);
      at += 8;
    }
    extra = slice_make(extra.data + 4 + size, extra.size - 4 - size);
  }
  return true;
}

static bool entry_place(struct slice file, const struct placed *placed, struct zip_entry *entry, struct error *error) {
  const uint8_t *local = file.data + placed->at;
  if (!range_within(placed->at, LOCAL_BYTES, file.size) || number_at(local, 4) != local_mark)
    return damaged("has no entry where its directory says that one is", error);
  uint64_t start = placed->at + LOCAL_BYTES + number_at(local + 26, 2) + number_at(local + 28, 2);
  if (!range_within(start, placed->size, file.size)) return damaged("has an entry that goes on beyond its end", error);
  entry->data = slice_make(file.data + start, placed->size);
  return true;
}

/* One line of the directory, *left of which are read. */
static bool entry_read(struct slice file, struct slice *left, struct zip_entry *entry, struct error *error) {
  const uint8_t *at = left->data;
  if (left->size < CENTRAL_BYTES || number_at(at, 4) != central_mark) return damaged("has a damaged directory", error);
  size_t name = number_at(at + 28, 2), extra = number_at(at + 30, 2), comment = number_at(at + 32, 2);
  size_t size = CENTRAL_BYTES + name + extra + comment;
  if (size > left->size) return damaged("has a damaged directory", error);
  struct placed placed = {number_at(at + 24, 4), number_at(at + 20, 4), number_at(at + 42, 4)};
  entry->name = slice_make(at + CENTRAL_BYTES, name);
  if (number_at(at + 10, 2) != 0 || number_at(at + 8, 2) & ENCRYPTED)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The archive has an entry that is compressed or encrypted; torch.save stores them as they are.");
  *left = slice_make(at + size, left->size - size);
  return wide_read(slice_make(at + CENTRAL_BYTES + name, extra), &placed, error) &&
         (placed.size == placed.packed || damaged("has an entry of two sizes", error)) &&
         entry_place(file, &placed, entry, error);
}

bool zip_read(struct slice file, struct zip_stored *zip, struct arena *arena, struct error *error) {
  struct directory directory = {0};
  if (!directory_find(file, &directory, error)) return false;
  struct slice left = slice_make(file.data + directory.at, directory.size);
  *zip = (struct zip_stored){.entry = arena_array(arena, directory.count + 1, sizeof *zip->entry)};
  if (!zip->entry)
    return error_set(error, ERROR_MEMORY, "There is no memory for the %" PRIu64 " entries of an archive.",
                     directory.count);
  for (; (uint64_t)zip->n_entry < directory.count; zip->n_entry++)
    if (!entry_read(file, &left, &zip->entry[zip->n_entry], error)) return false;
  qsort(zip->entry, (size_t)zip->n_entry, sizeof *zip->entry, entry_compare);
  for (int i = 1; i < zip->n_entry; i++)
    if (entry_compare(&zip->entry[i - 1], &zip->entry[i]) == 0) return damaged("has two entries of one name", error);
  return true;
}

const struct zip_entry *zip_find(const struct zip_stored *zip, struct slice name) {
  const struct zip_entry key = {.name = name};
  return zip->n_entry ? bsearch(&key, zip->entry, (size_t)zip->n_entry, sizeof key, entry_compare) : NULL;
}
