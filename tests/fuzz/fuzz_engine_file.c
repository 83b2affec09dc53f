/* Any bytes as the beginning of an engine file. The checksums of the header and of the sections that opening reads are
 * made right first: without that, hardly an input would get behind them. What opens is read as serving would read it:
 * every weight's ends, every section's hash, the tokenizer. */
#include "engine/engine_file.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FILE_MAX = 4 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Seals sections that lie within the bytes, then the header. */
static void seal(uint8_t *bytes, size_t size) {
  struct engine_header *header = (void *)bytes;
  for (int i = SECTION_FACTS; i <= SECTION_FOLDS; i++) {
    struct engine_section *section = &header->section[i];
    if (i != SECTION_WEIGHTS && section->offset <= size && section->bytes <= size - section->offset)
      section->hash = hash_bytes(slice_make(bytes + section->offset, section->bytes), 0);
  }
  header->hash = hash_bytes(slice_make(header, offsetof(struct engine_header, hash)), 0);
}

/* A file of the size that the header tells, where that is moderate: seeds need not hold their zero weights. */
static int file_make(const uint8_t *data, size_t size) {
  uint8_t *bytes = malloc(size);
  if (!bytes) abort();
  memcpy(bytes, data, size);
  seal(bytes, size);
  uint64_t total = ((const struct engine_header *)(const void *)bytes)->total;
  int descriptor = memfd_create("engine", 0);
  bool written = descriptor >= 0 && write(descriptor, bytes, size) == (ssize_t)size;
  if (written && total > size && total <= FILE_MAX) written = ftruncate(descriptor, (off_t)total) == 0;
  free(bytes);
  if (!written) abort();
  return descriptor;
}

static void file_read(const struct engine_file *file) {
  volatile uint8_t sum = 0;
  for (int i = 0; i < engine_file_weights(file); i++) {
    struct slice bytes = engine_file_weight(file, i);
    if (bytes.size > 0) sum = (uint8_t)(sum + bytes.data[0] + bytes.data[bytes.size - 1]);
  }
  for (int i = 0; i < file->plan->n_weight; i++) {
    struct weight_fold fold = engine_file_fold(file, i);
    for (int k = 0; fold.column && k < plan_weights(file->plan)[i].cols; k++)
      sum = (uint8_t)(sum + (fold.column[k] > 1));
  }
  struct engine_verify verify = {0};
  struct error error;
  engine_file_verify(file, &verify, &error);
  tokenizer_close(tokenizer_open(file->tokenizer, &error));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < ENGINE_HEADER_BYTES || size > FILE_MAX) return 0;
  int descriptor = file_make(data, size);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  struct engine_file file;
  struct error error;
  if (engine_file_open(&file, path, &error)) {
    file_read(&file);
    engine_file_close(&file);
  }
  close(descriptor);
  return 0;
}
