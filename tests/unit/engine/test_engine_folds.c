/* The folds of an engine file: written and read back, and each kind of damage refused with its sentence; adapters whose
 * numbers do not survive them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "adapter_fixture.h"
#include "base/arena.h"

/* Weights of the fixture: an embedding, and q and k of 16 + 8 rows in one matrix of 32 columns. */
enum { EMBED, QK, ROWS_Q = 16, ROWS_K = 8, COLS = 32, TABLE = 64 };

static struct adapter_base base;
static struct buffer section;
static float column[COLS], k[ROWS_K];
static int32_t order[COLS];

static int setup(void **state) {
  struct weight_fold folds[2] = {{0}};
  struct error error;
  (void)state;
  adapter_base_init(&base);
  buffer_init(&section, 1 << 16);
  for (int i = 0; i < COLS; i++) column[i] = 0.5f + (float)i, order[i] = (i * 5 + 3) % COLS;
  for (int i = 0; i < ROWS_K; i++) k[i] = 1 / (1 + (float)i);
  folds[QK] = (struct weight_fold){.column = column, .column_order = order, .row = {NULL, k}};
  return engine_folds_write(base.engine.plan, folds, &section, &error) ? 0 : 1;
}

static int teardown(void **state) {
  (void)state;
  buffer_release(&section);
  adapter_base_release(&base);
  return 0;
}

static void test_round_trip(void **state) {
  (void)state;
  struct weight_fold fold = engine_folds_get(buffer_slice(&section), QK);
  struct weight_fold none = engine_folds_get(buffer_slice(&section), EMBED);
  const struct weight *weight = &plan_weights(base.engine.plan)[QK];
  assert_int_equal(section.size, TABLE + sizeof column + sizeof order + sizeof k);
  assert_memory_equal(fold.column, column, sizeof column);
  assert_memory_equal(fold.column_order, order, sizeof order);
  assert_memory_equal(fold.row[1], k, sizeof k);
  assert_true(!fold.row[0] && !fold.row_order && !none.column && !none.row[0]);
  assert_true(weight_fold_factor(&fold, weight, 1, 3) == 0.25f && weight_fold_factor(&fold, weight, 0, 3) == 1);
  assert_int_equal(weight_fold_row(&fold, weight, 1, 3), 3);
  none = engine_folds_get((struct slice){0}, QK);
  assert_true(!none.column && !none.column_order);
}

static void test_nothing(void **state) {
  static const struct weight_fold none[2];
  struct buffer empty;
  struct error error;
  (void)state;
  buffer_init(&empty, 1 << 10);
  assert_true(engine_folds_write(base.engine.plan, none, &empty, &error));
  assert_int_equal(empty.size, 0);
  assert_true(engine_folds_check(buffer_slice(&empty), base.engine.plan, &error));
  buffer_release(&empty);
}

/* --- damage ------------------------------------------------------------------------------------------------------- */

static struct engine_fold *entry_of(uint8_t *bytes, int weight) { return (struct engine_fold *)(void *)bytes + weight; }
static void number_set(uint8_t *bytes, uint32_t place, int index, float number) {
  memcpy(bytes + place + 4 * index, &number, sizeof number);
}
static void order_set(uint8_t *bytes, int index, int32_t number) {
  memcpy(bytes + entry_of(bytes, QK)->column_order + 4 * index, &number, sizeof number);
}
static void column_set(uint8_t *bytes, float number) { number_set(bytes, entry_of(bytes, QK)->column, 7, number); }

