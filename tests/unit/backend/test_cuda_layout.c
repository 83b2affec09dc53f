/* Packing for GPUs: where each element of a matrix of 16 or 8 bits lies, against the definition of the 128-byte swizzle
 * (PTX ISA, "Swizzling modes": bits 4 to 6 of an address are crossed with bits 7 to 9); what the backend refuses; and
 * what it says where it is not. */
#include "backend/backends.h"
#include "backend/cuda/cuda_layout.h"
#include "base/half.h"
#include "plan/plan_builder.h"

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

/* Bytes in the order in which lanes take columns: 0 and 1, then those 8 further, a byte of each in turn. */
static size_t byte_defined(int row, int col) { /* within a piece */
  int lane = col % 8 / 2, byte = lane * 4 + col % 2 * 2 + col % 16 / 8;
  size_t plain = (size_t)row * 128 + (size_t)(col / 16 * 16 + byte);
  return plain ^ (plain >> 7 & 7) << 4;
}

/* Of a scale for each 128 columns the pieces have theirs after them, and there are none before. With minima each is of
 * 16 bits, and its minimum follows. */
static size_t scale_defined(int group, int row) { return (size_t)group * (2048 + 64) + 2048 + (size_t)row * 4; }

/* E4M3 keeps its code; int8 is in two's complement. Unpacked they are what they were. */
static void bytes_check(struct scheme scheme, int rows, int cols, uint8_t sign) {
  struct weight weight = {.rows = rows, .cols = cols, .use = WEIGHT_MATRIX, .scheme = scheme};
  size_t bytes = cuda_layout_of(&weight).strip_bytes, count = (size_t)rows * (size_t)cols;
  int pieces = (cols + 127) / 128, groups = scheme.group ? pieces : 1;
  assert_int_equal(bytes, scheme.group ? (pieces * 2112 + 127) / 128 * 128 : 128 + pieces * 2048);
  float *scale = malloc((size_t)(rows * groups) * sizeof *scale), *min = malloc((size_t)(rows * groups) * sizeof *min);
  float *row = malloc((size_t)cols * sizeof *row);
  uint8_t *code = malloc(count), *out = malloc(bytes), *expected = calloc(bytes, 1);
  for (int i = 0; i < rows * groups; i++) scale[i] = 0.5f + (float)i, min[i] = -(float)i;
  for (size_t i = 0; i < count; i++) code[i] = (uint8_t)(i * 7 % 255); /* 255 is E4M3's NaN */
  for (int r = 0; r < rows; r++)
    for (int g = 0; g < groups; g++) {
      float at = scale[r * groups + g];
      uint16_t pair[2] = {half_from_float(at), half_from_float(min[r * groups + g])};
      memcpy(expected + (scheme.group ? scale_defined(g, r) : (size_t)r * 4), scheme.has_min ? (void *)pair : &at, 4);
    }
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < cols; c++)
      expected[byte_defined(r, c % 128) + (size_t)(c / 128) * (scheme.group ? 2112 : 2048) + (scheme.group ? 0 : 128)] =
          code[r * cols + c] ^ sign;
  struct codes codes = {.scheme = scheme, .rows = rows, .cols = cols, .code = code, .scale = scale, .min = min};
  backend_cuda.pack(&weight, &codes, out);
  assert_memory_equal(out, expected, bytes);
  for (int r = 0; r < rows; r++) {
    backend_cuda.unpack_row(&weight, slice_make(out, bytes), r, row);
    for (int c = 0; c < cols; c++)
      if ((code[r * cols + c] & 0x7F) != 0x7F || sign) assert_true((double)row[c] == codes_value(&codes, r, c));
  }
  free(scale);
  free(min);
  free(code);
  free(out);
  free(expected);
  free(row);
}

static void test_bytes(void **state) {
  (void)state;
  static const struct { int rows, cols; } shapes[] = {{16, 128}, {16, 200}, {5, 72}, {1, 8}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    bytes_check((struct scheme){.kind = SCHEME_F8}, shapes[s].rows, shapes[s].cols, 0);
    bytes_check((struct scheme){.kind = SCHEME_F8, .group = 128}, shapes[s].rows, shapes[s].cols, 0);
    bytes_check((struct scheme){.kind = SCHEME_INT, .bits = 8}, shapes[s].rows, shapes[s].cols, 0x80);
    bytes_check((struct scheme){.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .has_min = 1, .group = 128},
                shapes[s].rows, shapes[s].cols, 0x80);
  }
}

/* Four bits: the element of a lane's fragment (PTX ISA, "Matrix fragments for mma.m16n8k16": of pair i, rows lane / 4
 * and 8 further in turn, columns lane % 4 × 2 and from the third pair on 8 further), its two columns four nibbles
 * apart. */
