/* The search of spate tune on made-up machines, whose best settings are known: it finds them, keeps to its budget,
 * keeps the SLO where it can be kept, and takes noise for noise. */
#include "cli/tune_search.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { AXES = 4 };

struct machine {
  struct tune_axis axis[AXES];
  int optimum[AXES];
  double steep;       /* what a step away from the optimum costs, in logarithms */
  double noise, wave; /* of the rate: standard deviation; height of a slow wave */
  int strictest;      /* values of axis 0 above keep no SLO; -1: all do */
  int broken;         /* a value of axis 1 that cannot be run; -1: none */
  double seconds, spent;
  unsigned short dice[3];
};

static double gauss(struct machine *machine) {
  double sum = -6;
  for (int i = 0; i < 12; i++) sum += erand48(machine->dice);
  return sum;
}

static double true_rate(const struct machine *machine, const struct tune_choice *choice) {
  double loss = 0;
  for (int i = 0; i < AXES; i++) loss += machine->steep * abs(choice->at[i] - machine->optimum[i]);
  return 100 * exp(-loss);
}

static bool slo_kept(const struct machine *machine, const struct tune_choice *choice) {
  return machine->strictest < 0 || choice->at[0] <= machine->strictest;
}

static struct tune_score measure(struct machine *machine, const struct tune_choice *choice) {
  double drift = 1 + machine->wave * sin(machine->spent / 20);
  double rate = true_rate(machine, choice) * drift * exp(machine->noise * gauss(machine));
  bool kept = slo_kept(machine, choice);
  return (struct tune_score){kept ? 0.99 : 0.1, rate, kept ? 0.9 : 1 + choice->at[0]};
}

/* Axis 2 may be no larger than axis 1, as a batch may have no more sequences than a step has tokens. */
static bool all_fit(const void *user, const struct tune_choice *choice) {
  const struct machine *machine = user;
  return machine->optimum[1] < 0 || choice->at[2] <= choice->at[1] + 3;
}

static struct machine machine_make(int seed) {
  struct machine machine = {.axis = {{8, 3}, {7, 2}, {6, 2}, {5, 0}},
                            .optimum = {5, 1, 2, 1},
                            .steep = 0.1,
                            .strictest = -1,
                            .broken = -1,
                            .seconds = 1};
  machine.dice[0] = (unsigned short)seed, machine.dice[1] = 7, machine.dice[2] = 77;
  return machine;
}

/* Runs a whole search; the measurements of the start and of everything are checked as they go. */
static struct tune_search search_run(struct machine *machine, double budget_s, int most) {
  struct tune_search search;
  struct tune_choice choice;
  tune_search_begin(&search, machine->axis, AXES, budget_s, all_fit, machine);
  for (int i = 0; i < most && tune_search_next(&search, machine->spent, &choice); i++) {
    for (int a = 0; a < AXES; a++) assert_in_range(choice.at[a], 0, machine->axis[a].count - 1);
    assert_true(all_fit(machine, &choice));
    struct tune_score score = measure(machine, &choice);
    bool runs = choice.at[1] != machine->broken;
    machine->spent += machine->seconds;
    tune_search_tell(&search, runs ? &score : NULL, machine->seconds);
  }
  return search;
}

static void assert_best(const struct tune_search *search, const int *expected) {
  struct tune_choice best = tune_search_result(search);
  assert_memory_equal(best.at, expected, AXES * sizeof *expected);
}

static void test_finds_the_optimum(void **state) {
  (void)state;
  struct machine machine = machine_make(0);
  struct tune_search search = search_run(&machine, 1000, INT32_MAX);
  assert_best(&search, machine.optimum);
  assert_int_equal(search.stage, TUNE_OVER);
  assert_int_equal(tune_search_pairs(&search), TUNE_PAIRS_MAX);
  assert_true(fabs(tune_search_gain(&search) - exp(0.4)) < 1e-9);
  assert_true(machine.spent < 100); /* of 1680 choices */
}

static void test_finds_it_in_noise_and_drift(void **state) {
  (void)state;
  int found = 0;
  for (int seed = 0; seed < 100; seed++) {
    struct machine machine = machine_make(seed);
    machine.noise = 0.02;
    machine.wave = 0.2;
    struct tune_search search = search_run(&machine, 300, INT32_MAX);
    struct tune_choice best = tune_search_result(&search);
    found += true_rate(&machine, &best) > 100 * exp(-0.101); /* a step away at most */
  }
  printf("found or a step away: %d of 100\n", found);
  assert_true(found >= 95);
}

static void test_does_not_take_noise_for_gain(void **state) {
  (void)state;
  int kept = 0;
  for (int seed = 0; seed < 200; seed++) {
    struct machine machine = machine_make(seed);
    machine.steep = 0;
    machine.noise = 0.05;
    machine.wave = 0.2;
    struct tune_search search = search_run(&machine, 150, INT32_MAX);
    struct tune_choice best = tune_search_result(&search);
    kept += tune_choice_same(&search, &best, &search.start);
  }
  printf("kept the start: %d of 200\n", kept);
  assert_true(kept >= 190);
}

