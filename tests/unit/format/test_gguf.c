/* The GGUF reader: what a sound file gives, and the sentence for each way of being malformed. */
#include "base/buffer.h"
#include "format/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka wants the above */
#include <cmocka.h>

/* --- building files ----------------------------------------------------------------------------------------------- */

static void put_u32(struct buffer *out, uint32_t value) { buffer_append(out, &value, sizeof value); }
static void put_u64(struct buffer *out, uint64_t value) { buffer_append(out, &value, sizeof value); }

static void put_string(struct buffer *out, const char *text) {
  put_u64(out, strlen(text));
  buffer_text(out, text);
}

static void put_head(struct buffer *out, uint64_t n_tensor, uint64_t n_value) {
  buffer_text(out, "GGUF");
  put_u32(out, 3);
  put_u64(out, n_tensor);
  put_u64(out, n_value);
}

static void put_key(struct buffer *out, const char *key, enum gguf_type type) {
  put_string(out, key);
  put_u32(out, type);
}

static void put_key_u32(struct buffer *out, const char *key, uint32_t value) {
  put_key(out, key, GGUF_UINT32);
  put_u32(out, value);
}

static void put_key_array(struct buffer *out, const char *key, enum gguf_type element, uint64_t count) {
  put_key(out, key, GGUF_ARRAY);
  put_u32(out, element);
  put_u64(out, count);
}

/* A tensor of two dimensions, the innermost first as the file has them. */
static void put_tensor(struct buffer *out, const char *name, uint64_t inner, uint64_t outer, uint32_t type,
                       uint64_t offset) {
  put_string(out, name);
  put_u32(out, 2);
  put_u64(out, inner);
  put_u64(out, outer);
  put_u32(out, type);
  put_u64(out, offset);
}

/* Zeros up to a multiple of 32, then size more. */
static void put_data(struct buffer *out, size_t size) {
  while (out->size % 32 != 0) buffer_append(out, "", 1);
  while (size-- > 0) buffer_append(out, "", 1);
}

/* A file with a value of each kind and two tensors. */
static void put_sound(struct buffer *out) {
  put_head(out, 2, 9);
  put_key_u32(out, "llama.block_count", 30);
  put_key(out, "general.name", GGUF_STRING), put_string(out, "tiny");
  put_key(out, "flag", GGUF_BOOL), buffer_append(out, "\1", 1);
  put_key(out, "eps", GGUF_FLOAT32), put_u32(out, 0x3F800000);
  put_key(out, "offset", GGUF_INT8), buffer_append(out, "\xFE", 1);
  put_key(out, "huge", GGUF_UINT64), put_u64(out, UINT64_MAX);
  put_key(out, "precise", GGUF_FLOAT64), put_u64(out, 0x3FE0000000000000);
  put_key_array(out, "tokens", GGUF_STRING, 3), put_string(out, "a"), put_string(out, ""), put_string(out, "ccc");
  put_key_array(out, "types", GGUF_INT32, 2), put_u32(out, 1), put_u32(out, UINT32_MAX);
  put_tensor(out, "b", 32, 2, 2, 32); /* Q4_0: 36 bytes */
  put_tensor(out, "a", 4, 2, 0, 0);   /* F32: 32 bytes */
  put_data(out, 32 + 36);
}

static struct slice built(struct buffer *out, void (*build)(struct buffer *)) {
  buffer_init(out, 1 << 20);
  build(out);
  assert_false(out->failed);
  return buffer_slice(out);
}

/* --- sound files -------------------------------------------------------------------------------------------------- */

static struct buffer sound;
static struct gguf *gguf;

static int open_sound(void **state) {
  (void)state;
  gguf = gguf_read(built(&sound, put_sound), NULL);
  return gguf ? 0 : -1;
}

static int close_sound(void **state) {
  (void)state;
  gguf_close(gguf);
  buffer_release(&sound);
  return 0;
}

