/* The safetensors reader: one file, a directory of shards, and the sentence for each way of being malformed. */
#include "base/buffer.h"
#include "format/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka wants the above */
#include <cmocka.h>

/* --- building files ----------------------------------------------------------------------------------------------- */

/* The header padded with spaces to a multiple of 8, and data_bytes zeros. */
static struct slice file_built(struct buffer *out, const char *header, size_t data_bytes) {
  buffer_init(out, 1 << 20);
  uint64_t size = (strlen(header) + 7) / 8 * 8;
  buffer_append(out, &size, sizeof size);
  buffer_print(out, "%-*s", (int)size, header);
  while (data_bytes-- > 0) buffer_append(out, "", 1);
  assert_false(out->failed);
  return buffer_slice(out);
}

#define TENSOR(name, dtype, shape, begin, end)                                                                         \
  "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

#define SOUND                                                                                                          \
  "{\"__metadata__\":{\"format\":\"pt\"}," TENSOR("b", "BF16", "[2,3]", 16, 28) "," TENSOR(                            \
      "a", "F32", "[4]", 0, 16) "," TENSOR("one", "F32", "[]", 28, 32) "," TENSOR("none", "I64", "[0,7]", 32, 32) "}"

/* --- one file ----------------------------------------------------------------------------------------------------- */

static void test_sound_file(void **state) {
  (void)state;
  struct buffer out;
  struct safetensors *file = safetensors_read(file_built(&out, SOUND, 32), NULL);
  assert_non_null(file);
  assert_int_equal(file->tensors.n_tensor, 4);
  const struct tensor *tensor = tensor_find(&file->tensors, "b");
  assert_non_null(tensor);
  assert_int_equal(tensor->type, TENSOR_BF16);
  assert_int_equal(tensor->n_dim, 2);
  assert_int_equal(tensor->dim[0], 2);
  assert_int_equal(tensor->dim[1], 3);
  assert_int_equal(tensor->count, 6);
  assert_ptr_equal(tensor->data.data, (const uint8_t *)out.data + tensor->at);
  assert_int_equal(tensor->at, out.size - 32 + 16);
  assert_int_equal(tensor->data.size, 12);
  assert_int_equal(tensor_find(&file->tensors, "one")->count, 1);
  assert_int_equal(tensor_find(&file->tensors, "none")->data.size, 0);
  assert_null(tensor_find(&file->tensors, "__metadata__"));
  assert_string_equal(json_string_value(json_object_get(file->shards[0].metadata, "format")), "pt");
  safetensors_close(file);
  buffer_release(&out);
}

static void test_every_dtype(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int bytes;
  } dtypes[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I64", 8}, {"I32", 4},
                {"I16", 2}, {"I8", 1},  {"U64", 8}, {"U32", 4},  {"U16", 2},     {"U8", 1},      {"BOOL", 1}};
  for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
    char header[128];
    snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%d]}}", dtypes[i].name,
             3 * dtypes[i].bytes);
    struct buffer out;
    struct safetensors *file = safetensors_read(file_built(&out, header, (size_t)(3 * dtypes[i].bytes)), NULL);
    assert_non_null(file);
    assert_string_equal(tensor_type_name(file->tensors.tensors[0].type), dtypes[i].name);
    safetensors_close(file);
    buffer_release(&out);
  }
}

static void test_every_prefix_is_refused(void **state) {
  (void)state;
  struct buffer out;
  struct slice sound = file_built(&out, SOUND, 32);
  for (size_t size = 0; size < sound.size; size++) {
    uint8_t *copy = malloc(size ? size : 1); /* its own block, so that a sanitizer sees reads past the end */
    memcpy(copy, sound.data, size);
    struct error error = {0};
    assert_null(safetensors_read(slice_make(copy, size), &error));
    assert_true(error.code == ERROR_FORMAT && error.text[0]);
    free(copy);
  }
  buffer_release(&out);
}

