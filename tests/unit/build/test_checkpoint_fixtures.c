/* Matrices that other programs quantized and stored (tools/make_checkpoint_fixtures.py): the floats that those programs
 * make of them bit for bit, and the scheme that an engine keeps them in. */
#include "base/file.h"
#include "base/half.h"
#include "build/packed_codes.h"
#include "model/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the above */
#include <cmocka.h>

enum { PATH_BYTES = 512, ROW_STEP = 3 }; /* every third row has its floats in the fixture */

static const struct {
  const char *name, *storage, *scheme;
} fixtures[] = {
    {"awq_g32", "AWQ int4 g32 zero", "int4 g32 f32 min a8"},
    {"awq_row", "AWQ int4 zero", "int4 g128 f32 min a8"},
    {"gptq_int4", "GPTQ int4 g32 zero", "int4 g32 f32 min a8"},
    {"gptq_int8", "GPTQ int8 zero", "int8 g128 f32 min a8"},
    {"gptq_v2_int2", "GPTQ int2 g32 zero", "int2 g32 f32 min a8"},
    {"gptq_act_order", "GPTQ int4 g32 zero g_idx", "F16"},
    {"w4a16", "packed int4 g32", "int4 g32 bf16 a8"},
    {"w4a16_zero", "packed int4 g32 zero", "int4 g32 f32 min a8"},
    {"w8a8", "plain int8", "int8 g128 bf16 a8"},
    {"fp8_row", "E4M3", "F8 row"},
    {"fp8_tensor", "E4M3", "F8 row"},
    {"fp8_block", "E4M3 g128x128", "F8 g128"},
    {"mxfp4", "MXFP4", "int4 g32 bf16 e2m1 a8"},
};

static void path_of(char path[PATH_BYTES], const char *fixture, const char *file) {
  snprintf(path, PATH_BYTES, "%s/checkpoint/%s%s", FIXTURES, fixture, file);
}

static void rows_compare(const struct packed_matrix *matrix, const char *name) {
  char path[PATH_BYTES];
  struct file expected;
  struct error error;
  struct packed_buffer buffer;
  size_t bytes = (size_t)matrix->cols * sizeof(float);
  float *row = malloc(bytes);
  path_of(path, name, "/expected.f32");
  if (!file_open(&expected, path, &error)) fail_msg("%s", error.text);
  assert_int_equal(expected.size, bytes * ((size_t)(matrix->rows - 1) / ROW_STEP + 1));
  assert_true(packed_buffer_init(&buffer, matrix->cols, &error));
  for (int r = 0; r < matrix->rows; r += ROW_STEP) {
    packed_row_floats(&buffer, matrix, NULL, r, row);
    for (int c = 0; c < matrix->cols; c++) {
      float wanted;
      memcpy(&wanted, expected.data + (size_t)(r / ROW_STEP) * bytes + (size_t)c * sizeof wanted, sizeof wanted);
      if (row[c] != wanted) fail_msg("%s [%d][%d]: %.9g, expected %.9g", name, r, c, (double)row[c], (double)wanted);
    }
  }
  packed_buffer_release(&buffer);
  file_close(&expected);
  free(row);
}

static void test_every_fixture(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) {
    char path[PATH_BYTES], text[48];
    struct error error;
    const char *note;
    path_of(path, fixtures[i].name, "");
    struct checkpoint *checkpoint = checkpoint_open(path, &error);
    if (!checkpoint) fail_msg("%s: %s", fixtures[i].name, error.text);
    const struct tensor *tensor = checkpoint_find(checkpoint, "proj.weight");
    if (!tensor) tensor = checkpoint_find(checkpoint, "proj"); /* a parameter by itself */
    assert_int_equal(checkpoint_tensor_count(checkpoint), 1);
    assert_true(tensor && tensor->packed);
    assert_string_equal(packed_matrix_name(tensor->packed, text), fixtures[i].storage);
    struct scheme scheme = packed_scheme(tensor->packed, NULL, &note);
    assert_string_equal(scheme_name(&scheme, text), fixtures[i].scheme);
    rows_compare(tensor->packed, fixtures[i].name);
    checkpoint_close(checkpoint);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_fixture)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