static void test_tensors(void **state) {
  (void)state;
  assert_int_equal(gguf->tensors.n_tensor, 2);
  const struct tensor *tensor = tensor_find(&gguf->tensors, "b");
  assert_non_null(tensor);
  assert_int_equal(tensor->type, TENSOR_Q4_0);
  assert_int_equal(tensor->n_dim, 2);
  assert_int_equal(tensor->dim[0], 2);
  assert_int_equal(tensor->dim[1], 32);
  assert_int_equal(tensor->count, 64);
  assert_int_equal(tensor->at, gguf->data_start + 32);
  assert_ptr_equal(tensor->data.data, gguf->bytes.data + tensor->at);
  assert_int_equal(tensor->data.size, 36);
  char shape[TENSOR_SHAPE_TEXT];
  assert_string_equal(tensor_shape_text(tensor, shape), "[2, 32]");
  assert_null(tensor_find(&gguf->tensors, "c"));
  assert_null(tensor_find(&gguf->tensors, ""));
}

static void test_scalars(void **state) {
  (void)state;
  uint32_t count = 0;
  assert_true(gguf_get_u32(gguf, "llama.block_count", GGUF_REQUIRED, &count, NULL));
  assert_int_equal(count, 30);
  int64_t wide = 0;
  assert_true(gguf_get_i64(gguf, "offset", GGUF_REQUIRED, &wide, NULL));
  assert_int_equal(wide, -2);
  assert_true(gguf_get_i64(gguf, "llama.block_count", GGUF_REQUIRED, &wide, NULL));
  assert_int_equal(wide, 30);
  double number = 0;
  assert_true(gguf_get_float(gguf, "eps", GGUF_REQUIRED, &number, NULL) && number == 1);
  assert_true(gguf_get_float(gguf, "precise", GGUF_REQUIRED, &number, NULL) && number == 0.5);
  bool flag = false;
  assert_true(gguf_get_bool(gguf, "flag", GGUF_REQUIRED, &flag, NULL) && flag);
  struct slice name;
  assert_true(gguf_get_string(gguf, "general.name", GGUF_REQUIRED, &name, NULL));
  assert_true(slice_is(name, "tiny"));
}

static void test_arrays(void **state) {
  (void)state;
  const struct gguf_value *value = NULL;
  assert_true(gguf_get_array(gguf, "tokens", GGUF_REQUIRED, GGUF_STRING, &value, NULL));
  assert_int_equal(value->count, 3);
  assert_true(slice_is(value->strings[0], "a") && slice_is(value->strings[1], "") &&
              slice_is(value->strings[2], "ccc"));
  assert_true(gguf_get_array(gguf, "types", GGUF_REQUIRED, GGUF_INT32, &value, NULL));
  int64_t number;
  assert_true(gguf_value_int(value, 0, &number) && number == 1);
  assert_true(gguf_value_int(value, 1, &number) && number == -1);
  assert_false(gguf_value_int(gguf_find(gguf, "huge"), 0, &number));
  assert_false(gguf_value_int(gguf_find(gguf, "eps"), 0, &number));
}

static void test_absent_keys_keep_the_default(void **state) {
  (void)state;
  uint32_t number = 7;
  struct slice text = slice_text("default");
  const struct gguf_value *value = NULL;
  assert_true(gguf_get_u32(gguf, "none", GGUF_OPTIONAL, &number, NULL) && number == 7);
  assert_true(gguf_get_string(gguf, "none", GGUF_OPTIONAL, &text, NULL) && slice_is(text, "default"));
  assert_true(gguf_get_array(gguf, "none", GGUF_OPTIONAL, GGUF_STRING, &value, NULL) && value == NULL);
}