static const struct {
  const char *header;
  size_t data_bytes;
  const char *sentence;
} malformed[] = {
    {"[]", 0, "The header is no JSON object."},
    {"{\"a\":", 0,
     "The header (bytes 8 to 16): Not valid JSON at line 1, column 8: unexpected token near end of file."},
    {"{\"a\":1}", 0, "Tensor \"a\" is not described by an object."},
    {"{" TENSOR("a", "F32", "[1]", 0, 4) "," TENSOR("a", "F32", "[1]", 4, 8) "}", 8,
     "The header (bytes 8 to 120): Not valid JSON at line 1, column 57: duplicate object key near '\"a\"'."},
    {"{\"__metadata__\":[]}", 0, "The header's \"__metadata__\" is not an object of strings."},
    {"{\"__metadata__\":{\"a\":1}}", 0, "\"__metadata__\" has a value for \"a\" that is not a string."},
    {"{" TENSOR("", "F32", "[1]", 0, 4) "}", 4, "The name of tensor 0 has 0 bytes; expected 1 to 512."},
    {"{" TENSOR("a\\n", "F32", "[1]", 0, 4) "}", 4, "The name of tensor 0 is not printable UTF-8."},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "Tensor \"a\" has no dtype that is a string."},
    {"{" TENSOR("a", "F4", "[8]", 0, 4) "}", 4, "Tensor \"a\" has dtype \"F4\", which is unknown."},
    {"{" TENSOR("a", "Q4_K", "[8]", 0, 4) "}", 4, "Tensor \"a\" has dtype \"Q4_K\", which is unknown."},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4,
     "Tensor \"a\" has no shape that is an array."},
    {"{" TENSOR("a", "F32", "[-1]", 0, 4) "}", 4, "Dimension 0 of tensor \"a\" is no whole number from 0 up."},
    {"{" TENSOR("a", "F32", "[1.5]", 0, 4) "}", 4, "Dimension 0 of tensor \"a\" is no whole number from 0 up."},
    {"{" TENSOR("a", "F32", "[1,1,1,1,1,1,1]", 0, 4) "}", 4, "Tensor \"a\" has 7 dimensions; at most 6 are supported."},
    {"{" TENSOR("a", "F32", "[4294967296,4294967296]", 0, 4) "}", 4,
     "Tensor \"a\" of shape [4294967296, 4294967296] has more bytes than can be addressed."},
    {"{" TENSOR("a", "F32", "[4611686018427387904]", 0, 4) "}", 4,
     "Tensor \"a\" of shape [4611686018427387904] has more bytes than can be addressed."},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "Tensor \"a\" has no data_offsets of the form [begin, end]."},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4,
     "Tensor \"a\" has no data_offsets of the form [begin, end]."},
    {"{" TENSOR("a", "F32", "[1]", 4, 0) "}", 4, "Tensor \"a\" has no data_offsets of the form [begin, end]."},
    {"{" TENSOR("a", "F32", "[2,3]", 0, 20) "}", 20,
     "Tensor \"a\" of type F32 and shape [2, 3] takes 24 bytes, but its data_offsets give it 20."},
    {"{" TENSOR("a", "F32", "[1]", 9223372036854775800, 9223372036854775804) "}", 4,
     "Tensor \"a\" should be 4 bytes at offset 9223372036854775800 of the data, which begins at byte 104, but the file "
     "ends at byte 108: it is truncated or damaged; get it again."},
    {"{" TENSOR("a", "F32", "[2]", 0, 8) "}", 7,
     "Tensor \"a\" should be 8 bytes at offset 0 of the data, which begins at byte 64, but the file ends at byte 71: "
     "it is truncated or damaged; get it again."},
    {"{" TENSOR("a", "U8", "[3]", 0, 3) "," TENSOR("b", "F16", "[1]", 3, 5) "}", 5,
     "Tensor \"b\" begins at byte 123, which is no multiple of 2, the size of one F16; save the model again with a "
     "current safetensors."},
    {"{" TENSOR("a", "F32", "[2]", 0, 8) "," TENSOR("b", "F32", "[2]", 4, 12) "}", 12,
     "Tensors \"a\" (bytes 120 to 128) and \"b\" (bytes 124 to 132) overlap."},
    {"{" TENSOR("a", "F32", "[1]", 0, 4) "," TENSOR("b", "F32", "[1]", 8, 12) "}", 12,
     "Bytes 124 to 128, before tensor \"b\", belong to no tensor."},
    {"{" TENSOR("a", "F32", "[1]", 4, 8) "}", 8, "Bytes 64 to 68, before tensor \"a\", belong to no tensor."},
    {"{" TENSOR("a", "F32", "[1]", 0, 4) "}", 6, "Bytes 68 to 70, at the file's end, belong to no tensor."},
};

