/* Any bytes as a file of a calibration's journal, with hashes made right as far as its header tells: read as a build
 * does that expects some numbers and some bytes, of which the input's first byte tells how many. */
#include "build/journal_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FILE_MAX = 1 << 20, NUMBERS = 255 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The second bit pattern of the input's second byte leaves a hash as it is. */
static void seal(uint8_t *bytes, size_t size, int leave) {
  struct journal_header *header = (void *)bytes;
  if (!(leave & 1)) header->content = hash_bytes(slice_make(bytes + sizeof *header, size - sizeof *header), 0);
  if (!(leave & 2)) header->bytes = size - sizeof *header;
  if (!(leave & 4)) header->seal = hash_bytes(slice_make(header, offsetof(struct journal_header, seal)), 0);
}

static void file_read(const char *path, int numbers) {
  float floats[NUMBERS];
  uint8_t bytes[64];
  struct error error = {0};
  struct journal_reader reader;
  const struct hash128 identity = {1, 2};
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
  if (file < 0 || write(file, bytes, size) != (ssize_t)size) abort();
  free(bytes);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  file_read(path, numbers);
  close(file);
  return 0;
}