static void test_wrong_keys_are_named(void **state) {
  (void)state;
  struct error e;
  uint32_t u32;
  int64_t i64;
  double number;
  bool flag;
  struct slice text;
  const struct gguf_value *value;
  assert_false(gguf_get_u32(gguf, "none", GGUF_REQUIRED, &u32, &e));
  assert_string_equal(e.text, "The file has no key \"none\" (expected: an integer).");
  assert_false(gguf_get_array(gguf, "none", GGUF_REQUIRED, GGUF_STRING, &value, &e));
  assert_string_equal(e.text, "The file has no key \"none\" (expected: array of string).");
  assert_false(gguf_get_u32(gguf, "general.name", GGUF_OPTIONAL, &u32, &e));
  assert_string_equal(e.text, "Key \"general.name\" is of type string; expected an integer.");
  assert_false(gguf_get_u32(gguf, "flag", GGUF_OPTIONAL, &u32, &e));
  assert_string_equal(e.text, "Key \"flag\" is of type bool; expected an integer.");
  assert_false(gguf_get_u32(gguf, "offset", GGUF_OPTIONAL, &u32, &e));
  assert_string_equal(e.text, "Key \"offset\" is -2; expected 0 to 4294967295.");
  assert_false(gguf_get_i64(gguf, "huge", GGUF_OPTIONAL, &i64, &e));
  assert_string_equal(e.text, "Key \"huge\" is 18446744073709551615; expected at most 9223372036854775807.");
  assert_false(gguf_get_float(gguf, "flag", GGUF_OPTIONAL, &number, &e));
  assert_string_equal(e.text, "Key \"flag\" is of type bool; expected a float.");
  assert_false(gguf_get_bool(gguf, "types", GGUF_OPTIONAL, &flag, &e));
  assert_string_equal(e.text, "Key \"types\" is of type array of int32; expected bool.");
  assert_false(gguf_get_string(gguf, "eps", GGUF_OPTIONAL, &text, &e));
  assert_string_equal(e.text, "Key \"eps\" is of type float32; expected string.");
  assert_false(gguf_get_array(gguf, "types", GGUF_OPTIONAL, GGUF_STRING, &value, &e));
  assert_string_equal(e.text, "Key \"types\" is of type array of int32; expected array of string.");
  assert_false(gguf_get_array(gguf, "eps", GGUF_OPTIONAL, GGUF_FLOAT32, &value, &e));
  assert_string_equal(e.text, "Key \"eps\" is of type float32; expected array of float32.");
}

/* Version 2 has the same layout; a file may have no tensors and then no data either. */
static void test_smallest_file(void **state) {
  (void)state;
  struct buffer out;
  buffer_init(&out, 1 << 10);
  buffer_text(&out, "GGUF");
  put_u32(&out, 2);
  put_u64(&out, 0);
  put_u64(&out, 0);
  struct gguf *empty = gguf_read(buffer_slice(&out), NULL);
  assert_non_null(empty);
  assert_int_equal(empty->version, 2);
  assert_null(tensor_find(&empty->tensors, "a"));
  assert_null(gguf_find(empty, "a"));
  gguf_close(empty);
  buffer_release(&out);
}

/* Every proper prefix of the sound file is refused, and none crashes. */
static void test_every_prefix_is_refused(void **state) {
  (void)state;
  for (size_t size = 0; size < sound.size; size++) {
    uint8_t *copy = malloc(size ? size : 1); /* its own block, so that a sanitizer sees reads past the end */
    memcpy(copy, sound.data, size);
    struct error error = {0};
    assert_null(gguf_read(slice_make(copy, size), &error));
    assert_true(error.code == ERROR_FORMAT && error.text[0]);
    free(copy);
  }
}

/* --- malformed files ---------------------------------------------------------------------------------------------- */

static void no_magic(struct buffer *out) { buffer_text(out, "GGML\1\2\3\4"); }

static void version_1(struct buffer *out) {
  buffer_text(out, "GGUF");
  put_u32(out, 1);
}

static void big_endian(struct buffer *out) {
  buffer_text(out, "GGUF");
  put_u32(out, 3u << 24);
}

static void many_keys(struct buffer *out) { put_head(out, 0, 1 << 30); }
static void missing_keys(struct buffer *out) { put_head(out, 0, 5000); }
static void many_tensors(struct buffer *out) { put_head(out, UINT64_MAX, 0); }
static void missing_tensors(struct buffer *out) { put_head(out, 2, 0), put_data(out, 32); }

static void key_past_end(struct buffer *out) {
  put_head(out, 0, 1);
  put_u64(out, UINT64_MAX);
  put_data(out, 8);
}

static void empty_key(struct buffer *out) { put_head(out, 0, 1), put_key_u32(out, "", 1); }
static void control_key(struct buffer *out) { put_head(out, 0, 1), put_key_u32(out, "a\033[2J", 1); }

static void string_past_end(struct buffer *out) {
  put_head(out, 0, 1);
  put_key(out, "general.name", GGUF_STRING);
  put_u64(out, 100);
  buffer_text(out, "short");
}

static void unknown_value_type(struct buffer *out) {
  put_head(out, 0, 1);
  put_key_u32(out, "a", 0);
  out->data[8 + 16 + 8 + 1] = 13;
}