static void test_malformed_files_are_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
    struct buffer out;
    struct error error = {0};
    assert_null(safetensors_read(file_built(&out, malformed[i].header, malformed[i].data_bytes), &error));
    assert_string_equal(error.text, malformed[i].sentence);
    buffer_release(&out);
  }
}

static void test_header_length(void **state) {
  (void)state;
  struct error error;
  assert_null(safetensors_read(slice_text("\3"), &error));
  assert_string_equal(error.text, "The file has 1 bytes; a safetensors file has at least 8.");
  assert_null(safetensors_read(slice_make("\x10\0\0\0\0\0\0\0{}", 10), &error));
  assert_string_equal(error.text, "The header has bytes 8 to 24, but the file ends at byte 10: it is truncated or "
                                  "damaged; get it again.");
  assert_null(safetensors_read(slice_make("GGUF\3\0\0\0{}", 10), &error));
  assert_string_equal(error.text, "The header would have 14064895815 bytes, more than the format's 104857600: this is "
                                  "no safetensors file.");
}

/* --- directories -------------------------------------------------------------------------------------------------- */

#define INDEX  "model.safetensors.index.json"
#define SHARD1 "model-00001-of-00002.safetensors"
#define SHARD2 "model-00002-of-00002.safetensors"

static char directory[64];

static int make_directory(void **state) {
  (void)state;
  snprintf(directory, sizeof directory, "/tmp/spate_test_safetensors_XXXXXX");
  return mkdtemp(directory) ? 0 : -1;
}

static void path_of(char path[160], const char *name) { snprintf(path, 160, "%s/%s", directory, name); }

static void write_file(const char *name, struct slice bytes) {
  char path[160];
  path_of(path, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
  assert_int_equal(fclose(file), 0);
}

static void write_shard(const char *name, const char *header, size_t data_bytes) {
  struct buffer out;
  write_file(name, file_built(&out, header, data_bytes));
  buffer_release(&out);
}

/* Two shards, a in the first and b in the second, and the given index (NULL: none). */
static int write_shards(const char *index) {
  write_shard(SHARD1, "{" TENSOR("a", "F32", "[1]", 0, 4) "}", 4);
  write_shard(SHARD2, "{" TENSOR("b", "F32", "[2]", 0, 8) "}", 8);
  if (index) write_file(INDEX, slice_text(index));
  return 0;
}

static int clear_directory(void **state) {
  (void)state;
  static const char *const names[] = {INDEX, SHARD1, SHARD2, "model.safetensors", ""};
  char path[160];
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    path_of(path, names[i]);
    remove(path);
  }
  return 0;
}

static void test_shards_are_one_table(void **state) {
  (void)state;
  write_shards("{\"weight_map\":{\"a\":\"" SHARD1 "\",\"b\":\"" SHARD2 "\"}}");
  struct error error;
  struct safetensors *model = safetensors_open_directory(directory, &error);
  assert_non_null(model);
  assert_int_equal(model->n_shard, 2);
  assert_int_equal(model->tensors.n_tensor, 2);
  assert_int_equal(tensor_find(&model->tensors, "a")->count, 1);
  assert_int_equal(tensor_find(&model->tensors, "b")->count, 2);
  assert_true(safetensors_intact(model, &error));
  char path[160];
  path_of(path, SHARD2);
  assert_int_equal(truncate(path, 20), 0);
  assert_false(safetensors_intact(model, &error));
  assert_string_equal(error.text, SHARD2 " changed its size while it was being read.");
  safetensors_close(model);
}

