/* Who gives up their place in a full queue, and who waits behind how many. */
#include "schedule_fixture.h"

#include "schedule/shed.h"
#include "schedule/waiting.h"

#include <limits.h>

/* --- shedding ----------------------------------------------------------------------------------------------------- */

enum { QUEUE_MAX = 200 };

static struct shed_candidate candidate_make(int32_t priority, uint64_t arrival, int64_t tokens) {
  return (struct shed_candidate){.priority = priority, .arrival = arrival, .tokens = tokens, .bytes = 1000};
}

/* The arrivals of those that go, in their order. */
static void shed_check(int32_t newcomer, struct shed_need need, const char *expected) {
  struct shed_candidate waiting[] = {candidate_make(0, 1, 10),  candidate_make(5, 2, 20),
                                     candidate_make(0, 3, 30),  candidate_make(5, 4, 40),
                                     candidate_make(-1, 5, 50), candidate_make(INT32_MAX, 6, 1)};
  char text[64] = "";
  size_t n = shed_choose(waiting, 6, newcomer, &need);
  for (size_t i = 0; i < n; i++)
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d", i ? " " : "", (int)waiting[i].arrival);
  assert_string_equal(text, expected);
}

static void test_order(void **state) {
  (void)state;
  shed_check(0, (struct shed_need){.requests = 1}, "6");
  shed_check(0, (struct shed_need){.requests = 3}, "6 4 2"); /* of equals who came last */
  shed_check(0, (struct shed_need){.requests = 4}, "");      /* nobody goes for an equal */
  shed_check(-1, (struct shed_need){.requests = 4}, "6 4 2 3");
  shed_check(5, (struct shed_need){.requests = 1}, "6");
  shed_check(INT32_MAX, (struct shed_need){.requests = 1}, "");
  shed_check(INT32_MIN, (struct shed_need){.requests = 6}, "6 4 2 3 1 5");
  shed_check(INT32_MIN, (struct shed_need){.requests = 7}, "");
  shed_check(0, (struct shed_need){.tokens = 42}, "6 4 2");
  shed_check(0, (struct shed_need){.tokens = 62}, ""); /* all that may go have 61: then nobody does */
  shed_check(0, (struct shed_need){.requests = 1, .tokens = -5, .bytes = 1001}, "6 4");
  shed_check(0, (struct shed_need){0}, "");
}

/* A queue of so many places under a flood of all priorities keeps those that matter most, and of equals the first. */
static void test_flood(void **state) {
  (void)state;
  struct shed_candidate queue[QUEUE_MAX];
  size_t n = 0, taken = 0;
  uint64_t dice = 5;
  int by_priority[5] = {0};
  for (uint64_t arrival = 0; arrival < 3000; arrival++) {
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    struct shed_candidate newcomer = candidate_make((int32_t)(dice >> 33) % 5, arrival, 1);
    struct shed_need need = {.requests = (int64_t)n + 1 - QUEUE_MAX};
    by_priority[newcomer.priority]++;
    size_t shed = need.requests > 0 ? shed_choose(queue, n, newcomer.priority, &need) : 0;
    if (need.requests > 0 && shed == 0) continue;
    memmove(queue, queue + shed, (n - shed) * sizeof *queue);
    n -= shed;
    queue[n++] = newcomer;
    taken++;
  }
  assert_int_equal(n, QUEUE_MAX);
  assert_true(by_priority[0] > QUEUE_MAX && taken > n);
  for (size_t i = 0; i < n; i++) assert_int_equal(queue[i].priority, 0);
}

/* --- who waits behind whom ---------------------------------------------------------------------------------------- */

static void ahead_check(struct sequence *q, size_t n, const int *expected) {
  for (size_t i = 0; i < n; i++) assert_int_equal(q[i].ahead, expected[i]);
}

