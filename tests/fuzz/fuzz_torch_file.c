/* Any bytes as a file of torch.save's: what opens is consistent, and its data lies within the file. The first byte says
 * whether the rest is an archive, or a pickle that is put into one beside a storage. */
#include "format/torch_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void file_check(struct slice file) {
  struct tensor_table table = {0};
  struct arena arena;
  arena_init(&arena, 1 << 26);
  bool good = torch_file_read(file, &table, &arena, NULL);
  for (int i = 0; good && i < table.n_tensor; i++) {
    const struct tensor *tensor = &table.tensors[i];
    if (tensor_find(&table, tensor->name) != tensor) abort();
    if (tensor->data.data < file.data || tensor->data.data + tensor->data.size > file.data + file.size) abort();
    for (size_t k = 0; k < tensor->data.size; k += 1 + tensor->data.size / 16)
      if (*(const volatile uint8_t *)(tensor->data.data + k) > 255) abort();
  }
  arena_release(&arena);
}

static size_t number_put(uint8_t *at, uint64_t number, size_t size) {
  for (size_t i = 0; i < size; i++) at[i] = (uint8_t)(number >> 8 * i);
  return size;
}

struct archive {
  uint8_t *bytes;
  size_t size;
};

static void put(struct archive *archive, uint64_t number, size_t size) {
  archive->size += number_put(archive->bytes + archive->size, number, size);
}

static void put_bytes(struct archive *archive, const void *bytes, size_t size) {
  memcpy(archive->bytes + archive->size, bytes, size);
  archive->size += size;
}

/* A header of an entry, in its place or in the directory. */
static void entry_put(struct archive *archive, const char *name, size_t size, size_t at, bool central) {
  put(archive, central ? 0x02014b50 : 0x04034b50, 4);
  put(archive, 0, 8);
  put(archive, 0, central ? 8 : 6);
  put(archive, size, 4);
  put(archive, size, 4);
  put(archive, strlen(name), 2);
  put(archive, 0, 2);
  if (central) {
    put(archive, 0, 8);
    put(archive, 0, 2);
    put(archive, at, 4);
  }
  put_bytes(archive, name, strlen(name));
}

static void pickle_check(struct slice pickle) {
  static const uint8_t storage[64];
  struct archive archive = {.bytes = malloc(pickle.size + 1024)};
  if (!archive.bytes) return;
  entry_put(&archive, "m/data/0", sizeof storage, 0, false);
  put_bytes(&archive, storage, sizeof storage);
  size_t second = archive.size;
  entry_put(&archive, "m/data.pkl", pickle.size, 0, false);
  if (pickle.size) put_bytes(&archive, pickle.data, pickle.size);
  size_t directory = archive.size;
  entry_put(&archive, "m/data/0", sizeof storage, 0, true);
  entry_put(&archive, "m/data.pkl", pickle.size, second, true);
  size_t end = archive.size;
  put(&archive, 0x06054b50, 4);
  put(&archive, 0, 4);
  put(&archive, 2, 2);
  put(&archive, 2, 2);
  put(&archive, end - directory, 4);
  put(&archive, directory, 4);
  put(&archive, 0, 2);
  file_check(slice_make(archive.bytes, archive.size));
  free(archive.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  struct slice rest = slice_make(data + 1, size - 1);
  if (*data % 2)
    pickle_check(rest);
  else
    file_check(rest);
  return 0;
}
