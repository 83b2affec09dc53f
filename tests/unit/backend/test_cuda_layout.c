/* Packing for GPUs: where each element of a 16-bit matrix lies, against the definition of the 128-byte swizzle (PTX
 * ISA, "Swizzling modes": bits 4 to 6 of an address are crossed with bits 7 to 9); and what the backend says where it
 * is not. */
#include "backend/backends.h"
#include "backend/cuda/cuda_layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct weight weight_of(int rows, int cols) {
  return (struct weight){.rows = rows, .cols = cols, .use = WEIGHT_MATRIX, .scheme = {.kind = SCHEME_BF16}};
}

/* Rows of 128 bytes, one after the other, swizzled; then the pieces side by side. */
static size_t offset_defined(int row, int col) {
  size_t plain = (size_t)row * 128 + (size_t)(col % 64) * 2;
  return (size_t)(col / 64) * 2048 + (plain ^ (plain >> 7 & 7) << 4);
}

static void test_pieces(void **state) {
  (void)state;
  static const struct { int rows, cols; } shapes[] = {{16, 64}, {16, 200}, {5, 72}, {1, 8}, {16, 4096}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    int rows = shapes[s].rows, cols = shapes[s].cols;
    struct weight weight = weight_of(rows, cols);
    struct cuda_layout layout = cuda_layout_of(&weight);
    assert_int_equal(layout.strip_bytes, (cols + 63) / 64 * 2048);
    uint16_t *element = calloc((size_t)rows * (size_t)cols, sizeof *element);
    uint8_t *out = malloc(layout.strip_bytes), *expected = calloc(layout.strip_bytes, 1);
    for (int i = 0; i < rows * cols; i++) element[i] = (uint16_t)(i + 1);
    for (int r = 0; r < rows; r++)
      for (int c = 0; c < cols; c++) memcpy(expected + offset_defined(r, c), &element[r * cols + c], 2);
    memset(out, 0xA5, layout.strip_bytes);
    struct codes codes = {.scheme = weight.scheme, .rows = rows, .cols = cols, .dense = element};
    backend_cuda.pack(&weight, &codes, out);
    assert_memory_equal(out, expected, layout.strip_bytes);
    free(element);
    free(out);
    free(expected);
  }
}

/* What is not of 16 bits is packed as on the CPU. */
static void test_others(void **state) {
  (void)state;
  struct weight weight = weight_of(16, 96);
  weight.scheme = (struct scheme){.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 32};
  assert_int_equal(cuda_layout_of(&weight).strip_bytes, cpu_layout_of(&weight).tile_bytes);
}

/* Neither a GPU nor CUDA may be there: then the sentence says so. */
static void test_open(void **state) {
  (void)state;
  struct error error = {0};
  struct device *device = backend_cuda.open(&(struct device_options){0}, &error);
  if (!device) assert_true(strstr(error.text, "without CUDA") || strstr(error.text, "GPU"));
  if (device) backend_cuda.close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces), cmocka_unit_test(test_others),
                                     cmocka_unit_test(test_open)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
