/* PyTorch's files: what torch reads of its own (tools/make_torch_fixtures.py), and the sentence for each way of being
 * malformed or more than a table of tensors. */
#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "format/torch_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOLDER FIXTURES "/format/torch/"

static bool file_read(struct slice bytes, struct tensor_table *table, struct arena *arena, struct error *error) {
  *table = (struct tensor_table){0};
  arena_init(arena, 1 << 24);
  return torch_file_read(bytes, table, arena, error);
}

/* --- torch's word ------------------------------------------------------------------------------------------------- */

static void tensor_check(const struct tensor_table *table, const char *name, const json_t *wanted) {
  const struct tensor *tensor = tensor_find(table, name);
  const json_t *shape = json_object_get(wanted, "shape");
  const char *hex = json_string_value(json_object_get(wanted, "bytes"));
  char byte[3];
  assert_non_null(tensor);
  assert_string_equal(tensor_type_name(tensor->type), json_string_value(json_object_get(wanted, "type")));
  assert_int_equal(tensor->n_dim, json_array_size(shape));
  for (int i = 0; i < tensor->n_dim; i++)
    assert_int_equal(tensor->dim[i], json_integer_value(json_array_get(shape, (size_t)i)));
  assert_int_equal(2 * tensor->data.size, strlen(hex));
  for (size_t i = 0; i < tensor->data.size; i++) {
    snprintf(byte, sizeof byte, "%02x", tensor->data.data[i]);
    assert_memory_equal(byte, hex + 2 * i, 2);
  }
}

static void fixture_check(const char *bin, const char *json, int count) {
  struct file file;
  struct tensor_table table;
  struct arena arena;
  struct error error;
  const char *name;
  json_t *wanted, *all = json_read(json, 1 << 20, &error);
  assert_non_null(all);
  assert_true(file_open(&file, bin, &error));
  if (!file_read(slice_make(file.data, file.size), &table, &arena, &error)) fail_msg("%s", error.text);
  assert_int_equal(table.n_tensor, count);
  assert_int_equal(json_object_size(all), count);
  json_object_foreach(all, name, wanted) tensor_check(&table, name, wanted);
  arena_release(&arena);
  file_close(&file);
  json_decref(all);
}

static void test_tensors_are_those_of_torch(void **state) {
  (void)state;
  fixture_check(FOLDER "plain.bin", FOLDER "plain.json", 18);
  fixture_check(FOLDER "module.bin", FOLDER "module.json", 2);
}

static void refused(struct slice bytes, const char *sentence) {
  struct tensor_table table;
  struct arena arena;
  struct error error = {0};
  assert_false(file_read(bytes, &table, &arena, &error));
  assert_string_equal(error.text, sentence);
  arena_release(&arena);
}

static void test_files_that_are_no_table(void **state) {
  static const struct {
    const char *path, *sentence;
  } cases[] = {
      {FOLDER "transposed.bin",
       "data.pkl: Byte 161: A tensor's elements do not follow each other (it is transposed, say): save the model anew "
       "with contiguous tensors, as safetensors if you can."},
      {FOLDER "legacy.bin", "The file is a bare pickle, as PyTorch wrote before version 1.6: load it there with "
                            "weights_only=True and save it "
                            "again, as safetensors if you can."},
      {FOLDER "protocol4.bin",
       "data.pkl: Byte 0: The pickle is of protocol 4, expected 2, which torch.save writes by itself."},
      {FOLDER "number.bin", "\"epoch\" is a number, where a tensor is expected: the file is no model's state_dict."},
      {FOLDER "object.bin",
       "data.pkl: Byte 2: The pickle names torch.nn.modules.linear.Linear, which is none of what a table of tensors "
       "needs: it is not run. Save the model's state_dict, as safetensors if you can."},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct file file;
    struct error error;
    assert_true(file_open(&file, cases[i].path, &error));
    refused(slice_make(file.data, file.size), cases[i].sentence);
    file_close(&file);
  }
}

/* --- archives made here ------------------------------------------------------------------------------------------- */

/* Numbers of as many bytes as the form has digits for. */
static void numbers(struct buffer *out, const char *form, const uint64_t *number) {
  for (; *form; form++, number++) buffer_append(out, number, (size_t)(*form - '0'));
}