/* One value that is better by half on a machine whose runs differ by a third. */
static void test_finds_a_gain_in_much_noise(void **state) {
  (void)state;
  int found = 0;
  for (int seed = 0; seed < 200; seed++) {
    struct machine machine = machine_make(seed);
    memcpy(machine.optimum, (const int[]){3, 2, 2, 1}, sizeof machine.optimum);
    machine.steep = 0.4;
    machine.noise = 0.3;
    struct tune_search search = search_run(&machine, 150, INT32_MAX);
    struct tune_choice best = tune_search_result(&search);
    found += best.at[3] == 1;
  }
  printf("found: %d of 200\n", found);
  assert_true(found >= 120);
}

/* A gain below the least that counts is none, however quiet the machine is. */
static void test_does_not_take_little(void **state) {
  (void)state;
  struct machine machine = machine_make(0);
  machine.steep = 0.009; /* two steps at once are below 2 %, too */
  struct tune_search search = search_run(&machine, 1000, INT32_MAX);
  int start[] = {3, 2, 2, 0};
  assert_best(&search, start);
  assert_int_equal(tune_search_pairs(&search), 0); /* nothing to prove */
  assert_true(tune_search_gain(&search) == 1);
}

static void test_keeps_the_budget(void **state) {
  (void)state;
  for (int budget = 0; budget <= 120; budget++) {
    struct machine machine = machine_make(budget);
    machine.noise = 0.02;
    machine.seconds = 2.5;
    struct tune_search search = search_run(&machine, budget, INT32_MAX);
    assert_true(machine.spent <= budget || budget < 3); /* the first run tells what one takes */
    assert_int_equal(search.stage, TUNE_OVER);
    struct tune_choice best = tune_search_result(&search);
    if (!tune_choice_same(&search, &best, &search.start)) assert_true(tune_search_pairs(&search) >= 3);
  }
}

/* The optimum keeps no SLO: the best that does is reported, also from a start that keeps none. */
static void test_keeps_the_slo(void **state) {
  (void)state;
  for (int start = 0; start < 8; start++)
    for (int seed = 0; seed < 20; seed++) {
      struct machine machine = machine_make(seed);
      machine.noise = 0.01;
      machine.strictest = 2;
      machine.axis[0].start = start;
      struct tune_search search = search_run(&machine, 1000, INT32_MAX);
      struct tune_choice best = tune_search_result(&search);
      assert_true(slo_kept(&machine, &best));
      assert_int_equal(best.at[0], 2);
    }
}

/* A way of seven steps to it, on which nothing is within the SLO. */
static void test_goes_towards_the_slo(void **state) {
  (void)state;
  struct tune_axis axis[] = {{8, 7}};
  struct machine machine = machine_make(0);
  machine.optimum[1] = -1;
  struct tune_search search;
  struct tune_choice choice;
  tune_search_begin(&search, axis, 1, 500, all_fit, &machine);
  while (tune_search_next(&search, machine.spent, &choice)) {
    bool kept = choice.at[0] <= 2;
    struct tune_score score = {kept ? 1 : 0, kept ? 10 + choice.at[0] : 0, kept ? 1 : choice.at[0]};
    machine.spent += 1;
    tune_search_tell(&search, &score, 1);
  }
  assert_int_equal(tune_search_result(&search).at[0], 2);
  assert_true(isinf(tune_search_gain(&search)));
}

static void test_what_cannot_be_run(void **state) {
  (void)state;
  struct machine machine = machine_make(0);
  machine.broken = 1;
  struct tune_search search = search_run(&machine, 1000, INT32_MAX);
  int expected[] = {5, 2, 2, 1};
  assert_best(&search, expected);
  machine = machine_make(0);
  machine.broken = 2; /* the start */
  search = search_run(&machine, 1000, INT32_MAX);
  int start[] = {3, 2, 2, 0};
  assert_best(&search, start);
  assert_true(machine.spent == 1);
}

/* At whatever measurement it is left, what is best so far is something that has won twice, or the start. */
static void test_can_be_left(void **state) {
  (void)state;
  double last = 0;
  for (int most = 0; most < 140; most++) {
    struct machine machine = machine_make(0);
    struct tune_search search = search_run(&machine, 1000, most);
    struct tune_choice best = tune_search_result(&search);
    assert_true(true_rate(&machine, &best) >= last);
    last = true_rate(&machine, &best);
  }
  assert_true(last == 100);
}

