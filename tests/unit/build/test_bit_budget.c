/* The budget: against the best of all combinations where steps have one size and save less and less (there greedy is
 * known to be optimal: Fox, Discrete optimization via marginal analysis, 1966), and within the limit always. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "build/bit_budget.h"

#include <math.h>

enum { WEIGHTS = 5, CHOICES = 4, CASES = 200 };

static uint32_t random_state = 7;

static double random_unit(void) {
  random_state = random_state * 1664525 + 1013904223;
  return (random_state >> 8) * 0x1p-24;
}

static double loss_of(const struct budget_weight *weights) {
  double loss = 0;
  for (int i = 0; i < WEIGHTS; i++) loss += weights[i].loss[weights[i].chosen];
  return loss;
}

/* The least loss of all combinations within the limit. */
static double best_loss(const struct budget_weight *weights, int from, double room) {
  double best = from == WEIGHTS ? 0 : INFINITY;
  for (int c = 0; from < WEIGHTS && c < weights[from].n; c++) {
    if (weights[from].bits[c] > room) continue;
    double loss = weights[from].loss[c] + best_loss(weights, from + 1, room - weights[from].bits[c]);
    if (loss < best) best = loss;
  }
  return best;
}

static void test_optimal(void **state) {
  (void)state;
  for (int i = 0; i < CASES; i++) {
    struct budget_weight weights[WEIGHTS];
    for (int w = 0; w < WEIGHTS; w++) {
      double loss = 10, step = 4 * random_unit();
      weights[w] = (struct budget_weight){.n = CHOICES};
      for (int c = 0; c < CHOICES; c++, loss -= step, step *= random_unit()) {
        weights[w].bits[c] = c + 1;
        weights[w].loss[c] = loss;
      }
    }
    double limit = WEIGHTS + (int)(random_unit() * WEIGHTS * CHOICES), best = best_loss(weights, 0, limit);
    assert_true(bit_budget_spend(weights, WEIGHTS, limit) <= limit);
    assert_true(fabs(loss_of(weights) - best) < 1e-9);
  }
}

static void test_within(void **state) {
  (void)state;
  for (int i = 0; i < CASES; i++) {
    struct budget_weight weights[WEIGHTS], again[WEIGHTS];
    double least = 0, sum = 0;
    for (int w = 0; w < WEIGHTS; w++) {
      double smallest = INFINITY;
      weights[w] = (struct budget_weight){.n = CHOICES};
      for (int c = 0; c < CHOICES; c++) {
        weights[w].bits[c] = 1 + 9 * random_unit();
        weights[w].loss[c] = random_unit();
        smallest = fmin(smallest, weights[w].bits[c]);
      }
      least += smallest;
      again[w] = weights[w];
    }
    double limit = least * (1 + random_unit()), bits = bit_budget_spend(weights, WEIGHTS, limit);
    assert_true(bits <= limit + 1e-9);
    for (int w = 0; w < WEIGHTS; w++) sum += weights[w].bits[weights[w].chosen];
    assert_true(fabs(sum - bits) < 1e-9);
    assert_true(bit_budget_spend(again, WEIGHTS, limit) == bits && loss_of(again) == loss_of(weights));
  }
}

static void test_too_little(void **state) {
  (void)state;
  struct budget_weight weights[] = {{.n = 2, .bits = {4, 8}, .loss = {1, 0}}, {.n = 1, .bits = {16}}};
  assert_true(bit_budget_spend(weights, 2, 10) == 20); /* the smallest, though they do not fit */
  assert_int_equal(weights[0].chosen, 0);
  assert_true(bit_budget_spend(weights, 2, 24) == 24);
  assert_int_equal(weights[0].chosen, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_optimal),
      cmocka_unit_test(test_within),
      cmocka_unit_test(test_too_little),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