static void nested_array(struct buffer *out) { put_head(out, 0, 1), put_key_array(out, "a", GGUF_ARRAY, 0); }
static void long_array(struct buffer *out) { put_head(out, 0, 1), put_key_array(out, "a", GGUF_UINT8, 1ull << 60); }
static void short_array(struct buffer *out) { put_head(out, 0, 1), put_key_array(out, "a", GGUF_UINT64, 1000); }
static void short_strings(struct buffer *out) { put_head(out, 0, 1), put_key_array(out, "a", GGUF_STRING, 1000); }

static void odd_bool(struct buffer *out) {
  put_head(out, 0, 1);
  put_key(out, "flag", GGUF_BOOL);
  buffer_append(out, "\2", 1);
}

static void duplicate_key(struct buffer *out) {
  put_head(out, 0, 3);
  put_key_u32(out, "a", 1), put_key_u32(out, "b", 1), put_key_u32(out, "a", 1);
}

static void odd_alignment(struct buffer *out) { put_head(out, 0, 1), put_key_u32(out, "general.alignment", 24); }
static void zero_alignment(struct buffer *out) { put_head(out, 0, 1), put_key_u32(out, "general.alignment", 0); }
static void one_of_parts(struct buffer *out) { put_head(out, 0, 1), put_key_u32(out, "split.count", 3); }

static void many_dims(struct buffer *out) {
  put_head(out, 1, 0);
  put_string(out, "a");
  put_u32(out, 5);
  put_data(out, 32);
}

static void one_tensor(struct buffer *out, uint64_t inner, uint64_t outer, uint32_t type, uint64_t offset,
                       size_t data) {
  put_head(out, 1, 0);
  put_tensor(out, "a", inner, outer, type, offset);
  put_data(out, data);
}

static void huge_dim(struct buffer *out) { one_tensor(out, 1, UINT64_MAX, 0, 0, 0); }
static void unknown_type(struct buffer *out) { one_tensor(out, 1, 1, 99, 0, 4); }
static void dims_overflow(struct buffer *out) { one_tensor(out, 1ull << 40, 1ull << 40, 0, 0, 0); }
static void bytes_overflow(struct buffer *out) { one_tensor(out, 1ull << 32, 1ull << 30, 0, 0, 0); }
static void broken_block(struct buffer *out) { one_tensor(out, 48, 2, 2, 0, 54); }
static void odd_offset(struct buffer *out) { one_tensor(out, 1, 1, 0, 4, 8); }
static void data_past_end(struct buffer *out) { one_tensor(out, 16, 1, 0, 32, 64); }
static void offset_overflow(struct buffer *out) { one_tensor(out, 1, 1, 0, UINT64_MAX - 31, 4); }

static void overlap(struct buffer *out) {
  put_head(out, 3, 0);
  put_tensor(out, "c", 8, 1, 0, 64);
  put_tensor(out, "b", 8, 1, 0, 32);
  put_tensor(out, "a", 16, 1, 0, 0);
  put_data(out, 96);
}

static void duplicate_tensor(struct buffer *out) {
  put_head(out, 2, 0);
  put_tensor(out, "a", 8, 1, 0, 0);
  put_tensor(out, "a", 8, 1, 0, 32);
  put_data(out, 64);
}

static void empty_name(struct buffer *out) {
  put_head(out, 1, 0);
  put_tensor(out, "", 8, 1, 0, 0);
  put_data(out, 64);
}

