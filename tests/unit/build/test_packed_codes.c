/* Random packed matrices of every layout: the scheme that is chosen holds the numbers that packed_value defines. */
#include "base/half.h"
#include "build/packed_codes.h"
#include "build/weight_source.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the above */
#include <cmocka.h>

enum { ROWS = 40, COLS = 192, BYTES = 4 * ROWS * COLS };

static struct tensor tensor_make(enum tensor_type type, int rows, int cols) {
  struct tensor tensor = {.name = "x", .type = type, .n_dim = 2, .dim = {rows, cols}};
  uint8_t *bytes = malloc(BYTES);
  assert_non_null(bytes);
  for (int i = 0; i < BYTES; i++) bytes[i] = (uint8_t)rand();
  for (int i = 3; type == TENSOR_F32 && i < BYTES; i += 4) bytes[i] = 0x3c; /* moderate scales */
  for (int i = 1; type == TENSOR_F16 && i < BYTES; i += 2) bytes[i] = 0x20;
  for (int i = 0; type == TENSOR_F8_E4M3 && i < BYTES; i++) bytes[i] &= 0xbf; /* no NaN */
  tensor.count = (size_t)rows * (size_t)cols;
  tensor.data = slice_make(bytes, BYTES);
  return tensor;
}

static const struct {
  struct packed_spec spec;
  enum tensor_type codes, scale;
  int rows, cols; /* of the tensor of codes */
  bool zero;
  const char *scheme;
} cases[] = {
    {{.layout = PACKED_AWQ, .bits = 4, .group = 32, .scale_rows = 1, .zero_add = 0, .needs_zero = true},
     TENSOR_I32,
     TENSOR_F16,
     COLS,
     ROWS / 8,
     true,
     "int4 g32 f32 min a8"},
    {{.layout = PACKED_GPTQ, .bits = 4, .group = 0, .scale_rows = 1, .zero_add = 0x11111111},
     TENSOR_I32,
     TENSOR_F16,
     COLS / 8,
     ROWS,
     true,
     "int4 g128 f32 min a8"},
    {{.layout = PACKED_GPTQ, .bits = 8, .group = 64, .scale_rows = 1, .zero_add = 0x01010101},
     TENSOR_I32,
     TENSOR_F16,
     COLS / 4,
     ROWS,
     true,
     "int8 g64 f32 min a8"},
    {{.layout = PACKED_GPTQ, .bits = 2, .group = 48, .scale_rows = 1, .zero_add = 0},
     TENSOR_I32,
     TENSOR_F16,
     COLS / 16,
     ROWS,
     true,
     "int2 g16 f32 min a8"},
    {{.layout = PACKED_ROWS, .bits = 4, .group = 128, .scale_rows = 1, .zero_add = 0},
     TENSOR_I32,
     TENSOR_F32,
     ROWS,
     COLS / 8,
     false,
     "int4 g128 f32 a8"},
    {{.layout = PACKED_INT8, .bits = 8, .group = 0, .scale_rows = 0, .zero_add = 0},
     TENSOR_I8,
     TENSOR_F32,
     ROWS,
     COLS,
     false,
     "int8 g128 f32 a8"},
    {{.layout = PACKED_E4M3, .bits = 8, .group = 128, .scale_rows = 16, .zero_add = 0},
     TENSOR_F8_E4M3,
     TENSOR_F32,
     ROWS,
     COLS,
     false,
     "F8 g128"},
    {{.layout = PACKED_E4M3, .bits = 8, .group = 0, .scale_rows = 1, .zero_add = 0},
     TENSOR_F8_E4M3,
     TENSOR_F32,
     ROWS,
     COLS,
     false,
     "F8 row"},
};

static void rows_compare(const struct packed_matrix *matrix, const char *name) {
  const char *note;
  char text[48];
  float values[COLS];
  struct error error;
  struct code_rows rows;
  struct packed_buffer buffer;
  struct scheme scheme = packed_scheme(matrix, NULL, &note);
  assert_string_equal(scheme_name(&scheme, text), name);
  if (!scheme_check(&scheme, &error)) fail_msg("%s", error.text);
  assert_true(packed_scheme_holds(&scheme, matrix, NULL));
  assert_true(code_rows_init(&rows, &scheme, 2, COLS, &error) && packed_buffer_init(&buffer, COLS, &error));
  for (int row = 0; row < ROWS; row++) {
    packed_row_store(&buffer, matrix, NULL, row, &rows, 1);
    packed_row_floats(&buffer, matrix, NULL, row, values);
    struct codes codes = code_rows_view(&rows, 2);
    for (int col = 0; col < COLS; col++) {
      double value = codes_value(&codes, 1, col), sum = (double)values[col] - value;
      if (!(sum <= 1e-6 * (value < 0 ? -value : value) && -sum <= 1e-6 * (value < 0 ? -value : value)))
        fail_msg("%s [%d][%d]: %.9g, expected %.9g", name, row, col, value, (double)values[col]);
    }
  }
  packed_buffer_release(&buffer);
  code_rows_release(&rows);
}