/* Every sequence of a better priority is ahead, of one's own tenant those before, of another as many at most. */
static void test_ahead(void **state) {
  (void)state;
  static const struct {
    int32_t priority, tenant;
  } wanted[] = {{0, 1}, {0, 1}, {0, 1}, {0, 2}, {3, 2}, {-1, 5}, {0, 2}, {3, 1}};
  static const int expected[] = {1, 3, 5, 1, 6, 0, 3, 6};
  struct limits limits = limits_make(2, 32, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  struct sequence q[8];
  int32_t tokens[8][TOKENS_MAX];
  for (int i = 0; i < 8; i++) {
    q[i] = sequence_make(tokens[i], 3, 2);
    q[i].priority = wanted[i].priority;
    q[i].tenant = wanted[i].tenant;
    q[i].deadline_us = i == 4 ? 1 : 0;
    schedule_add(s, &q[i], 0);
  }
  schedule_rank(s, 0);
  ahead_check(q, 8, expected);
  assert_int_equal(schedule_wait_us(s, 6), 0); /* nothing is known of how long one waits */
  schedule_free(s);
}

enum { MANY = 400 };

/* As many as the rule says, counted for each by itself. */
static int ahead_of(const struct sequence *q, int at) {
  int own = 0, better = 0, others = 0, peers[SCHEDULE_TENANTS] = {0};
  for (int i = 0; i < MANY; i++) {
    better += q[i].priority < q[at].priority;
    if (q[i].priority != q[at].priority) continue;
    own += i < at && q[i].tenant == q[at].tenant;
    if (q[i].tenant != q[at].tenant) peers[q[i].tenant]++;
  }
  for (int t = 0; t < SCHEDULE_TENANTS; t++) others += peers[t] < own ? peers[t] : own;
  return better + own + others;
}

/* Few tenants, or all; few priorities, or one for each. With no deadline nobody is counted. */
static void test_ahead_of_many(void **state) {
  (void)state;
  static struct sequence q[MANY];
  static int32_t token[MANY];
  struct limits limits = limits_make(2, 32, 64, 64);
  for (int kind = 0; kind < 8; kind++) {
    struct schedule *s = schedule_make(&limits, 1, 0);
    uint64_t dice = (uint64_t)kind + 1;
    for (int i = 0; i < MANY; i++) {
      q[i] = sequence_make(&token[i], 1, 1);
      dice = dice * 6364136223846793005u + 1442695040888963407u;
      q[i].tenant = (int32_t)(dice >> 40) % (kind % 2 ? 3 : SCHEDULE_TENANTS);
      q[i].priority = (int32_t)(dice >> 50) % (kind & 2 ? 3 : 1000);
      q[i].deadline_us = kind < 4 && i == 7 ? 1 : 0;
      schedule_add(s, &q[i], 0);
      q[i].ahead = -1;
    }
    schedule_rank(s, 0);
    for (int i = 0; i < MANY; i++) assert_int_equal(q[i].ahead, kind < 4 ? ahead_of(q, i) : -1);
    if (kind < 4) assert_true(schedule_remove(s, &q[7]));
    q[0].ahead = -1;
    schedule_rank(s, 0);
    assert_int_equal(q[0].ahead, -1);
    schedule_free(s);
  }
}

/* Requests that start one a step, a millisecond each: the tenth waits for about nine. */
static void test_wait(void **state) {
  (void)state;
  struct limits limits = limits_make(1, 32, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  static struct sequence q[60];
  static int32_t tokens[60][TOKENS_MAX];
  for (int i = 0; i < 60; i++) {
    q[i] = sequence_make(tokens[i], 3, 1);
    q[i].deadline_us = UINT64_MAX;
    schedule_add(s, &q[i], 0);
  }
  for (uint64_t i = 0; i < 50; i++) {
    assert_string_not_equal(step_run(s, 1000 + i * 1000), "");
    if (i == 20) assert_int_equal(schedule_wait_us(s, 9), 0); /* too few have started */
  }
  schedule_rank(s, 0);
  assert_int_equal(q[59].ahead, 9);
  assert_int_equal(q[50].ahead, 0);
  assert_int_equal(schedule_wait_us(s, 9), 9000);
  for (uint64_t i = 50; i < 60; i++) step_run(s, 1000 + i * 1000);
  q[0] = sequence_make(tokens[0], 3, 1); /* an hour later: the time when nobody waited does not count */
  q[1] = sequence_make(tokens[1], 3, 1);
  schedule_add(s, &q[0], 3600000000u);
  schedule_add(s, &q[1], 3600000000u);
  step_run(s, 3600000000u);
  assert_int_equal(schedule_wait_us(s, 5), 5000);
  schedule_free(s);
}

/* A place a millisecond: of twenty with deadlines those have no chance that would begin too late, and who has none
 * keeps nobody else from having one. One of better priority takes a place from them. */
static void test_hopeless(void **state) {
  (void)state;
  struct limits limits = limits_make(1, 32, 64, 64);
  struct schedule *s = schedule_make(&limits, 1, 0);
  static struct sequence q[71], better;
  static int32_t tokens[72][TOKENS_MAX];
  for (int i = 0; i < 71; i++) {
    q[i] = sequence_make(tokens[i], 3, 1);
    if (i >= 51) q[i].deadline_us = i % 2 ? 53500 : 60500;
    schedule_add(s, &q[i], 0);
  }
  for (uint64_t i = 0; i < 50; i++) step_run(s, 1000 + i * 1000);
  schedule_rank(s, 50000);
  int with_chance = 0;
  for (int i = 50; i < 71; i++) {
    int latest = i < 51 ? INT_MAX : i % 2 ? 3 : 10; /* place */
    assert_int_equal(q[i].ahead, with_chance);
    assert_int_equal(q[i].hopeless, with_chance > latest);
    with_chance += with_chance <= latest;
  }
  assert_int_equal(with_chance, 11);
  better = sequence_make(tokens[71], 3, 1);
  better.priority = -1;
  schedule_add(s, &better, 50000);
  schedule_rank(s, 50000);
  int left = 0;
  for (int i = 50; i < 71; i++) left += !q[i].hopeless;
  assert_int_equal(left, 10);
  assert_false(better.hopeless);
  schedule_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_order),         cmocka_unit_test(test_flood), cmocka_unit_test(test_ahead),
      cmocka_unit_test(test_ahead_of_many), cmocka_unit_test(test_wait),  cmocka_unit_test(test_hopeless),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