static void nibbles_check(struct scheme scheme, int rows, int cols) {
  int group = scheme.group;
  bool has_min = scheme.has_min;
  struct weight weight = {.rows = rows, .cols = cols, .use = WEIGHT_MATRIX, .scheme = scheme};
  size_t bytes = cuda_layout_of(&weight).strip_bytes, count = (size_t)rows * (size_t)cols;
  size_t piece = 1024 + (size_t)(128 / group) * (has_min ? 64 : 32);
  int groups = (cols + group - 1) / group;
  assert_int_equal(bytes, ((size_t)((cols + 255) / 256) * 2 * piece + 127) / 128 * 128);
  uint8_t *code = malloc(count), *out = malloc(bytes);
  float *scale = malloc((size_t)(rows * groups) * sizeof *scale), *min = malloc((size_t)(rows * groups) * sizeof *min);
  float *row = malloc((size_t)cols * sizeof *row);
  for (size_t i = 0; i < count; i++) code[i] = (uint8_t)(i * 7 % 13);
  for (int i = 0; i < rows * groups; i++) scale[i] = 0.5f + (float)(i % 64), min[i] = -(float)i; /* exact in bf16 */
  struct codes codes = {.scheme = scheme, .rows = rows, .cols = cols, .code = code, .scale = scale, .min = min};
  backend_cuda.pack(&weight, &codes, out);
  for (int lane = 0; lane < 32; lane++)
    for (int pair = 0; pair < 4; pair++)
      for (int c = 0; c < cols; c++) {
        int r = lane / 4 + pair % 2 * 8, k = c % 16, step = c % 128 / 16, first = lane % 4 * 2 + pair / 2 * 8;
        if (r >= rows || (k != first && k != first + 1)) continue;
        uint32_t word;
        memcpy(&word, out + (size_t)(c / 128) * piece + step / 4 * 512 + lane * 16 + step % 4 * 4, sizeof word);
        assert_int_equal(word >> (4 * (pair + (k - first) * 4)) & 15, code[r * cols + c]);
      }
  for (int r = 0; r < rows; r++) {
    backend_cuda.unpack_row(&weight, slice_make(out, bytes), r, row);
    for (int c = 0; c < cols; c++) assert_true((double)row[c] == codes_value(&codes, r, c));
  }
  free(code);
  free(out);
  free(scale);
  free(min);
  free(row);
}

static void test_nibbles(void **state) {
  (void)state;
  static const int groups[] = {32, 128};
  static const struct { int rows, cols; } shapes[] = {{16, 256}, {13, 300}, {1, 24}};
  for (int s = 0; s < 3; s++) {
    int rows = shapes[s].rows, cols = shapes[s].cols;
    struct scheme scheme = {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16};
    for (int i = 0; i < 4; i++) {
      scheme.group = (uint16_t)groups[i / 2], scheme.has_min = (uint8_t)(i % 2);
      nibbles_check(scheme, rows, cols);
    }
    scheme = (struct scheme){
        .kind = SCHEME_INT, .bits = 4, .scale = SCALE_BF16, .group = 32, .codebook = CODEBOOK_E2M1}; /* MXFP4 */
    nibbles_check(scheme, rows, cols);
  }
}

/* What a GPU would rather have than a CPU's integers; a file's codes stay. */
static void test_prefer(void **state) {
  (void)state;
  static const struct {
    struct scheme scheme, made, exact;
  } cases[] = {
      {{.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .activation = ACTIVATION_INT8, .group = 32},
       {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .has_min = 1, .group = 128},
       {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .activation = ACTIVATION_INT8, .group = 32}},
      {{.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .has_min = 1, .activation = ACTIVATION_INT8, .group = 32},
       {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .has_min = 1, .group = 128},
       {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .has_min = 1, .group = 32}},
      {{.kind = SCHEME_INT,
        .bits = 4,
        .scale = SCALE_BF16,
        .codebook = CODEBOOK_E2M1,
        .activation = ACTIVATION_INT8,
        .group = 32},
       {.kind = SCHEME_INT,
        .bits = 4,
        .scale = SCALE_BF16,
        .codebook = CODEBOOK_E2M1,
        .activation = ACTIVATION_INT8,
        .group = 32},
       {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_BF16, .codebook = CODEBOOK_E2M1, .group = 32}},
      {{.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN},
       {.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN},
       {.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int exact = 0; exact < 2; exact++) {
      struct scheme scheme = cases[i].scheme;
      backend_cuda.prefer(&scheme, exact);
      assert_memory_equal(&scheme, exact ? &cases[i].exact : &cases[i].made, sizeof scheme);
    }
}

static void refusal_check(struct scheme scheme, const char *sentence) {
  struct {
    struct plan plan;
    struct op op;
    struct weight weight;
  } made = {.weight = {.rows = 16, .cols = 64, .use = WEIGHT_MATRIX, .scheme = scheme}};
  struct error error = {0};
  made.plan.n_op = made.plan.n_weight = 1;
  made.plan.ops = (uint32_t)((char *)&made.op - (char *)&made);
  made.plan.weights = (uint32_t)((char *)&made.weight - (char *)&made);
  made.op = op_make(OP_LINEAR, 0);
  made.op.weight[0] = 0;
  assert_int_equal(backend_cuda.supports(&made.plan, 0, &error), sentence == NULL);
  if (sentence) assert_non_null(strstr(error.text, sentence));
}

static void test_refusals(void **state) {
  (void)state;
  refusal_check((struct scheme){.kind = SCHEME_F8}, NULL);
  refusal_check((struct scheme){.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN}, NULL);
  refusal_check((struct scheme){.kind = SCHEME_F8, .group = 128}, NULL);
  refusal_check((struct scheme){.kind = SCHEME_INT, .bits = 4},
                "(linear, layer 0): it has no kernel for one scale a row of less than 8 bits");
}

/* What is of neither is packed as on the CPU. */
static void test_others(void **state) {
  (void)state;
  struct weight weight = weight_of(16, 96);
  weight.scheme = (struct scheme){.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .group = 64};
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces),   cmocka_unit_test(test_bytes),
                                     cmocka_unit_test(test_nibbles),  cmocka_unit_test(test_prefer),
                                     cmocka_unit_test(test_refusals), cmocka_unit_test(test_others),
                                     cmocka_unit_test(test_open)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