/* What has won by chance, and does not in pairs with the start, is not reported. */
static void test_the_proof_decides(void **state) {
  (void)state;
  for (int wins = 0; wins <= 4; wins++) {
    struct tune_search search;
    struct tune_choice choice;
    struct tune_axis axis[] = {{2, 0}};
    struct machine machine = {.optimum = {0, -1}};
    int pairs = 0;
    tune_search_begin(&search, axis, 1, 40, all_fit, &machine);
    while (tune_search_next(&search, machine.spent, &choice)) {
      bool proof = search.stage == TUNE_PROOF;
      pairs = proof ? search.n_measured / 2 : 0;
      struct tune_score score = {1, choice.at[0] && (!proof || pairs < wins * 3) ? 120 : 100, 0};
      machine.spent += 1;
      tune_search_tell(&search, &score, 1);
    }
    assert_int_equal(tune_search_pairs(&search), 15);
    assert_int_equal(tune_search_result(&search).at[0], wins == 4); /* 12 of 15 */
  }
}

/* The value next to the start is as good, the one behind it better; what lies behind a worse one is not looked at. */
static void test_steps_over_what_is_as_good(void **state) {
  (void)state;
  static const double rates[2][5] = {{120, 100, 100, 101, 130}, {120, 95, 100, 101, 100}};
  static const int best[] = {4, 2};
  for (int i = 0; i < 2; i++) {
    struct tune_search search;
    struct tune_choice choice;
    struct tune_axis axis[] = {{5, 2}};
    struct machine machine = {.optimum = {0, -1}};
    tune_search_begin(&search, axis, 1, 100, all_fit, &machine);
    while (tune_search_next(&search, machine.spent, &choice)) {
      struct tune_score score = {1, rates[i][choice.at[0]], 0};
      machine.spent += 1;
      tune_search_tell(&search, &score, 1);
    }
    assert_int_equal(tune_search_result(&search).at[0], best[i]);
  }
}

/* Nothing keeps the SLO, and what was best is gone when it is to be proven. */
static void test_what_fails_in_the_proof(void **state) {
  (void)state;
  struct tune_search search;
  struct tune_choice choice;
  struct tune_axis axis[] = {{2, 0}};
  struct machine machine = {.optimum = {0, -1}};
  tune_search_begin(&search, axis, 1, 40, all_fit, &machine);
  while (tune_search_next(&search, machine.spent, &choice)) {
    bool gone = search.stage == TUNE_PROOF && choice.at[0];
    struct tune_score score = {0, 10, choice.at[0] ? 2 : 3};
    machine.spent += 1;
    tune_search_tell(&search, gone ? NULL : &score, 1);
  }
  assert_int_equal(search.best.at[0], 1);
  assert_int_equal(tune_search_result(&search).at[0], 0);
}

/* Of a proof that is broken off after two pairs, one of which failed, nothing has been won. */
static void test_a_proof_broken_off(void **state) {
  static const struct {
    double rate[2];   /* of the candidate in each pair, where the start has 100 */
    int fails;        /* that pair of the candidate; −1: none */
    int start_misses; /* in that pair the start keeps no SLO; −1: in none */
    int best;
  } cases[] = {{{120, 120}, -1, -1, 1}, {{120, 90}, -1, -1, 1}, {{110, 80}, -1, -1, 0}, {{250, 250}, 1, -1, 0},
               {{250, 250}, 0, -1, 0},  {{90, 250}, -1, 1, 0},  {{120, 120}, -1, 1, 1}, {{250, 250}, 0, 1, 0}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tune_search search;
    struct tune_choice choice;
    struct tune_axis axis[] = {{2, 0}};
    struct machine machine = {.optimum = {0, -1}};
    tune_search_begin(&search, axis, 1, 40, all_fit, &machine);
    while (tune_search_pairs(&search) < 2 && tune_search_next(&search, machine.spent, &choice)) {
      int pair = search.stage == TUNE_PROOF ? search.n_measured / 2 : -1;
      bool misses = !choice.at[0] && pair >= 0 && pair == cases[i].start_misses;
      struct tune_score score = {misses ? 0 : 1, choice.at[0] ? pair < 0 ? 120 : cases[i].rate[pair] : 100,
                                 misses ? 2 : 0};
      machine.spent += 1;
      tune_search_tell(&search, choice.at[0] && pair >= 0 && pair == cases[i].fails ? NULL : &score, 1);
    }
    assert_int_equal(tune_search_pairs(&search), 2);
    assert_int_equal(tune_search_result(&search).at[0], cases[i].best);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_finds_the_optimum),
      cmocka_unit_test(test_finds_it_in_noise_and_drift),
      cmocka_unit_test(test_does_not_take_noise_for_gain),
      cmocka_unit_test(test_finds_a_gain_in_much_noise),
      cmocka_unit_test(test_does_not_take_little),
      cmocka_unit_test(test_keeps_the_budget),
      cmocka_unit_test(test_keeps_the_slo),
      cmocka_unit_test(test_goes_towards_the_slo),
      cmocka_unit_test(test_what_cannot_be_run),
      cmocka_unit_test(test_can_be_left),
      cmocka_unit_test(test_the_proof_decides),
      cmocka_unit_test(test_steps_over_what_is_as_good),
      cmocka_unit_test(test_what_fails_in_the_proof),
      cmocka_unit_test(test_a_proof_broken_off),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
