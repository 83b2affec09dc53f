/* GGML's types against vectors of the Python package `gguf` (tools/make_ggml_vectors.py), and codes against values. */
#include "base/file.h"
#include "base/half.h"
#include "format/ggml_codes.h"
#include "format/ggml_dequant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka wants the above */
#include <cmocka.h>

enum { ELEMENTS_MAX = 768 };

struct vector {
  enum tensor_type type;
  size_t count;
  struct slice source;
  const uint8_t *expected; /* count floats, unaligned */
};

static struct file vectors;

static int open_vectors(void **state) {
  (void)state;
  return file_open(&vectors, FIXTURES "/format/ggml_vectors.bin", NULL) ? 0 : -1;
}

static int close_vectors(void **state) {
  (void)state;
  file_close(&vectors);
  return 0;
}

/* The record at *at, which moves on to the next; false at the end. */
static bool next_vector(size_t *at, struct vector *vector) {
  if (*at == vectors.size) return false;
  uint32_t head[3];
  assert_true(vectors.size - *at >= sizeof head);
  memcpy(head, vectors.data + *at, sizeof head);
  assert_true(tensor_type_from_ggml(head[0], &vector->type));
  vector->count = head[1];
  vector->source = slice_make(vectors.data + *at + sizeof head, head[2]);
  vector->expected = vector->source.data + head[2];
  *at += sizeof head + head[2] + head[1] * sizeof(float);
  assert_true(*at <= vectors.size && vector->count <= ELEMENTS_MAX);
  return true;
}

static void assert_same_bits(const struct vector *vector, const float *actual) {
  for (size_t i = 0; i < vector->count; i++) {
    float expected;
    memcpy(&expected, vector->expected + i * sizeof expected, sizeof expected);
    if (float_bits(expected) != float_bits(actual[i]))
      fail_msg("%s[%zu]: expected %a, got %a", tensor_type_name(vector->type), i, (double)expected, (double)actual[i]);
  }
}

static void test_values_are_exact(void **state) {
  (void)state;
  struct vector vector;
  bool seen[TENSOR_TYPE_COUNT] = {false};
  for (size_t at = 0; next_vector(&at, &vector);) {
    size_t bytes;
    assert_true(tensor_type_bytes(vector.type, vector.count, &bytes));
    assert_int_equal(bytes, vector.source.size);
    float actual[ELEMENTS_MAX];
    assert_true(tensor_dequantize(vector.type, vector.source.data, vector.count, actual));
    assert_same_bits(&vector, actual);
    seen[vector.type] = true;
  }
  for (int type = 0; type < TENSOR_TYPE_COUNT; type++)
    assert_int_equal(seen[type], tensor_type_loads((enum tensor_type)type));
}

/* A row of one block or a few, not only whole pieces of 256. */
static void test_short_rows(void **state) {
  (void)state;
  struct vector vector;
  for (size_t at = 0; next_vector(&at, &vector);) {
    float actual[ELEMENTS_MAX];
    vector.count = tensor_type_info(vector.type)->block;
    assert_true(tensor_dequantize(vector.type, vector.source.data, vector.count, actual));
    assert_same_bits(&vector, actual);
  }
}

/* One element by the definition in ggml_codes.h, in double: exact but for the roundings of the last product and sum. */
static double code_value(const struct ggml_code_form *form, const struct ggml_codes *codes, size_t i) {
  size_t group = i / (size_t)form->group, super = i / GGML_SUPER;
  double scale, min = 0;
  if (form->two_level) {
    scale = (double)half_to_float(codes->super[super]) * codes->sub_scale[group];
    if (form->has_min) min = -((double)half_to_float(codes->super_min[super]) * codes->sub_min[group]);
  } else {
    scale = form->scale_bfloat ? bfloat_to_float(codes->scale[group]) : half_to_float(codes->scale[group]);
    if (form->has_min) min = half_to_float(codes->min[group]);
  }
  if (form->codebook) return scale * ggml_unit(form->codebook) * ggml_codebook(form->codebook)[codes->code[i]];
  if (form->has_min) return (float)(scale * codes->code[i]) + min;
  return scale * (codes->code[i] - (1 << (form->bits - 1)));
}

static void test_codes_rebuild_the_values(void **state) {
  (void)state;
  struct vector vector;
  for (size_t at = 0; next_vector(&at, &vector);) {
    struct ggml_code_form form;
    if (!ggml_code_form(vector.type, &form)) continue;
    uint8_t code[ELEMENTS_MAX], sub_min[ELEMENTS_MAX / 16];
    uint16_t scale[ELEMENTS_MAX / 16], min[ELEMENTS_MAX / 16], super[ELEMENTS_MAX / 256], super_min[ELEMENTS_MAX / 256];
    int8_t sub_scale[ELEMENTS_MAX / 16];
    struct ggml_codes codes = {.code = code, /* what the form lacks stays NULL: nothing else may be written */
                               .scale = form.two_level ? NULL : scale,
                               .min = !form.two_level && form.has_min ? min : NULL,
                               .sub_scale = form.two_level ? sub_scale : NULL,
                               .sub_min = form.two_level && form.has_min ? sub_min : NULL,
                               .super = form.two_level ? super : NULL,
                               .super_min = form.two_level && form.has_min ? super_min : NULL};
    ggml_row_codes(vector.type, vector.source.data, vector.count, &codes);
    float actual[ELEMENTS_MAX];
    for (size_t i = 0; i < vector.count; i++) {
      assert_true(code[i] < 1 << form.bits);
      actual[i] = (float)code_value(&form, &codes, i);
    }
    assert_same_bits(&vector, actual);
  }
}

static void test_others_are_refused_by_name(void **state) {
  (void)state;
  struct error error;
  struct tensor tensor = {.name = "blk.0.ffn_up.weight", .type = TENSOR_Q8_K};
  float out;
  assert_false(tensor_dequantize(TENSOR_Q8_K, NULL, 0, &out));
  assert_false(tensor_check_loads(&tensor, &error));
  assert_int_equal(error.code, ERROR_UNSUPPORTED);
  assert_string_equal(error.text,
                      "Tensor \"blk.0.ffn_up.weight\" is of type Q8_K, which does not load; these do: "
                      "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ1_S, IQ1_M, "
                      "IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4, NVFP4.");
  tensor.type = TENSOR_Q6_K;
  assert_true(tensor_check_loads(&tensor, &error));
}

static void test_types_by_number_and_name(void **state) {
  (void)state;
  enum tensor_type type;
  assert_true(tensor_type_from_ggml(39, &type) && type == TENSOR_MXFP4);
  assert_false(tensor_type_from_ggml(4, &type)); /* a type that GGML dropped */
  assert_false(tensor_type_from_ggml(UINT32_MAX, &type));
  assert_true(tensor_type_from_safetensors(slice_text("F8_E4M3"), &type) && type == TENSOR_F8_E4M3);
  assert_false(tensor_type_from_safetensors(slice_text("Q4_K"), &type));
  size_t bytes;
  assert_false(tensor_type_bytes(TENSOR_Q4_K, 128, &bytes));
  assert_false(tensor_type_bytes(TENSOR_F64, SIZE_MAX / 4, &bytes));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values_are_exact),         cmocka_unit_test(test_short_rows),
      cmocka_unit_test(test_codes_rebuild_the_values), cmocka_unit_test(test_others_are_refused_by_name),
      cmocka_unit_test(test_types_by_number_and_name),
  };
  return cmocka_run_group_tests(tests, open_vectors, close_vectors);
}