static size_t table_short(uint8_t *bytes) { return (void)bytes, TABLE - 1; }
static size_t end_short(uint8_t *bytes) { return (void)bytes, section.size - 1; }
static size_t column_zero(uint8_t *bytes) { return column_set(bytes, 0), section.size; }
static size_t column_negative(uint8_t *bytes) { return column_set(bytes, -1), section.size; }
static size_t column_nan(uint8_t *bytes) { return column_set(bytes, NAN), section.size; }
static size_t column_infinite(uint8_t *bytes) { return column_set(bytes, INFINITY), section.size; }
static size_t column_least(uint8_t *bytes) { return column_set(bytes, 1e-40f), section.size; }
static size_t row_zero(uint8_t *bytes) { return number_set(bytes, entry_of(bytes, QK)->row[1], 0, 0), section.size; }
static size_t order_twice(uint8_t *bytes) { return order_set(bytes, 4, order[3]), section.size; }
static size_t order_negative(uint8_t *bytes) { return order_set(bytes, 0, -1), section.size; }
static size_t order_great(uint8_t *bytes) { return order_set(bytes, 1, COLS), section.size; }
static size_t place_odd(uint8_t *bytes) { return entry_of(bytes, QK)->column++, section.size; }
static size_t place_in_table(uint8_t *bytes) { return entry_of(bytes, QK)->column = TABLE - 4, section.size; }
static size_t place_outside(uint8_t *bytes) { return entry_of(bytes, QK)->row[0] = UINT32_MAX - 3, section.size; }
static size_t place_of_no_part(uint8_t *bytes) { return entry_of(bytes, QK)->row[2] = TABLE, section.size; }
static size_t rows_unlike(uint8_t *bytes) { return entry_of(bytes, QK)->row_order = TABLE, section.size; }
static size_t of_embedding(uint8_t *bytes) { return entry_of(bytes, EMBED)->column = TABLE, section.size; }
static size_t reserved(uint8_t *bytes) { return entry_of(bytes, QK)->apart = 1, section.size; }

#define LIES(at)                                                                                                       \
  "What was folded into the weight qk lies at " at                                                                     \
  ", outside the 352 bytes of its section or where there can be nothing."

static const struct damage {
  size_t (*make)(uint8_t *bytes); /* returns the size */
  const char *sentence;
} damages[] = {
    {table_short, "The folds have 63 bytes; 2 weights take 64."},
    {end_short, "What was folded into the weight qk lies at 320, outside the 351 bytes of its section or where there "
                "can be nothing."},
    {column_zero, "A factor that was folded into the weight qk is 0, and has no inverse."},
    {column_negative, "A factor that was folded into the weight qk is -1, and has no inverse."},
    {column_nan, "A factor that was folded into the weight qk is nan, and has no inverse."},
    {column_infinite, "A factor that was folded into the weight qk is inf, and has no inverse."},
    {column_least, "A factor that was folded into the weight qk is 9.99995e-41, and has no inverse."},
    {row_zero, "A factor that was folded into the weight qk is 0, and has no inverse."},
    {order_twice, "An order of the weight qk has 18 at place 4 of 32, out of range or twice."},
    {order_negative, "An order of the weight qk has -1 at place 0 of 32, out of range or twice."},
    {order_great, "An order of the weight qk has 32 at place 1 of 32, out of range or twice."},
    {place_odd, LIES("65")},
    {place_in_table, LIES("60")},
    {place_outside, LIES("4294967292")},
    {place_of_no_part, LIES("64")},
    {rows_unlike, LIES("64")},
    {of_embedding, "The weight embed has folds, and is none that can have them."},
    {reserved, "The weight qk has folds, and is none that can have them."},
};

static void test_damage(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
    uint8_t *bytes = malloc(section.size);
    struct error error = {0};
    memcpy(bytes, section.data, section.size);
    size_t size = damages[i].make(bytes);
    assert_false(engine_folds_check(slice_make(bytes, size), base.engine.plan, &error));
    assert_string_equal(error.text, damages[i].sentence);
    free(bytes);
  }
}

/* What a build hands over is checked as what a file has. */
static void test_bad_writes(void **state) {
  float bad[COLS];
  struct weight_fold folds[2] = {{0}, {.column = bad}};
  struct buffer out;
  struct error error;
  (void)state;
  memcpy(bad, column, sizeof bad);
  bad[31] = NAN;
  buffer_init(&out, 1 << 10);
  assert_false(engine_folds_write(base.engine.plan, folds, &out, &error));
  assert_string_equal(error.text, "A factor that was folded into the weight qk is nan, and has no inverse.");
  buffer_release(&out);
  buffer_init(&out, TABLE);
  assert_false(engine_folds_write(base.engine.plan, folds, &out, &error));
  assert_string_equal(error.text, "What was folded into the weights does not fit in 64 bytes.");
  buffer_release(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_nothing),
                                     cmocka_unit_test(test_damage), cmocka_unit_test(test_bad_writes)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
