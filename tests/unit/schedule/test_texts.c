/* Texts that keep nothing: each whole in a step, steps no longer than somebody may wait, one text before the last of
 * many. */
#include "schedule_fixture.h"

enum { SEATS = 16, TEXTS = 64, LONG = 600, STEP = 2048, BLOCKS = 8192 };

/* Text i begins with token i. */
struct texts {
  struct limits limits;
  struct schedule *schedule;
  int32_t tokens[TEXTS][LONG];
  struct sequence q[TEXTS];
  uint64_t now_us;
};

static struct texts *texts_bound(int seats, int32_t text_tokens) {
  struct texts *t = calloc(1, sizeof *t);
  struct schedule_options options = {.limits = &t->limits, .n_group = 0, .n_vector = 1, .text_tokens = text_tokens};
  t->limits = limits_make(seats, STEP, STEP, BLOCKS);
  t->schedule = schedule_new(&options);
  t->now_us = 1000;
  assert_non_null(t->schedule);
  return t;
}

static struct texts *texts_make(int seats) { return texts_bound(seats, 0); }

static void texts_free(struct texts *t) {
  schedule_free(t->schedule);
  free(t);
}

static void text_add(struct texts *t, int i, int n_token, int behind) {
  t->q[i] = sequence_make(t->tokens[i], n_token, 1);
  t->q[i].behind = behind;
  t->tokens[i][0] = i;
  schedule_add(t->schedule, &t->q[i], t->now_us);
}

/* A step that takes so long for a token: its rows; *first: the text of row 0. */
static int step(struct texts *t, int token_us, int *first) {
  static float numbers[TEXTS];
  struct schedule_events events;
  const struct batch *batch = schedule_next(t->schedule, t->now_us);
  if (!batch) return 0;
  int rows = batch->n_row;
  assert_int_equal(batch->n_out, rows);
  if (first) *first = batch->token[0];
  t->now_us += (uint64_t)token_us * (uint64_t)batch->n_token;
  schedule_done(t->schedule, &(struct result){.n_out = batch->n_out, .logits = numbers}, t->now_us, &events);
  for (int i = 0; i < events.n_event; i++) assert_true(schedule_remove(t->schedule, events.event[i].sequence));
  return rows;
}

static void test_steps_are_as_long_as_one_may_wait(void **state) {
  (void)state;
  struct texts *t = texts_make(SEATS);
  for (int i = 0; i < 60; i++) text_add(t, i, 60, 0);
  assert_int_equal(step(t, 200, NULL), SEATS); /* nothing is known yet */
  assert_int_equal(step(t, 200, NULL), 8);     /* 500 tokens take a tenth of a second */
  assert_int_equal(step(t, 4000, NULL), 8);
  assert_int_equal(step(t, 4000, NULL), 4); /* 256 tokens at least */
  for (int i = 0; i < 3; i++) step(t, 1, NULL);
  texts_free(t);
}

static void test_a_longer_text_has_a_step_of_its_own(void **state) {
  (void)state;
  struct texts *t = texts_make(SEATS);
  int first = -1;
  for (int i = 0; i < 4; i++) text_add(t, i, 60, 0);
  assert_int_equal(step(t, 4000, NULL), 4);
  text_add(t, 4, 60, 0);
  text_add(t, 5, LONG, 0);
  text_add(t, 6, 60, 0);
  assert_int_equal(step(t, 4000, &first), 1);
  assert_int_equal(first, 4);
  assert_int_equal(step(t, 4000, &first), 1);
  assert_int_equal(first, 5);
  assert_int_equal(step(t, 4000, &first), 1);
  assert_int_equal(first, 6);
  texts_free(t);
}

/* What a backend gains nothing beyond bounds a step before anything is known of its pace, and when it is fast; one text
 * that is longer is whole all the same. */
static void test_steps_are_no_longer_than_the_backend_wants(void **state) {
  (void)state;
  struct texts *t = texts_bound(SEATS, 300);
  int first = -1;
  for (int i = 0; i < 20; i++) text_add(t, i, 60, 0);
  assert_int_equal(step(t, 1, NULL), 5);
  assert_int_equal(step(t, 4000, NULL), 5);
  assert_int_equal(step(t, 1, NULL), 4); /* 256 tokens at least */
  for (int i = 0; i < 2; i++) step(t, 1, NULL);
  text_add(t, 20, LONG, 0);
  assert_int_equal(step(t, 1, &first), 1);
  assert_int_equal(first, 20);
  texts_free(t);
  t = texts_bound(SEATS, 100); /* fewer than a pace would have */
  for (int i = 0; i < 8; i++) text_add(t, i, 25, 0);
  assert_int_equal(step(t, 1, NULL), 4);
  texts_free(t);
}

/* Eight of one caller, then one of another: that has its turn behind half of them. */
static void test_one_text_goes_before_the_last_of_many(void **state) {
  (void)state;
  static const int order[] = {0, 1, 2, 3, 4, 8, 5, 6, 7};
  struct texts *t = texts_make(1);
  int first = -1;
  for (int i = 0; i < 8; i++) text_add(t, i, 8, i);
  text_add(t, 8, 8, 0);
  for (int i = 0; i < 9; i++) {
    assert_int_equal(step(t, 1, &first), 1);
    assert_int_equal(first, order[i]);
  }
  assert_int_equal(step(t, 1, NULL), 0);
  texts_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_steps_are_as_long_as_one_may_wait),
      cmocka_unit_test(test_a_longer_text_has_a_step_of_its_own),
      cmocka_unit_test(test_steps_are_no_longer_than_the_backend_wants),
      cmocka_unit_test(test_one_text_goes_before_the_last_of_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