static const struct {
  void (*build)(struct buffer *);
  const char *sentence;
} malformed[] = {
    {no_magic, "This is no GGUF file: it begins with bytes 47 47 4d 4c, not with \"GGUF\"."},
    {version_1, "This GGUF file is of version 1; versions 2 and 3 are supported: convert the model again."},
    {big_endian, "This GGUF file is big-endian; convert it to little-endian (gguf_convert_endian.py)."},
    {many_keys, "The file has 1073741824 metadata keys; at most 65536 are supported."},
    {missing_keys, "The file claims 5000 metadata keys, but ends at byte 24."},
    {many_tensors, "The file has 18446744073709551615 tensors; at most 1048576 are supported."},
    {missing_tensors, "The file claims 2 tensors, but ends at byte 64."},
    {key_past_end, "The file ends at byte 40, within key 0 (from byte 24), which needs 18446744073709551615 bytes from "
                   "byte 32: it is truncated or damaged; get it again."},
    {empty_key, "The name of key 0 (from byte 24) has 0 bytes; expected 1 to 512."},
    {control_key, "The name of key 0 (from byte 24) is not printable UTF-8."},
    {string_past_end, "The file ends at byte 61, within key \"general.name\", which needs 100 bytes from byte 56: it "
                      "is truncated or damaged; get it again."},
    {unknown_value_type, "The value type of key \"a\" is 13 (byte 33); GGUF defines 0 to 12."},
    {nested_array, "The value of key \"a\" is an array of arrays (byte 37), which is not supported."},
    {long_array, "The array of key \"a\" has 1152921504606846976 elements; at most 16777216 are supported."},
    {short_array, "The file ends at byte 49, within key \"a\", which needs 8000 bytes from byte 49: it is truncated or "
                  "damaged; get it again."},
    {short_strings,
     "The file ends at byte 49, too soon for the 1000 strings of key \"a\": it is truncated or damaged; get it again."},
    {odd_bool, "A bool of key \"flag\" is 2 (byte 40); expected 0 or 1."},
    {duplicate_key, "Key \"a\" occurs twice, with values at bytes 37 and 71."},
    {odd_alignment, "Key \"general.alignment\" is 24; expected a power of two up to 65536."},
    {zero_alignment, "Key \"general.alignment\" is 0; expected a power of two up to 65536."},
    {one_of_parts, "This is one of 3 parts of a split model, expected a whole one."},
    {many_dims, "The shape of tensor \"a\" has 5 dimensions (byte 33); GGUF allows 4."},
    {huge_dim, "The shape of tensor \"a\" has a dimension of 18446744073709551615 (byte 45), which is too large."},
    {unknown_type, "The type of tensor \"a\" is number 99 (byte 53), which is unknown."},
    {dims_overflow, "Tensor \"a\" of shape [1099511627776, 1099511627776] has more bytes than can be addressed."},
    {bytes_overflow, "Tensor \"a\" of shape [1073741824, 4294967296] has more bytes than can be addressed."},
    {broken_block, "Tensor \"a\" has rows of 48 elements; Q4_0 comes in blocks of 32."},
    {odd_offset, "Tensor \"a\" is at offset 4 of the data, which begins at byte 96; the offset should be a multiple of "
                 "the alignment, 32."},
    {data_past_end, "Tensor \"a\" should be 64 bytes at offset 32 of the data, which begins at byte 96, but the file "
                    "ends at byte 160: it is truncated or damaged; get it again."},
    {offset_overflow, "Tensor \"a\" should be 4 bytes at offset 18446744073709551584 of the data, which begins at byte "
                      "96, but the file ends at byte 100: it is truncated or damaged; get it again."},
    {overlap, "Tensors \"a\" (bytes 160 to 224) and \"b\" (bytes 192 to 224) overlap."},
    {duplicate_tensor, "Tensor \"a\" is listed twice, as entries 0 and 1."},
    {empty_name, "The name of tensor 0 (from byte 24) has 0 bytes; expected 1 to 512."},
};

static void test_malformed_files_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
    struct buffer out;
    struct error error = {0};
    assert_null(gguf_read(built(&out, malformed[i].build), &error));
    assert_string_equal(error.text, malformed[i].sentence);
    buffer_release(&out);
  }
}

static void test_sentences_begin_with_the_path(void **state) {
  (void)state;
  char path[] = "/tmp/spate_test_gguf_XXXXXX", expected[ERROR_TEXT_MAX];
  int descriptor = mkstemp(path);
  assert_true(descriptor >= 0 && write(descriptor, "GGUF", 4) == 4);
  close(descriptor);
  struct error error;
  assert_null(gguf_open(path, &error));
  snprintf(expected, sizeof expected,
           "%s: The file ends at byte 4, within the header, which needs 4 bytes from byte 4: it is truncated or "
           "damaged; get it again.",
           path);
  assert_string_equal(error.text, expected);
  unlink(path);
  assert_null(gguf_open(path, &error));
  assert_int_equal(error.code, ERROR_NOT_FOUND);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tensors),
      cmocka_unit_test(test_scalars),
      cmocka_unit_test(test_arrays),
      cmocka_unit_test(test_absent_keys_keep_the_default),
      cmocka_unit_test(test_wrong_keys_are_named),
      cmocka_unit_test(test_smallest_file),
      cmocka_unit_test(test_every_prefix_is_refused),
      cmocka_unit_test(test_malformed_files_are_refused),
      cmocka_unit_test(test_sentences_begin_with_the_path),
  };
  return cmocka_run_group_tests(tests, open_sound, close_sound);
}
