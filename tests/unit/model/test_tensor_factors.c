/* Scales of whole matrices in GGUF files: what they are joined with, and those that are refused. */
#include "model/tensor_factors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
/* cmocka wants the above */
#include <cmocka.h>

enum { TENSORS_MOST = 8 };

struct list {
  struct tensor tensor[TENSORS_MOST];
  struct tensor_table table;
  struct arena arena;
};

static void list_add(struct list *list, const char *name, enum tensor_type type, int64_t count) {
  list->tensor[list->table.n_tensor++] =
      (struct tensor){.name = name, .type = type, .n_dim = 1, .dim = {count}, .count = (size_t)count};
}

static bool list_open(struct list *list, struct packed_tensors *out, struct error *error) {
  list->table.tensors = list->tensor;
  arena_init(&list->arena, 1 << 20);
  assert_true(tensor_table_index(&list->table, &list->arena, error));
  return tensor_factors_open(out, &list->table, error);
}

static void test_joined(void **state) {
  struct list list = {0};
  struct packed_tensors out;
  struct error error;
  (void)state;
  list_add(&list, "a.weight", TENSOR_NVFP4, 64);
  list_add(&list, "a.scale", TENSOR_F32, 1);
  list_add(&list, "a.input_scale", TENSOR_F32, 1);
  list_add(&list, "b.weight", TENSOR_NVFP4, 64);
  list_add(&list, "c.weight", TENSOR_Q8_0, 64);
  list_add(&list, "c.scale", TENSOR_F32, 1); /* of no NVFP4: stays, to be refused as one that nothing uses */
  list_add(&list, "d.scale", TENSOR_F32, 1);
  list_add(&list, ".scale", TENSOR_F32, 1);
  assert_true(list_open(&list, &out, &error));
  assert_int_equal(out.table.n_tensor, TENSORS_MOST - 2);
  assert_ptr_equal(tensor_find(&out.table, "a.weight")->factor, &list.tensor[1]);
  assert_null(tensor_find(&out.table, "b.weight")->factor);
  assert_null(tensor_find(&out.table, "c.weight")->factor);
  assert_null(tensor_find(&out.table, "a.scale"));
  assert_null(tensor_find(&out.table, "a.input_scale"));
  assert_non_null(tensor_find(&out.table, "c.scale"));
  assert_non_null(tensor_find(&out.table, "d.scale"));
  assert_false(tensor_alike(tensor_find(&out.table, "a.weight"), tensor_find(&out.table, "b.weight")));
  packed_tensors_release(&out);
  arena_release(&list.arena);
}

/* Nothing to join: the file's own table serves. */
static void test_none(void **state) {
  struct list list = {0};
  struct packed_tensors out;
  struct error error;
  (void)state;
  list_add(&list, "a.weight", TENSOR_NVFP4, 64);
  assert_true(list_open(&list, &out, &error));
  assert_null(out.table.by_name);
  packed_tensors_release(&out);
  arena_release(&list.arena);
}

static void refusal_check(enum tensor_type type, int64_t count, const char *sentence) {
  struct list list = {0};
  struct packed_tensors out;
  struct error error = {0};
  list_add(&list, "a.weight", TENSOR_NVFP4, 64);
  list_add(&list, "a.scale", type, count);
  assert_false(list_open(&list, &out, &error));
  assert_string_equal(error.text, sentence);
  packed_tensors_release(&out);
  arena_release(&list.arena);
}

static void test_refused(void **state) {
  (void)state;
  refusal_check(TENSOR_F16, 1,
                "Tensor a.scale is of type F16 and shape [1], expected one F32 number for all of a.weight.");
  refusal_check(TENSOR_F32, 2,
                "Tensor a.scale is of type F32 and shape [2], expected one F32 number for all of a.weight.");
  refusal_check(TENSOR_F32, 0,
                "Tensor a.scale is of type F32 and shape [0], expected one F32 number for all of a.weight.");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_joined), cmocka_unit_test(test_none),
                                     cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
