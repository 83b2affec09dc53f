/* Any bytes as a GGUF file: opened, every value read through the typed access, every loadable tensor's ends touched,
 * and what an encoder's says of pictures. */
#include "format/ggml_dequant.h"
#include "format/gguf.h"
#include "model/mmproj.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_value(const struct gguf *gguf, const struct gguf_value *value) {
  uint32_t u32 = 0;
  int64_t i64 = 0;
  double number = 0;
  struct slice text;
  gguf_get_u32(gguf, value->key, GGUF_REQUIRED, &u32, NULL);
  gguf_get_i64(gguf, value->key, GGUF_REQUIRED, &i64, NULL);
  gguf_get_float(gguf, value->key, GGUF_REQUIRED, &number, NULL);
  gguf_get_string(gguf, value->key, GGUF_REQUIRED, &text, NULL);
  if (value->count == 0) return;
  gguf_value_int(value, value->count - 1, &i64);
  gguf_value_float(value, value->count - 1, &number);
}

/* The last block: a read past the mapping would be seen here. */
static void read_tensor(const struct tensor *tensor) {
  const struct tensor_type_info *info = tensor_type_info(tensor->type);
  float out[256];
  if (tensor->data.size == 0) return;
  tensor_dequantize(tensor->type, tensor->data.data + tensor->data.size - info->block_bytes, info->block, out);
}

static void read_pictures(const struct gguf *gguf) {
  struct arena arena;
  struct slice text;
  struct error error;
  arena_init(&arena, 1 << 20);
  mmproj_pictures(gguf, &arena, &text, &error);
  arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct error error;
  struct gguf *gguf = gguf_read(slice_make(data, size), &error);
  if (!gguf) return 0;
  for (int i = 0; i < gguf->n_value; i++) {
    if (gguf_find(gguf, gguf->values[i].key) != &gguf->values[i]) abort();
    read_value(gguf, &gguf->values[i]);
  }
  for (int i = 0; i < gguf->tensors.n_tensor; i++) {
    const struct tensor *tensor = &gguf->tensors.tensors[i];
    if (tensor_find(&gguf->tensors, tensor->name) != tensor) abort();
    read_tensor(tensor);
  }
  read_pictures(gguf);
  gguf_close(gguf);
  return 0;
}
