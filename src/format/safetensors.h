/* Safetensors, mapped and checked: one file, or the files of a Hugging Face directory as one table of tensors. Opening
 * reads the headers only; every offset is checked before use, and what does not hold is refused with a sentence that
 * names the tensor and the byte positions.
 *
 * Everything lives until safetensors_close and is immutable: any number of threads may read it. */
#ifndef SPATE_FORMAT_SAFETENSORS_H
#define SPATE_FORMAT_SAFETENSORS_H

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/slice.h"
#include "format/tensor.h"

struct safetensors_shard {
  const char *name; /* its file name, as sentences call it; "" when read from memory */
  struct file file;
  struct slice bytes;
  struct tensor_table tensors; /* of this file */
  json_t *metadata;            /* "__metadata__": an object of strings; NULL when there is none */
};

struct safetensors {
  struct safetensors_shard *shards;
  int n_shard;
  struct tensor_table tensors; /* of all shards */
  struct arena arena;
};

/* A directory: the shards that model.safetensors.index.json lists, or model.safetensors where there is no index, or the
 * same of pytorch_model.bin (torch_file.h), whose tensors may share bytes.
 * Sentences about one file begin with its path. */
struct safetensors *safetensors_open_directory(const char *path, struct error *error);

/* One file, of PyTorch where its name ends with .bin; sentences about its contents begin with its path. */
struct safetensors *safetensors_open(const char *path, struct error *error);
/* One file's bytes, which stay in place until safetensors_close. */
struct safetensors *safetensors_read(struct slice bytes, struct error *error);

void safetensors_close(struct safetensors *safetensors); /* NULL is allowed */

/* False, with a sentence, once a shard has another size than when it was mapped, or had: what was read of it may be
 * zeros that it never held (base/file_guard.h). */
bool safetensors_intact(const struct safetensors *safetensors, struct error *error);

#endif
