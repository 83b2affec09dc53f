/* Any bytes as a safetensors file: what opens is consistent, and its data lies within the file. */
#include "format/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct error error;
  struct safetensors *file = safetensors_read(slice_make(data, size), &error);
  if (!file) return 0;
  for (int i = 0; i < file->tensors.n_tensor; i++) {
    const struct tensor *tensor = &file->tensors.tensors[i];
    if (tensor_find(&file->tensors, tensor->name) != tensor) abort();
    if (tensor->data.data < data || tensor->data.data + tensor->data.size > data + size) abort();
  }
  safetensors_close(file);
  return 0;
}
