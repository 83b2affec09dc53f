/* What goes to a GPU of an adapter's factors, without one: BF16 or floats, times α ÷ r of each row's part. */
#include "backend/cuda/cuda_adapter.h"
#include "base/half.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 6, COLS = 5, RANK_MOST = 16 };

struct one_op {
  struct plan plan;
  struct op op;
  struct weight weight;
};

static struct one_op one_op_make(enum op_kind kind, enum scheme_kind scheme) {
  struct one_op one = {.op = {.kind = kind, .weight = {0}},
                       .weight = {.rows = ROWS, .cols = COLS, .n_part = 2, .scheme.kind = scheme}};
  one.weight.part[0].rows = 4, one.weight.part[1].rows = 2;
  one.plan.ops = offsetof(struct one_op, op);
  one.plan.weights = offsetof(struct one_op, weight);
  return one;
}

/* b of a linear: a row's rank numbers, then zeros; of 16 ranks rows follow one another. */
static void b_check(enum scheme_kind scheme, uint8_t type, int rank) {
  static const float gain[PLAN_PARTS] = {1, 0.75f};
  struct one_op one = one_op_make(OP_LINEAR, scheme);
  float floats[ROWS * RANK_MOST], a[2 * RANK_MOST * COLS] = {0};
  uint16_t narrow[ROWS * RANK_MOST];
  for (int i = 0; i < ROWS * rank; i++) {
    narrow[i] = type == FACTOR_F16 ? half_from_float(0.1f * (float)i) : bfloat_from_float(0.1f * (float)i);
    floats[i] = type == FACTOR_F32 ? 0.1f * (float)i : 0;
    if (type != FACTOR_F32) factor_floats((struct factor){narrow, type}, (size_t)i, 1, &floats[i]);
  }
  struct adapter_op from = {
      .rank = rank, .a = {.numbers = a}, .b = {type == FACTOR_F32 ? (void *)floats : narrow, type}};
  memcpy(from.gain, gain, sizeof gain);
  struct cuda_adapter_place place = {0};
  struct cuda_adapter_pack packs[2];
  struct upload_job jobs[ADAPTER_JOBS];
  uint8_t slot[1], packed[ROWS * 16 * 4] = {0};
  assert_int_equal(cuda_adapter_jobs(&one.plan, &from, &place, slot, packs, jobs), 2);
  jobs[1].fill(jobs[1].source, 0, jobs[1].from.size, packed);
  for (int i = 0; i < ROWS; i++)
    for (int k = 0; k < 16; k++) {
      float wanted = k < rank ? floats[i * rank + k] * gain[i >= 4] : 0, got;
      uint16_t half;
      memcpy(&got, packed + (i * 16 + k) * 4, 4); /* within packed whatever there is */
      memcpy(&half, packed + (i * 16 + k) * 2, 2);
      if (cuda_adapter_floats(&one.weight))
        assert_true(got == wanted);
      else
        assert_int_equal(half, bfloat_from_float(wanted));
    }
}

static void test_gains(void **state) {
  (void)state;
  for (uint8_t type = 0; type < FACTOR_TYPES; type++) {
    b_check(SCHEME_BF16, type, 3);
    b_check(SCHEME_F32, type, 3);
    b_check(SCHEME_BF16, type, RANK_MOST);
    b_check(SCHEME_F32, type, RANK_MOST);
  }
}

/* Factors of an expert follow one another by ranks, columns filled up, and those of the next expert are behind them. */
static void test_experts(void **state) {
  enum { RANK = 3, WHOLE = 64, EXPERT_BYTES = 2 * 16 * WHOLE * 2 + 256 };
  (void)state;
  struct one_op one = one_op_make(OP_LINEAR, SCHEME_BF16);
  one.op.args.linear.expert_mode = EXPERTS_SPREAD;
  one.weight.n_expert = 4;
  one.plan.n_op = 1;
  float a[2 * RANK * COLS], b[ROWS * RANK] = {0};
  for (int i = 0; i < 2 * RANK * COLS; i++) a[i] = 0.5f * (float)i;
  struct adapter_op from = {.rank = RANK, .a = {.numbers = a}, .b = {.numbers = b}};
  size_t used = 0;
  assert_int_equal(cuda_adapter_experts(&one.plan), 4);
  struct cuda_adapter_place first = cuda_adapter_expert_lay(&one.plan, &from, &used);
  struct cuda_adapter_place next = cuda_adapter_expert_lay(&one.plan, &from, &used);
  assert_int_equal(first.a, 0);
  assert_int_equal(first.b, EXPERT_BYTES - 256);
  assert_int_equal(next.a, EXPERT_BYTES);
  assert_int_equal(used, 2 * EXPERT_BYTES);
  struct cuda_adapter_pack packs[2];
  struct upload_job jobs[ADAPTER_JOBS];
  static uint16_t packed[2 * 16 * WHOLE];
  uint8_t room[1];
  assert_int_equal(cuda_adapter_jobs(&one.plan, &from, &first, room, packs, jobs), 2);
  assert_int_equal(jobs[0].from.size, sizeof packed);
  jobs[0].fill(jobs[0].source, 0, sizeof packed, (uint8_t *)packed);
  for (int part = 0; part < 2; part++)
    for (int k = 0; k < 16; k++)
      for (int c = 0; c < WHOLE; c++) {
        float wanted = k < RANK && c < COLS ? a[(part * RANK + k) * COLS + c] : 0;
        assert_int_equal(packed[(part * 16 + k) * WHOLE + c], bfloat_from_float(wanted));
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_gains), cmocka_unit_test(test_experts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