/* A matrix's halves have its rows, one after the other. */
static void halves_compare(const struct packed_matrix *matrix) {
  enum { HALF = ROWS / 2 };
  float whole[COLS], own[COLS];
  struct error error;
  struct packed_buffer buffer;
  struct packed_division half;
  assert_true(packed_buffer_init(&buffer, COLS, &error));
  for (int row = 0; row < ROWS; row++) {
    assert_true(packed_matrix_divide(matrix, 2, row / HALF, &half));
    packed_row_floats(&buffer, matrix, NULL, row, whole);
    packed_row_floats(&buffer, &half.matrix, NULL, row % HALF, own);
    assert_memory_equal(own, whole, sizeof own);
  }
  packed_buffer_release(&buffer);
}

static void test_schemes_hold_the_numbers(void **state) {
  (void)state;
  srand(7);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct packed_spec *spec = &cases[i].spec;
    struct error error;
    struct packed_matrix matrix;
    bool words_first = spec->layout == PACKED_AWQ || spec->layout == PACKED_GPTQ;
    int groups = spec->group ? (COLS - 1) / spec->group + 1 : 1;
    int scale_rows = spec->scale_rows ? (ROWS - 1) / spec->scale_rows + 1 : 1;
    struct tensor codes = tensor_make(cases[i].codes, cases[i].rows, cases[i].cols);
    struct tensor scale = tensor_make(cases[i].scale, words_first ? groups : scale_rows, words_first ? ROWS : groups);
    struct tensor zero = tensor_make(TENSOR_I32, groups, (ROWS * spec->bits - 1) / 32 + 1);
    struct packed_parts parts = {.codes = &codes, .scale = &scale, .zero = cases[i].zero ? &zero : NULL};
    if (!packed_matrix_init(&matrix, spec, &parts, &error)) fail_msg("%s", error.text);
    assert_int_equal(matrix.rows, ROWS);
    assert_int_equal(matrix.cols, COLS);
    rows_compare(&matrix, cases[i].scheme);
    halves_compare(&matrix);
    free((void *)(uintptr_t)codes.data.data);
    free((void *)(uintptr_t)scale.data.data);
    free((void *)(uintptr_t)zero.data.data);
  }
}

/* Two matrices of MXFP4 one after the other: every scale there is but NaN, each number as the OCP's specification has
 * it, and the same from the scheme's codes. */