struct entry {
  const char *name;
  struct slice data;
  uint64_t method, flags;
};

/* A ZIP archive of the entries, each as it is. */
static struct slice archive_make(struct buffer *out, const struct entry *entry, size_t n) {
  size_t place[8];
  buffer_init(out, 1 << 20);
  for (size_t i = 0; i < n; i++) {
    uint64_t size = entry[i].data.size, name = strlen(entry[i].name);
    place[i] = out->size;
    numbers(out, "42222244422", (uint64_t[]){0x04034b50, 0, 0, 0, 0, 0, 0, size, size, name, 0});
    buffer_text(out, entry[i].name);
    buffer_append(out, entry[i].data.data, size);
  }
  size_t at = out->size;
  for (size_t i = 0; i < n; i++) {
    uint64_t size = entry[i].data.size, name = strlen(entry[i].name);
    numbers(out, "42222224442222244",
            (uint64_t[]){0x02014b50, 0, 0, entry[i].flags, entry[i].method, 0, 0, 0, size, size, name, 0, 0, 0, 0, 0,
                         place[i]});
    buffer_text(out, entry[i].name);
  }
  numbers(out, "42222442", (uint64_t[]){0x06054b50, 0, 0, n, n, out->size - at, at, 0});
  assert_false(out->failed);
  return buffer_slice(out);
}

/* Four floats beside the pickle, aligned as torch aligns them. */
static struct slice pickled(struct buffer *out, const char *pickle, size_t size) {
  const struct entry entries[] = {
      {.name = "m/data/0", .data = slice_make("\0\0\x80\x3f\0\0\0\x40\0\0\0\0\0\0\0\0", 16)},
      {.name = "m/data.pkl", .data = slice_make(pickle, size)}};
  return archive_make(out, entries, 2);
}

#define TEXT(size, text) "X" size "\0\0\0" text
#define STORAGE(type, key, count)                                                                                      \
  "(" TEXT("\7", "storage") "ctorch\n" type "\nX\1\0\0\0" key TEXT("\3", "cpu") "K" count "tQ"
#define TENSOR(storage, offset, size, stride)                                                                          \
  "ctorch._utils\n_rebuild_tensor_v2\n(" storage "K" offset size stride "\x89"                                         \
  "ccollections\nOrderedDict\n)RtR"
#define DICT(value) "\x80\2}" TEXT("\1", "a") value "s."
#define FLOATS      STORAGE("FloatStorage", "0", "\4")
#define ONE(number) "K" number "\x85"

static void test_unaligned(void **state) {
  static const char pickle[] = DICT(TENSOR(FLOATS, "\1", "K\1K\3\x86", "K\x63K\1\x86"));
  struct buffer out;
  struct tensor_table table;
  struct arena arena;
  struct error error = {0};
  (void)state;
  struct slice file = pickled(&out, pickle, sizeof pickle - 1);
  assert_non_null(file.data);
  bool good = file_read(file, &table, &arena, &error);
  /* "m/data/0" is 8 bytes long: its data are at 38 */
  assert_false(good);
  assert_string_equal(error.text,
                      "Tensor \"a\" begins at byte 42, which is no multiple of 4, the size of one F32; save "
                      "the model again.");
  arena_release(&arena);
  buffer_release(&out);
}

