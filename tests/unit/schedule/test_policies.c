/* Policies by their traces; fairness between tenants; the pace of streams beside prompts. */
#include "schedule_fixture.h"

#include "schedule/pace.h"

static struct schedule *policy_make(enum schedule_policy policy, const struct limits *limits) {
  struct schedule_options options = {.limits = limits, .n_group = 1, .policy = policy, .batch_delay_us = 1000};
  return schedule_new(&options);
}

/* Several small sequences that share nothing. */
struct crowd {
  int32_t tokens[8][TOKENS_MAX];
  struct sequence q[8];
};

static void crowd_init(struct crowd *crowd, int max_tokens) {
  for (int i = 0; i < 8; i++) {
    crowd->q[i] = sequence_make(crowd->tokens[i], 3, max_tokens);
    crowd->tokens[i][0] = 50 + i;
  }
}

static void test_continuous(void **state) {
  (void)state;
  struct limits limits = limits_make(3, 32, 64, 64);
  struct schedule *s = policy_make(SCHEDULE_CONTINUOUS, &limits);
  struct crowd crowd;
  crowd_init(&crowd, 3);
  assert_int_equal(schedule_due(s, 0), -1);
  schedule_add(s, &crowd.q[0], 0);
  assert_string_equal(step_run(s, 0), "0+3!");
  schedule_add(s, &crowd.q[1], 0);
  assert_string_equal(step_run(s, 0), "3+1! 0+3!");
  assert_string_equal(step_run(s, 0), "4+1! 3+1!");
  schedule_add(s, &crowd.q[2], 0);
  assert_string_equal(step_run(s, 0), "4+1! 0+3!");
  schedule_free(s);
}

/* A batch forms for a millisecond from the first request's coming; who comes later waits for its end. */
static void test_dynamic(void **state) {
  (void)state;
  struct limits limits = limits_make(3, 32, 64, 64);
  struct schedule *s = policy_make(SCHEDULE_DYNAMIC, &limits);
  struct crowd crowd;
  crowd_init(&crowd, 3);
  schedule_add(s, &crowd.q[0], 100);
  assert_string_equal(step_run(s, 100), "");
  assert_int_equal(schedule_due(s, 100), 1000);
  schedule_add(s, &crowd.q[1], 600);
  assert_string_equal(step_run(s, 1099), "");
  assert_int_equal(schedule_due(s, 1099), 1);
  assert_string_equal(step_run(s, 1100), "0+3! 0+3!");
  schedule_add(s, &crowd.q[2], 1200);
  assert_int_equal(schedule_due(s, 1200), -1); /* not by time alone */
  assert_string_equal(step_run(s, 5000), "3+1! 3+1!");
  assert_string_equal(step_run(s, 5001), "4+1! 4+1!");
  assert_string_equal(step_run(s, 5002), "0+3!"); /* it has waited long enough */
  for (int i = 3; i < 7; i++) schedule_add(s, &crowd.q[i], 5003);
  assert_string_equal(step_run(s, 5003), "3+1!");
  assert_string_equal(step_run(s, 5004), "4+1!");
  assert_string_equal(step_run(s, 5005), "0+3! 0+3! 0+3!"); /* full: no delay */
  schedule_free(s);
}

static void test_static(void **state) {
  (void)state;
  struct limits limits = limits_make(2, 4, 64, 64);
  struct schedule *s = policy_make(SCHEDULE_STATIC, &limits);
  struct crowd crowd;
  crowd_init(&crowd, 2);
  crowd.q[1].max_tokens = 3;
  schedule_add(s, &crowd.q[0], 0);
  assert_string_equal(step_run(s, 900000), "");
  schedule_add(s, &crowd.q[1], 900000);
  schedule_add(s, &crowd.q[2], 900000);
  assert_string_equal(step_run(s, 900000), "0+3! 0+1"); /* all that a step holds */
  assert_string_equal(step_run(s, 900001), "3+1! 1+2!");
  assert_string_equal(step_run(s, 900002), "3+1!");
  assert_string_equal(step_run(s, 900003), "4+1!"); /* a seat is free, and nobody joins */
  assert_string_equal(step_run(s, 900004), "");
  assert_int_equal(schedule_due(s, 1800000), 100000);
  assert_string_equal(step_run(s, 1900000), "0+3!"); /* the last one is not left behind */
  schedule_free(s);
}

