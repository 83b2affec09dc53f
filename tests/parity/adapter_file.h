/* Adapters of one module, as the package peft saves them, written by hand. */
#ifndef SPATE_TESTS_ADAPTER_FILE_H
#define SPATE_TESTS_ADAPTER_FILE_H

#include "parity_support.h"

#include <sys/stat.h>

static inline void text_write(const char *folder_path, const char *name, const void *text, size_t size) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder_path, name);
  FILE *file = fopen(path, "wb");
  assert_true(file && fwrite(text, size, 1, file) == 1 && fclose(file) == 0);
}

/* A folder of peft's with an adapter of rank 1 for a module of rows × cols. */
static inline void adapter_write(const char *path, const char *module, int rows, int cols) {
  static const char config[] = "{\"peft_type\": \"LORA\", \"r\": 1, \"lora_alpha\": 1, \"bias\": \"none\", "
                               "\"target_modules\": [\"q_proj\", \"gate_proj\"]}";
  char header[1024];
  static uint8_t bytes[4096];
  int size = snprintf(header, sizeof header,
                      "{\"base_model.model.%s.lora_A.weight\":{\"dtype\":\"F32\",\"shape\":[1,%d],\"data_offsets\":"
                      "[0,%d]},\"base_model.model.%s.lora_B.weight\":{\"dtype\":\"F32\",\"shape\":[%d,1],"
                      "\"data_offsets\":[%d,%d]}}",
                      module, cols, 4 * cols, module, rows, 4 * cols, 4 * (cols + rows));
  while (size % 8) header[size++] = ' ';
  uint64_t length = (uint64_t)size;
  memset(bytes, 0, sizeof bytes);
  memcpy(bytes, &length, 8);
  memcpy(bytes + 8, header, (size_t)size);
  mkdir(path, 0700);
  text_write(path, "adapter_config.json", config, sizeof config - 1);
  text_write(path, "adapter_model.safetensors", bytes, 8 + (size_t)size + 4 * (size_t)(rows + cols));
}

static inline void adapter_remove(const char *path) {
  static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
  char name[512];
  for (int i = 0; i < 2; i++) {
    snprintf(name, sizeof name, "%s/%s", path, names[i]);
    unlink(name);
  }
  rmdir(path);
}

#endif