static void test_pickles(void **state) {
#define CASE(pickle, sentence)                                                                                         \
  { pickle, sizeof(pickle) - 1, sentence }
  static const struct {
    const char *pickle;
    size_t size;
    const char *sentence;
  } cases[] = {
      CASE("\x80\2cos\nsystem\n" TEXT("\2", "id") "\x85R.",
           "data.pkl: Byte 2: The pickle names os.system, which is none of what a table of tensors needs: it is not "
           "run. Save the model's state_dict, as safetensors if you can."),
      CASE(
          "\x80\2cbuiltins\neval\x1b[2J\n.",
          "data.pkl: Byte 2: The pickle names builtins.eval?[2J, which is none of what a table of tensors needs: it is "
          "not run. Save the model's state_dict, as safetensors if you can."),
      CASE("", "data.pkl: The pickle has no end."),
      CASE("\x80\2", "data.pkl: The pickle has no end."),
      CASE("\x80", "data.pkl: Byte 0: The pickle ends within an operation."),
      CASE(".", "data.pkl: The pickle's stack lacks a value."),
      CASE("(.", "data.pkl: The pickle's stack lacks a value."),
      CASE("ctorch", "data.pkl: Byte 0: The pickle ends within a name."),
      CASE("X\xff\xff\xff\xff", "data.pkl: Byte 0: The pickle ends within an operation."),
      CASE("\x8a\x09", "data.pkl: Byte 0: The pickle has a number of 9 bytes."),
      CASE("i", "data.pkl: Byte 0: The pickle has the operation 0x69, which tables of tensors do not need."),
      CASE("o", "data.pkl: Byte 0: The pickle has the operation 0x6f, which tables of tensors do not need."),
      CASE("G12345678", "data.pkl: Byte 0: The pickle has the operation 0x47, which tables of tensors do not need."),
      CASE("\x93", "data.pkl: Byte 0: The pickle has the operation 0x93, which tables of tensors do not need."),
      CASE("h\0", "data.pkl: Byte 0: The pickle asks for value 0 of 0 that it remembers."),
      CASE("Nr\1\0\0\0", "data.pkl: Byte 1: The pickle remembers value 1 after 0 others."),
      CASE("t", "data.pkl: Byte 0: The pickle's stack lacks a mark."),
      CASE("(NNu", "data.pkl: Byte 3: The pickle's stack lacks a value."),
      CASE("N(NNu", "data.pkl: Byte 4: The pickle sets items of something that is no dict."),
      CASE("}(Nu", "data.pkl: Byte 3: The pickle sets items of something that is no dict."),
      CASE("NNs", "data.pkl: Byte 2: The pickle's stack lacks a value."),
      CASE("N)R", "data.pkl: Byte 2: The pickle calls None with a tuple."),
      CASE("NNb", "data.pkl: Byte 2: The pickle sets the state of None, which nothing here has."),
      CASE("NQ", "data.pkl: Byte 1: The pickle refers to something that is no storage."),
      CASE("ccollections\nOrderedDict\n)R.", NULL),
      CASE("ccollections\nOrderedDict\nN\x85R", "data.pkl: Byte 27: The pickle makes something other than dicts and "
                                                "tensors."),
      CASE("ctorch\nFloatStorage\n)R", "data.pkl: Byte 21: The pickle makes something other than dicts and tensors."),
      CASE("ctorch._utils\n_rebuild_tensor_v2\n)R",
           "data.pkl: Byte 34: The pickle makes a tensor of something that is no storage."),
      CASE("N.", "The file holds None, expected a dict of tensors, a model's state_dict."),
      CASE("}N}s.", "The name of tensor 0 is None, expected a text."),
      CASE(DICT("N"), "\"a\" is None, where a tensor is expected: the file is no model's state_dict."),
      CASE(DICT(FLOATS), "\"a\" is a storage, where a tensor is expected: the file is no model's state_dict."),
      CASE(DICT(STORAGE("FloatStorage", "1", "\4")), "data.pkl: Byte 59: The archive lacks the storage data/1."),
      CASE(DICT(STORAGE("FloatStorage", "/", "\4")),
           "data.pkl: Byte 59: The pickle refers to something that is no storage."),
      CASE(
          DICT(STORAGE("FloatStorage", "0", "\5")),
          "data.pkl: Byte 59: The storage data/0 has 16 bytes, which are not the 5 elements of type F32 that it should "
          "hold."),
      CASE(DICT(TENSOR(FLOATS, "\1", ONE("\4"), ONE("\1"))),
           "data.pkl: Byte 131: A tensor has 4 elements from element 1 on of a storage of 4."),
      CASE(DICT(TENSOR(FLOATS, "\0", ONE("\2"), ONE("\2"))), "data.pkl: Byte 131: A tensor's elements do not follow "
                                                             "each other (it is transposed, say): save the model anew "
                                                             "with contiguous tensors, as safetensors if you can."),
      CASE(DICT(TENSOR(FLOATS, "\0", ONE("\2"), ")")), "data.pkl: Byte 129: A tensor's elements do not follow each "
                                                       "other (it is transposed, say): save the model anew "
                                                       "with contiguous tensors, as safetensors if you can."),
      CASE(DICT(TENSOR(FLOATS, "\0", "J\xff\xff\xff\xff\x85", ONE("\1"))),
           "data.pkl: Byte 134: A tensor has a size that is no whole number from 0 up."),
      CASE(DICT(TENSOR(FLOATS, "\0", "(K\1K\1K\1K\1K\1K\1K\1t", ")")),
           "data.pkl: Byte 142: A tensor has 7 dimensions; at most 6 are supported."),
      CASE(DICT(TENSOR(FLOATS, "\0", "\x8a\x08\0\0\0\0\0\0\0\x10\x8a\x08\0\0\0\0\0\0\0\x10\x86",
                       "\x8a\x08\0\0\0\0\0\0\0\x10K\1\x86")),
           "data.pkl: Byte 159: A tensor has more elements than memory has addresses."),
  };
  int failed = 0;
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct buffer out;
    struct slice file = pickled(&out, cases[i].pickle, cases[i].size);
    struct tensor_table table;
    struct arena arena;
    struct error error = {0};
    bool good = file_read(file, &table, &arena, &error);
    if (good != !cases[i].sentence || (!good && strcmp(error.text, cases[i].sentence) != 0))
      print_error("case %zu: %s\n", i, good ? "it was read" : error.text), failed++;
    arena_release(&arena);
    buffer_release(&out);
  }
  assert_int_equal(failed, 0);
}