/* Seats go to the tenants in turn, by tokens: who came with many requests does not hold up who came with few. */
static void test_tenants(void **state) {
  (void)state;
  enum { MANY = 20, FEW = 3, PROMPT = 60 };
  struct limits limits = limits_make(1, 64, 64, 16);
  struct schedule_options options = {.limits = &limits, .n_group = 1, .no_reuse = true};
  struct schedule *s = schedule_new(&options);
  static int32_t tokens[MANY + FEW][TOKENS_MAX];
  struct sequence q[MANY + FEW];
  for (int i = 0; i < MANY + FEW; i++) {
    q[i] = sequence_make(tokens[i], PROMPT, 1);
    q[i].tenant = i < MANY ? 0 : 7;
    schedule_add(s, &q[i], 0);
  }
  int served[2] = {0}, last_of_few = 0;
  for (int i = 0; i < MANY + FEW; i++) {
    struct schedule_events events = step_finish(s, schedule_next(s, 0));
    bool few = events.event[0].sequence->tenant == 7;
    served[few]++;
    if (few) last_of_few = i;
    assert_true(schedule_remove(s, events.event[0].sequence));
  }
  assert_int_equal(served[0], MANY);
  assert_int_equal(last_of_few, 7); /* 256 tokens of credit are five prompts of the first, then it is their turn */
  schedule_free(s);
}

/* Prompts get three quarters of the time of the streams' own step, which they themselves do not lengthen. */
static void test_pace(void **state) {
  (void)state;
  struct pace pace = {0};
  assert_int_equal(pace_prompt_tokens(&pace, 4, 1, 0, 512, 0), 128); /* nothing measured */
  pace_observe(&pace, 0, 512, 512000);
  assert_int_equal(pace_prompt_tokens(&pace, 4, 1, 0, 512, 0), 128); /* not how long streams take */
  for (int i = 0; i < 100; i++) pace_observe(&pace, 16, 0, 48000);
  assert_int_equal(pace_prompt_tokens(&pace, 16, 1, 0, 512, 0), 36); /* 36 ms at 1 ms a token */
  assert_int_equal(pace_prompt_tokens(&pace, 16, 3, 0, 512, 0), 108);
  assert_int_equal(pace_prompt_tokens(&pace, 16, 16, 0, 512, 0), 496); /* a whole step */
  for (int i = 0; i < 100; i++) pace_observe(&pace, 16, 36, 48000 + 36 * 1500);
  assert_int_equal(pace_prompt_tokens(&pace, 16, 1, 0, 512, 0), 24); /* a long prompt's tokens take 1.5 ms */
  for (int i = 0; i < 100; i++) pace_observe(&pace, 16, 24, 48000 + 24 * 9000);
  assert_int_equal(pace_prompt_tokens(&pace, 16, 1, 0, 512, 0), 8); /* the least */
  for (int i = 0; i < 100; i++) pace_observe(&pace, 16, 16, 48000 + 16 * 100);
  assert_in_range(pace_prompt_tokens(&pace, 16, 1, 0, 512, 0), 358, 360);
  assert_int_equal(pace_prompt_tokens(&pace, 16, 1, 0, 100, 0), 84);            /* the step is full */
  for (int i = 0; i < 100; i++) pace_observe(&pace, 32, 16, 96000 + 16 * 1000); /* twice the streams that ran alone */
  assert_in_range(pace_prompt_tokens(&pace, 32, 1, 0, 512, 0), 71, 72); /* 72 ms at 1 ms, though 32 never ran alone */
  for (int i = 0; i < 100; i++) pace_observe(&pace, 1, 0, 3000);
  for (int i = 0; i < 100; i++) pace_observe(&pace, 1, 16, 3000 + 16 * 100);
  assert_in_range(pace_prompt_tokens(&pace, 1, 1, 0, 512, 0), 111, 112); /* a quick stream: as if it took 15 ms */
  for (int i = 0; i < 100; i++) pace_observe(&pace, 32, 0, 6000);
  for (int i = 0; i < 100; i++) pace_observe(&pace, 32, 256, 6000 + 256 * 25);
  assert_in_range(pace_prompt_tokens(&pace, 32, 1, 0, 4096, 0), 448, 450);  /* 11.25 ms at 25 us */
  assert_in_range(pace_prompt_tokens(&pace, 32, 8, 0, 4096, 0), 808, 810);  /* a step of 26.25 ms in all */
  assert_in_range(pace_prompt_tokens(&pace, 32, 40, 0, 4096, 0), 808, 810); /* however many wait */
  assert_int_equal(pace_prompt_tokens(&pace, 32, 1, 0, 4096, 128), 480);    /* 512 tokens cost what 481 do */
  assert_int_equal(pace_prompt_tokens(&pace, 32, 8, 0, 4096, 128), 864);
  assert_int_equal(pace_prompt_tokens(&pace, 32, 8, 0, 850, 128), 818);
  for (int i = 0; i < 100; i++) pace_observe(&pace, 32, 64, 6000 + 64 * 250);
  assert_in_range(pace_prompt_tokens(&pace, 32, 8, 0, 4096, 0), 80, 82);      /* prompts are slow: 20.25 ms */
  assert_in_range(pace_prompt_tokens(&pace, 32, 40, 0, 4096, 0), 1799, 1801); /* unless more wait than stream */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_continuous), cmocka_unit_test(test_dynamic), cmocka_unit_test(test_static),
      cmocka_unit_test(test_tenants),    cmocka_unit_test(test_pace),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
