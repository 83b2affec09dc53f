/* The team: every worker runs, barriers separate phases, claims hand out each item once. */
#include "backend/cpu/team.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORKERS_MAX = 6, ROUNDS = 200, ITEMS = 1000 };

struct ledger {
  struct team *team;
  int round[WORKERS_MAX]; /* written by its worker alone, read by all after a barrier */
  int taken[ITEMS];
  int torn; /* a worker that saw another one behind */
};

static void rounds_work(void *context, int worker) {
  struct ledger *ledger = context;
  int n = team_size(ledger->team);
  for (int round = 1; round <= ROUNDS; round++) {
    ledger->round[worker] = round;
    team_barrier(ledger->team);
    for (int i = 0; i < n; i++)
      if (ledger->round[i] != round) __atomic_store_n(&ledger->torn, 1, __ATOMIC_RELAXED);
    team_barrier(ledger->team);
  }
}

static void claims_work(void *context, int worker) {
  struct ledger *ledger = context;
  (void)worker;
  for (int chunk = 1; chunk <= 7; chunk += 3) {
    for (struct range items; team_claim(ledger->team, ITEMS, chunk, &items);)
      for (int i = 0; i < items.count; i++) ledger->taken[items.first + i]++;
    team_barrier(ledger->team);
  }
}

static void nothing_work(void *context, int worker) { (void)context, (void)worker; }

static struct team *team_get(int n) {
  struct error error = {0};
  struct team *team = team_open(n, &error);
  if (!team) fail_msg("%s", error.text);
  return team;
}

static void test_barriers_separate_rounds(void **state) {
  (void)state;
  for (int n = 1; n <= WORKERS_MAX; n++) { /* more than this machine has, too */
    struct ledger ledger = {.team = team_get(n)};
    assert_int_equal(team_size(ledger.team), n);
    for (int i = 0; i < 3; i++) team_run(ledger.team, rounds_work, &ledger);
    assert_int_equal(ledger.torn, 0);
    team_close(ledger.team);
  }
}

static void test_claims_take_each_item_once(void **state) {
  (void)state;
  for (int n = 1; n <= WORKERS_MAX; n++) {
    struct ledger ledger = {.team = team_get(n)};
    team_run(ledger.team, claims_work, &ledger);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(ledger.taken[i], 3);
    team_close(ledger.team);
  }
}

static void test_team_sleeps_and_wakes(void **state) {
  (void)state;
  struct ledger ledger = {.team = team_get(3)};
  for (int i = 0; i < 5; i++) {
    usleep(2000); /* long past the spin */
    team_run(ledger.team, rounds_work, &ledger);
  }
  assert_int_equal(ledger.torn, 0);
  team_close(ledger.team);
}

/* The thread is the caller's: a run may move it for once, and leaves it free to go where it could. */
static void test_leader_stays_free(void **state) {
  (void)state;
  cpu_set_t before, after;
  struct ledger ledger = {.team = team_get(0)};
  assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) { /* wherever it comes from */
    cpu_set_t one;
    if (!CPU_ISSET(cpu, &before)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    team_run(ledger.team, nothing_work, &ledger);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
  }
  team_close(ledger.team);
}

static void test_shares_cover_everything(void **state) {
  (void)state;
  struct team *team = team_get(4);
  for (int total = 0; total < 20; total++) {
    int next = 0;
    for (int worker = 0; worker < 4; worker++) {
      struct range share = team_share(team, total, worker);
      assert_int_equal(share.first, next);
      assert_in_range(share.count, total / 4, total / 4 + 1);
      next += share.count;
    }
    assert_int_equal(next, total);
  }
  team_close(team);
}

static void test_absurd_sizes_are_refused(void **state) {
  (void)state;
  struct error error;
  assert_null(team_open(-1, &error));
  assert_string_equal(error.text, "A team of -1 threads was asked for, expected 1 to 256.");
  assert_null(team_open(1000, &error));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_barriers_separate_rounds), cmocka_unit_test(test_claims_take_each_item_once),
      cmocka_unit_test(test_team_sleeps_and_wakes),    cmocka_unit_test(test_leader_stays_free),
      cmocka_unit_test(test_shares_cover_everything),  cmocka_unit_test(test_absurd_sizes_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
