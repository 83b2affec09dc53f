/* A model in several GGUF files is the model in one: the package gguf has split tests/fixtures/model/qwen3. */
#include "format/gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SPLIT FIXTURES "/format/split/qwen3-0000%d-of-00005.gguf"
enum { PARTS = 5, PATH_BYTES = 512 };

static void same_tensor(const struct tensor *a, const struct tensor *b) {
  assert_int_equal(a->type, b->type);
  assert_int_equal(a->n_dim, b->n_dim);
  for (int i = 0; i < a->n_dim; i++) assert_int_equal(a->dim[i], b->dim[i]);
  assert_true(slice_equal(a->data, b->data));
}

static void test_whole(void **state) {
  (void)state;
  struct error error = {0};
  char path[PATH_BYTES];
  snprintf(path, sizeof path, SPLIT, 1);
  struct gguf *split = gguf_open(path, &error), *whole = gguf_open(FIXTURES "/model/qwen3/model.gguf", &error);
  assert_non_null(split);
  assert_non_null(whole);
  assert_int_equal(split->n_part, PARTS - 1);
  assert_int_equal(split->tensors.n_tensor, whole->tensors.n_tensor);
  for (int i = 0; i < whole->tensors.n_tensor; i++) {
    const struct tensor *of = &whole->tensors.tensors[i], *found = tensor_find(&split->tensors, of->name);
    assert_non_null(found);
    same_tensor(of, found);
  }
  assert_non_null(gguf_find(split, "general.architecture"));
  assert_true(gguf_intact(split, &error));
  gguf_close(split);
  gguf_close(whole);
}

/* --- what is wrong ------------------------------------------------------------------------------------------------ */

static char folder[PATH_BYTES];

static void part_path(char path[PATH_BYTES], int part) {
  snprintf(path, PATH_BYTES, "%.400s/qwen3-0000%d-of-00005.gguf", folder, part);
}

/* The bytes of a fixture's part under the name of another. */
static void part_put(int from, int as) {
  char source[PATH_BYTES], path[PATH_BYTES], bytes[1 << 16];
  snprintf(source, sizeof source, SPLIT, from);
  part_path(path, as);
  FILE *in = fopen(source, "rb"), *out = fopen(path, "wb");
  assert_true(in && out);
  size_t size = fread(bytes, 1, sizeof bytes, in);
  assert_int_equal(fwrite(bytes, 1, size, out), size);
  fclose(in);
  assert_int_equal(fclose(out), 0);
}

static int parts_make(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s", "/tmp/spate-parts-XXXXXX");
  assert_non_null(mkdtemp(folder));
  for (int i = 1; i <= PARTS; i++) part_put(i, i);
  return 0;
}

static int parts_remove(void **state) {
  char path[PATH_BYTES];
  (void)state;
  for (int i = 1; i <= PARTS; i++) {
    part_path(path, i);
    unlink(path);
  }
  return rmdir(folder);
}

static void refused(const char *path, const char *start, const char *sentence) {
  char wanted[2 * ERROR_TEXT_MAX];
  struct error error = {0};
  assert_null(gguf_open(path, &error));
  snprintf(wanted, sizeof wanted, "%s%s", start, sentence);
  assert_string_equal(error.text, wanted);
}

static void test_missing(void **state) {
  (void)state;
  char first[PATH_BYTES], third[PATH_BYTES];
  part_path(first, 1);
  part_path(third, 3);
  assert_int_equal(unlink(third), 0);
  refused(first, third, " cannot be opened: No such file or directory.");
}

static void test_another(void **state) {
  (void)state;
  char first[PATH_BYTES], third[PATH_BYTES];
  part_put(2, 3);
  part_path(first, 1);
  part_path(third, 3);
  refused(first, third, " says that it is part 2 of 5, expected part 3 of 5: is it of another model?");
}

static void test_not_first(void **state) {
  (void)state;
  char second[PATH_BYTES];
  part_path(second, 2);
  refused(second, second,
          ": This is part 2 of 5 of a split model: give the first, whose name ends in -00001-of-00005.gguf.");
}

static void test_renamed(void **state) {
  (void)state;
  char first[PATH_BYTES], other[PATH_BYTES];
  part_path(first, 1);
  snprintf(other, sizeof other, "%.400s/model.gguf", folder);
  assert_int_equal(rename(first, other), 0);
  refused(other, other,
          ": This is the first of 5 parts of a split model, and the others cannot be found by its name, expected one "
          "that ends in -00001-of-00005.gguf.");
  assert_int_equal(rename(other, first), 0);
}

/* A part that shrinks after it was opened. */
static void test_shrunk(void **state) {
  (void)state;
  char first[PATH_BYTES], last[PATH_BYTES];
  struct error error = {0};
  part_path(first, 1);
  part_path(last, PARTS);
  struct gguf *gguf = gguf_open(first, &error);
  assert_non_null(gguf);
  assert_int_equal(truncate(last, 100), 0);
  assert_false(gguf_intact(gguf, &error));
  assert_string_equal(error.text, "The GGUF file changed its size while it was being read.");
  gguf_close(gguf);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole),
      cmocka_unit_test_setup_teardown(test_missing, parts_make, parts_remove),
      cmocka_unit_test_setup_teardown(test_another, parts_make, parts_remove),
      cmocka_unit_test_setup_teardown(test_not_first, parts_make, parts_remove),
      cmocka_unit_test_setup_teardown(test_renamed, parts_make, parts_remove),
      cmocka_unit_test_setup_teardown(test_shrunk, parts_make, parts_remove),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
