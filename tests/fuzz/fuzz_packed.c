/* Any bytes as config.json and, after a NUL byte, model.safetensors: every matrix that opens as one that was quantized
 * elsewhere is read whole, as floats and, where a scheme holds it, as its codes. */
#include "build/packed_codes.h"
#include "model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATH_BYTES = 64 };

static char folder[] = "/tmp/spate-fuzz-XXXXXX";

static void path_make(char path[PATH_BYTES], const char *name) { snprintf(path, PATH_BYTES, "%s/%s", folder, name); }

static void folder_remove(void) {
  char path[PATH_BYTES];
  path_make(path, "config.json");
  unlink(path);
  path_make(path, "model.safetensors");
  unlink(path);
  rmdir(folder);
}

static void file_write(const char *name, struct slice bytes) {
  char path[PATH_BYTES];
  path_make(path, name);
  unlink(path);
  FILE *stream = fopen(path, "wb");
  if (!stream || fwrite(bytes.data, 1, bytes.size, stream) != bytes.size || fclose(stream) != 0) abort();
}

static void matrix_read(const struct packed_matrix *matrix, const int *order) {
  const char *note;
  struct error error;
  struct packed_buffer buffer;
  struct code_rows rows;
  struct scheme scheme = packed_scheme(matrix, order, &note);
  float *row = malloc((size_t)matrix->cols * sizeof *row);
  bool coded = packed_scheme_holds(&scheme, matrix, order);
  if (!row || !scheme_check(&scheme, &error) || !packed_buffer_init(&buffer, matrix->cols, &error)) abort();
  if (coded && !code_rows_init(&rows, &scheme, 1, matrix->cols, &error)) abort();
  for (int i = 0; i < matrix->rows; i++) {
    packed_row_floats(&buffer, matrix, order, i, row);
    if (coded) packed_row_store(&buffer, matrix, order, i, &rows, 0);
  }
  if (coded) code_rows_release(&rows);
  packed_buffer_release(&buffer);
  free(row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static bool made;
  struct error error;
  const uint8_t *end = size ? memchr(data, 0, size) : NULL;
  if (!end) return 0;
  if (!made && (!mkdtemp(folder) || atexit(folder_remove) != 0)) abort();
  made = true;
  file_write("config.json", slice_make(data, (size_t)(end - data)));
  file_write("model.safetensors", slice_make(end + 1, size - (size_t)(end - data) - 1));
  struct checkpoint *checkpoint = checkpoint_open(folder, &error);
  for (int i = 0; checkpoint && i < checkpoint_tensor_count(checkpoint); i++) {
    const struct tensor *tensor = checkpoint_tensor(checkpoint, i);
    if (tensor->packed) matrix_read(tensor->packed, NULL);
    if (tensor->packed && tensor->packed->order) matrix_read(tensor->packed, tensor->packed->order);
  }
  checkpoint_close(checkpoint);
  return 0;
}