static void test_mxfp4(void **state) {
  (void)state;
  static const double e2m1[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  const struct packed_spec spec = {.layout = PACKED_E2M1, .bits = 4, .group = 32, .scale_rows = 1};
  struct tensor codes = tensor_make(TENSOR_U8, ROWS, COLS / 2), scale = tensor_make(TENSOR_U8, ROWS, COLS / 32);
  uint8_t *scales = (uint8_t *)(uintptr_t)scale.data.data;
  codes.n_dim = 4, scale.n_dim = 3;
  codes.dim[0] = scale.dim[0] = 2, codes.dim[1] = scale.dim[1] = ROWS / 2;
  codes.dim[2] = scale.dim[2] = COLS / 32, codes.dim[3] = 16;
  for (int i = 0; i < ROWS * COLS / 32; i++) scales[i] = (uint8_t)(i < 255 ? i : rand() % 255);
  struct packed_matrix matrix;
  struct error error;
  char text[48];
  const char *note;
  if (!packed_matrix_init(&matrix, &spec, &(struct packed_parts){.codes = &codes, .scale = &scale}, &error))
    fail_msg("%s", error.text);
  assert_int_equal(matrix.rows, ROWS);
  assert_int_equal(matrix.cols, COLS);
  assert_string_equal(packed_matrix_name(&matrix, text), "MXFP4");
  struct scheme scheme = packed_scheme(&matrix, NULL, &note);
  assert_string_equal(scheme_name(&scheme, text), "int4 g32 bf16 e2m1 a8");
  assert_true(packed_scheme_holds(&scheme, &matrix, NULL));
  float values[COLS];
  struct code_rows rows;
  struct packed_buffer buffer;
  assert_true(code_rows_init(&rows, &scheme, 1, COLS, &error) && packed_buffer_init(&buffer, COLS, &error));
  for (int row = 0; row < ROWS; row++) {
    packed_row_store(&buffer, &matrix, NULL, row, &rows, 0);
    packed_row_floats(&buffer, &matrix, NULL, row, values);
    struct codes view = code_rows_view(&rows, 1);
    for (int col = 0; col < COLS; col++) {
      int byte = codes.data.data[(row * COLS + col) / 2], code = col % 2 ? byte >> 4 : byte & 15;
      double value = ldexp(code & 8 ? -e2m1[code & 7] : e2m1[code], scales[(row * COLS + col) / 32] - 127);
      assert_true((double)values[col] == value);
      assert_true(codes_value(&view, 0, col) == value);
      assert_true(bfloat_to_float(bfloat_from_float(rows.scale[col / 32])) == rows.scale[col / 32]);
    }
  }
  packed_buffer_release(&buffer);
  code_rows_release(&rows);
  free(scales);
  free((void *)(uintptr_t)codes.data.data);
}

static bool shape_accepted(enum packed_layout layout, int bits, int64_t cols) {
  const struct packed_spec spec = {.layout = layout, .bits = bits, .scale_rows = 1};
  bool words = layout == PACKED_ROWS;
  int64_t stated[2] = {ROWS, cols};
  struct tensor codes = tensor_make(words ? TENSOR_I32 : TENSOR_I8, ROWS, words ? COLS * bits / 32 : COLS);
  struct tensor scale = tensor_make(TENSOR_F32, ROWS, 1);
  struct tensor shape = {.name = "s", .type = TENSOR_I64, .n_dim = 1, .dim = {2}, .count = 2};
  shape.data = slice_make((const uint8_t *)stated, sizeof stated);
  struct packed_parts parts = {.codes = &codes, .scale = &scale, .shape = &shape};
  struct packed_matrix matrix;
  struct error error;
  bool accepted = packed_matrix_init(&matrix, &spec, &parts, &error);
  if (accepted) assert_int_equal(matrix.cols, cols);
  free((void *)(uintptr_t)codes.data.data);
  free((void *)(uintptr_t)scale.data.data);
  return accepted;
}

/* The last word of a row may be partly empty; a byte is a column. */
static void test_stated_shape(void **state) {
  (void)state;
  assert_true(shape_accepted(PACKED_ROWS, 4, COLS));
  assert_true(shape_accepted(PACKED_ROWS, 4, COLS - 7));
  assert_false(shape_accepted(PACKED_ROWS, 4, COLS - 8));
  assert_true(shape_accepted(PACKED_INT8, 8, COLS));
  assert_false(shape_accepted(PACKED_INT8, 8, COLS - 1));
}

/* Group numbers that another program changes in the mapped file after they were checked are not followed. */
static void test_changed_index(void **state) {
  (void)state;
  const struct packed_spec spec = {.layout = PACKED_GPTQ, .bits = 4, .group = 32, .scale_rows = 1};
  int32_t group[COLS];
  struct tensor codes = tensor_make(TENSOR_I32, COLS / 8, ROWS), scale = tensor_make(TENSOR_F16, COLS / 32, ROWS);
  struct tensor index = {.name = "i", .type = TENSOR_I32, .n_dim = 1, .dim = {COLS}, .count = COLS};
  index.data = slice_make((const uint8_t *)group, sizeof group);
  struct packed_parts parts = {.codes = &codes, .scale = &scale, .index = &index};
  struct packed_matrix matrix;
  struct error error;
  for (int i = 0; i < COLS; i++) group[i] = i % (COLS / 32);
  if (!packed_matrix_init(&matrix, &spec, &parts, &error)) fail_msg("%s", error.text);
  assert_int_equal(packed_group(&matrix, 5), 5);
  group[4] = COLS / 32;
  group[5] = -1;
  assert_int_equal(packed_group(&matrix, 4), 0);
  assert_int_equal(packed_group(&matrix, 5), 0);
  free((void *)(uintptr_t)codes.data.data);
  free((void *)(uintptr_t)scale.data.data);
}

/* Columns of a group side by side: the codes' scheme holds them, each number at the place of its column. */
static void test_order(void **state) {
  (void)state;
  const struct packed_spec spec = {.layout = PACKED_GPTQ, .bits = 4, .group = 80, .scale_rows = 1};
  enum { GROUPS = (COLS - 1) / 80 + 1 };
  int32_t group[COLS];
  int order[COLS], seen[COLS] = {0};
  struct tensor codes = tensor_make(TENSOR_I32, COLS / 8, ROWS), scale = tensor_make(TENSOR_F16, GROUPS, ROWS);
  struct tensor index = {.name = "i", .type = TENSOR_I32, .n_dim = 1, .dim = {COLS}, .count = COLS};
  index.data = slice_make((const uint8_t *)group, sizeof group);
  struct packed_parts parts = {.codes = &codes, .scale = &scale, .index = &index};
  struct packed_matrix matrix;
  struct packed_buffer buffer;
  struct code_rows rows;
  struct error error;
  float values[COLS];
  const char *note;
  for (int i = 0; i < COLS; i++) group[i] = i * 7 % COLS / 80; /* 7 and 192 have no common divisor */
  assert_true(packed_matrix_init(&matrix, &spec, &parts, &error) && packed_matrix_order(&matrix, order));
  for (int i = 0; i < COLS; i++) {
    assert_int_equal(group[order[i]], i / 80);
    assert_int_equal(seen[order[i]]++, 0);
  }
  struct scheme scheme = packed_scheme(&matrix, order, &note);
  assert_true(packed_scheme_holds(&scheme, &matrix, order) && !packed_scheme_holds(&scheme, &matrix, NULL));
  assert_true(code_rows_init(&rows, &scheme, 1, COLS, &error) && packed_buffer_init(&buffer, COLS, &error));
  packed_row_store(&buffer, &matrix, order, 3, &rows, 0);
  packed_row_floats(&buffer, &matrix, NULL, 3, values);
  struct codes stored = code_rows_view(&rows, 1);
  for (int i = 0; i < COLS; i++) assert_true((float)codes_value(&stored, 0, i) == values[order[i]]);
  group[0] = 1 - group[0]; /* one group longer than its share */
  assert_false(packed_matrix_order(&matrix, order));
  packed_buffer_release(&buffer);
  code_rows_release(&rows);
  free((void *)(uintptr_t)codes.data.data);
  free((void *)(uintptr_t)scale.data.data);
}

/* A code of E4M3 that is no number is refused where the codes are taken as they are. */
static void test_no_number(void **state) {
  (void)state;
  const struct packed_spec spec = {.layout = PACKED_E4M3, .bits = 8, .scale_rows = 1};
  struct tensor codes = tensor_make(TENSOR_F8_E4M3, ROWS, COLS), scale = tensor_make(TENSOR_F32, ROWS, 1);
  struct packed_parts parts = {.codes = &codes, .scale = &scale};
  struct packed_matrix matrix;
  struct weight_reader reader;
  struct error error;
  if (!packed_matrix_init(&matrix, &spec, &parts, &error)) fail_msg("%s", error.text);
  struct weight weight = {.rows = ROWS, .cols = COLS, .n_part = 1, .part = {{.rows = ROWS}}, .use = WEIGHT_MATRIX};
  struct tensor tensor = {.name = "q.weight", .type = TENSOR_PACKED, .packed = &matrix, .data = codes.data};
  struct weight_source source = {.weight = &weight, .name = "q", .part = {&tensor}};
  weight.scheme = (struct scheme){.kind = SCHEME_F8};
  assert_true(weight_reader_init(&reader, &source, ROWS, &error));
  if (!weight_reader_read(&reader, 0, ROWS, &error)) fail_msg("%s", error.text);
  ((uint8_t *)(uintptr_t)codes.data.data)[2 * COLS + 5] = 0xff;
  assert_false(weight_reader_read(&reader, 0, ROWS, &error));
  assert_string_equal(error.text,
                      "Row 2 of tensor q.weight has a number in column 5 that is not finite; repair the model.");
  weight_reader_release(&reader);
  free((void *)(uintptr_t)codes.data.data);
  free((void *)(uintptr_t)scale.data.data);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_schemes_hold_the_numbers),
                                     cmocka_unit_test(test_mxfp4),
                                     cmocka_unit_test(test_stated_shape),
                                     cmocka_unit_test(test_changed_index),
                                     cmocka_unit_test(test_order),
                                     cmocka_unit_test(test_no_number)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
