/* Draws against the distributions that they are said to have: Kolmogorov and Smirnov's distance, whose 99.9 % quantile
 * for n values is 1.95 / sqrt(n). The seeds are fixed, so that a test passes always or never. */
#include "load/load_draw.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DRAWS = 20000 };

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The greatest distance between the values' distribution and the one that below tells: the part that is under a value.
 */
static double distance(double *values, int count, double (*below)(double)) {
  double most = 0;
  qsort(values, (size_t)count, sizeof *values, compare);
  for (int i = 0; i < count; i++) {
    double part = below(values[i]);
    most = fmax(most, fmax(part - (double)i / count, (double)(i + 1) / count - part));
  }
  return most;
}

static double below_gap(double seconds) { return 1 - exp(-4 * seconds); }

static void test_gaps(void **state) {
  (void)state;
  static double gaps[DRAWS];
  struct load_dice dice = load_dice_make(1, 1);
  for (int i = 0; i < DRAWS; i++) gaps[i] = load_draw_gap(&dice, 4);
  assert_true(distance(gaps, DRAWS, below_gap) < 1.95 / sqrt(DRAWS));
}

/* Lengths are rounded: the distance is looked at between whole numbers. A mean of 161 and a spread of 1. */
static double below_length(double tokens) { return 0.5 * erfc(-(log(tokens) - (log(161) - 0.5)) / sqrt(2)); }

static void test_lengths(void **state) {
  (void)state;
  static int count[LOAD_LENGTH_MOST + 1];
  const struct load_length length = {161, 1};
  struct load_dice dice = load_dice_make(2, 0);
  for (int i = 0; i < DRAWS; i++) {
    int tokens = load_draw_length(&dice, &length);
    assert_in_range(tokens, 1, LOAD_LENGTH_MOST);
    count[tokens]++;
  }
  double sum = 0, most = 0;
  for (int tokens = 1; tokens < LOAD_LENGTH_MOST; tokens++) {
    sum += count[tokens];
    most = fmax(most, fabs(sum / DRAWS - below_length(tokens + 0.5)));
  }
  assert_true(most < 1.95 / sqrt(DRAWS));
  assert_true(count[LOAD_LENGTH_MOST] > 0);
}

static void test_fixed(void **state) {
  (void)state;
  const struct load_length length = {2048, 0};
  struct load_dice dice = load_dice_make(0, 0);
  for (int i = 0; i < 10; i++) assert_int_equal(load_draw_length(&dice, &length), 2048);
}

static void test_parse(void **state) {
  (void)state;
  static const struct {
    const char *text;
    double mean, spread; /* mean 0: refused */
  } table[] = {{"128", 128, 0}, {"161:1", 161, 1}, {"2.5:0.5", 2.5, 0.5}, {"1048576", 1048576, 0}, {"", 0, 0},
               {"0", 0, 0},     {"-1", 0, 0},      {"1.5", 0, 0},         {"1048577", 0, 0},       {"nan", 0, 0},
               {"1:", 0, 0},    {"1:0", 0, 0},     {"1:nan", 0, 0},       {"1:3.1", 0, 0},         {"1:1x", 0, 0},
               {"x", 0, 0},     {"1x", 0, 0},      {"inf:1", 0, 0}};
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    struct load_length length;
    bool sound = load_length_parse(table[i].text, &length);
    if (sound != (table[i].mean > 0)) fail_msg("%s", table[i].text);
    if (sound && (length.mean != table[i].mean || length.spread != table[i].spread)) fail_msg("%s", table[i].text);
  }
}

/* What one loop does is done by another with the same seed; streams and seeds differ. */
static void test_words(void **state) {
  (void)state;
  struct buffer text[4];
  for (int i = 0; i < 4; i++) {
    struct load_dice dice = load_dice_make(i == 3 ? 8 : 7, i == 2 ? 6 : 5);
    buffer_init(&text[i], 4096);
    load_draw_words(&dice, 40, &text[i]);
    size_t spaces = 0;
    for (size_t at = 0; at < text[i].size; at++) spaces += text[i].data[at] == ' ';
    assert_int_equal(spaces, 39);
  }
  assert_true(slice_equal(buffer_slice(&text[0]), buffer_slice(&text[1])));
  for (int i = 2; i < 4; i++) assert_memory_not_equal(text[0].data, text[i].data, 30);
  for (int i = 0; i < 4; i++) buffer_release(&text[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_gaps), cmocka_unit_test(test_lengths),
                                     cmocka_unit_test(test_fixed), cmocka_unit_test(test_parse),
                                     cmocka_unit_test(test_words)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