static void test_single_file(void **state) {
  (void)state;
  struct error error;
  char expected[ERROR_TEXT_MAX], path[160];
  assert_null(safetensors_open_directory(directory, &error));
  snprintf(expected, sizeof expected, "%s has neither model.safetensors nor " INDEX ", nor a pytorch_model.bin.",
           directory);
  assert_string_equal(error.text, expected);
  write_shard("model.safetensors", SOUND, 32);
  struct safetensors *model = safetensors_open_directory(directory, &error);
  assert_non_null(model);
  assert_int_equal(model->tensors.n_tensor, 4);
  safetensors_close(model);
  write_shard("model.safetensors", SOUND, 31);
  path_of(path, "model.safetensors");
  assert_null(safetensors_open_directory(directory, &error));
  assert_memory_equal(error.text, path, strlen(path));
}

static void assert_index_refused(const char *index, const char *sentence) {
  struct error error = {0};
  write_shards(index);
  assert_null(safetensors_open_directory(directory, &error));
  assert_string_equal(error.text, sentence);
}

static void test_wrong_indexes_are_refused(void **state) {
  (void)state;
  char expected[ERROR_TEXT_MAX];
  snprintf(expected, sizeof expected, "%s/" INDEX " has no object \"weight_map\".", directory);
  assert_index_refused("{}", expected);
  static const char escape[] = INDEX ": tensor \"a\" is not in a file of this directory; expected a plain file name.";
  assert_index_refused("{\"weight_map\":{\"a\":\"../" SHARD1 "\"}}", escape);
  assert_index_refused("{\"weight_map\":{\"a\":\"..\"}}", escape);
  assert_index_refused("{\"weight_map\":{\"a\":\"\"}}", escape);
  assert_index_refused("{\"weight_map\":{\"a\":\"" SHARD1 "\\u0000\"}}", escape);
  assert_index_refused("{\"weight_map\":{\"a\":7}}", escape);
  assert_index_refused("{\"weight_map\":{\"a\":\"" SHARD1 "\",\"b\":\"" SHARD1 "\"}}",
                       INDEX ": tensor \"b\" should be in " SHARD1 ", but is not there.");
  assert_index_refused("{\"weight_map\":{\"b\":\"" SHARD2 "\",\"a\":\"" SHARD2 "\"}}",
                       INDEX ": tensor \"a\" should be in " SHARD2 ", but is not there.");
  snprintf(expected, sizeof expected, "%s/none.safetensors cannot be opened: No such file or directory.", directory);
  assert_index_refused("{\"weight_map\":{\"a\":\"none.safetensors\"}}", expected);
}

static void test_tensor_in_two_shards(void **state) {
  (void)state;
  struct error error;
  write_shards("{\"weight_map\":{\"a\":\"" SHARD1 "\",\"b\":\"" SHARD2 "\"}}");
  write_shard(SHARD2, "{" TENSOR("b", "F32", "[1]", 0, 4) "," TENSOR("a", "F32", "[1]", 4, 8) "}", 8);
  assert_null(safetensors_open_directory(directory, &error));
  assert_string_equal(error.text, "Tensor \"a\" is in " SHARD2 ", but " INDEX " lists it in " SHARD1 ".");
  write_shard(SHARD2, "{" TENSOR("b", "F32", "[1]", 0, 4) "," TENSOR("c", "F32", "[1]", 4, 8) "}", 8);
  assert_null(safetensors_open_directory(directory, &error));
  assert_string_equal(error.text, SHARD2 " has a tensor \"c\" that " INDEX " does not list.");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sound_file),
      cmocka_unit_test(test_every_dtype),
      cmocka_unit_test(test_every_prefix_is_refused),
      cmocka_unit_test(test_malformed_files_are_refused),
      cmocka_unit_test(test_header_length),
      cmocka_unit_test_setup_teardown(test_shards_are_one_table, make_directory, clear_directory),
      cmocka_unit_test_setup_teardown(test_single_file, make_directory, clear_directory),
      cmocka_unit_test_setup_teardown(test_wrong_indexes_are_refused, make_directory, clear_directory),
      cmocka_unit_test_setup_teardown(test_tensor_in_two_shards, make_directory, clear_directory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
