/* Any bytes as a file of a calibration's journal, read as a build does that expects some numbers and some bytes: the
 * input's first byte tells how many, and the second which of the header's fields are left as they are; the others are
 * made right, without which hardly an input would get behind them. */
#include "build/journal_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20, NUMBERS = 255 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct hash128 identity = {1, 2};

static void seal(uint8_t *bytes, size_t size, int leave) {
  struct journal_header *header = (void *)bytes;
  if (!(leave & 8)) memcpy(header->magic, "SPATECAL", sizeof header->magic);
  if (!(leave & 16)) header->version = JOURNAL_VERSION;
  if (!(leave & 32)) header->kind = JOURNAL_VALUES, header->reserved = 0;
  if (!(leave & 64)) header->identity = identity;
  if (!(leave & 1)) header->content = hash_bytes(slice_make(bytes + sizeof *header, size - sizeof *header), 0);
  if (!(leave & 2)) header->bytes = size - sizeof *header;
  if (!(leave & 4)) header->seal = hash_bytes(slice_make(header, offsetof(struct journal_header, seal)), 0);
}

static void file_read(const char *path, int numbers) {
  float floats[NUMBERS];
  uint8_t bytes[64];
  struct error error = {0};
  struct journal_reader reader;
  bool done = journal_reader_open(&reader, path, JOURNAL_VALUES, identity, &error) &&
              journal_reader_floats(&reader, floats, (size_t)numbers, &error) &&
              journal_reader_take(&reader, bytes, sizeof bytes, &error) && journal_reader_end(&reader, &error);
  if (done != (error.code == ERROR_NONE) || (!done && error.text[0] == '\0')) abort();
  journal_reader_release(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2 || size > FILE_MAX) return 0;
  int numbers = data[0], leave = data[1];
  uint8_t *bytes = malloc(size);
  if (!bytes) abort();
  size -= 2;
  memcpy(bytes, data + 2, size);
  if (size >= sizeof(struct journal_header)) seal(bytes, size, leave);
  int file = memfd_create("journal", 0);
  if (file < 0 || fchmod(file, 0600) != 0 || write(file, bytes, size) != (ssize_t)size) abort();
  free(bytes);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  file_read(path, numbers);
  close(file);
  return 0;
}