static void test_archives(void **state) {
  struct buffer out;
  const struct slice pickle = slice_text("}."), two = slice_text("big");
  (void)state;
  refused(slice_text(""), "The file is no archive of PyTorch's, which begins with PK.");
  refused(slice_text("GGUF"), "The file is no archive of PyTorch's, which begins with PK.");
  refused(slice_text("PK"), "The archive has no end: it is truncated or damaged; get it again.");
  refused(archive_make(&out, (struct entry[]){{"m/x", pickle, 0, 0}}, 1),
          "The archive has no data.pkl: torch.save did not write it.");
  buffer_release(&out);
  refused(archive_make(&out, (struct entry[]){{"m/data.pkl", pickle, 8, 0}}, 1),
          "The archive has an entry that is compressed or encrypted; torch.save stores them as they are.");
  buffer_release(&out);
  refused(archive_make(&out, (struct entry[]){{"m/data.pkl", pickle, 0, 1}}, 1),
          "The archive has an entry that is compressed or encrypted; torch.save stores them as they are.");
  buffer_release(&out);
  refused(archive_make(&out, (struct entry[]){{"m/data.pkl", pickle, 0, 0}, {"m/data.pkl", pickle, 0, 0}}, 2),
          "The archive has two entries of one name: it is truncated or damaged; get it again.");
  buffer_release(&out);
  refused(archive_make(&out, (struct entry[]){{"m/data.pkl", pickle, 0, 0}, {"m/byteorder", two, 0, 0}}, 2),
          "The numbers of the archive are not little-endian: save it again.");
  buffer_release(&out);
}

/* Each prefix is refused, and each byte may be another. */
static void test_damage(void **state) {
  struct file file;
  struct tensor_table table;
  struct arena arena;
  struct error error;
  (void)state;
  assert_true(file_open(&file, FOLDER "module.bin", &error));
  uint8_t *copy = malloc(file.size);
  assert_non_null(copy);
  for (size_t size = 0; size < file.size; size++) {
    memcpy(copy, file.data, size);
    assert_false(file_read(slice_make(copy, size), &table, &arena, &error));
    arena_release(&arena);
  }
  for (size_t at = 0; at < file.size; at++)
    for (int bit = 0; bit < 8; bit++) {
      memcpy(copy, file.data, file.size);
      copy[at] ^= (uint8_t)(1 << bit);
      file_read(slice_make(copy, file.size), &table, &arena, &error);
      arena_release(&arena);
    }
  free(copy);
  file_close(&file);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_tensors_are_those_of_torch),
                                     cmocka_unit_test(test_files_that_are_no_table),
                                     cmocka_unit_test(test_unaligned),
                                     cmocka_unit_test(test_pickles),
                                     cmocka_unit_test(test_archives),
                                     cmocka_unit_test(test_damage)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
