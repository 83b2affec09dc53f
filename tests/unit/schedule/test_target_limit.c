/* How many sequences a target between tokens lets run: searches, answers of one request, and clients that do not read.
 * Time stands still and costs are given, so that the limit is always the same. */
#include "schedule_fixture.h"

#include "schedule/schedule_state.h"

enum { SEATS = 16, LIMIT = 4, PROMPT = 4, ANSWER = 40, ROOM = PROMPT + ANSWER, BEAMS = 8 };

static struct schedule *limited_schedule(void) {
  struct limits limits = limits_make(SEATS, TOKENS_MAX, ROOM, 4096);
  struct schedule_options options = {.limits = &limits, .n_group = 1, .no_reuse = true, .target_gap_us = 1000};
  struct schedule *s = schedule_new(&options);
  s->gap.cost.term[1] = 16 * 170; /* us of 16 streams: with the margin for what is not known, four leave an eighth */
  s->gap.streams_seen = SEATS;
  assert_int_equal(gap_target_sequences(&s->gap, SEATS), LIMIT);
  return s;
}

struct client {
  struct sequence sequence;
  int32_t tokens[ROOM];
};

static void client_add(struct schedule *s, struct client *client, int max_tokens) {
  client->sequence = sequence_make(client->tokens, PROMPT, max_tokens);
  schedule_add(s, &client->sequence, 0);
}

static bool runs(const struct client *client) { return client->sequence.state == SEQUENCE_RUNNING; }

struct group {
  struct client client[BEAMS];
  struct sequence_group group;
  int n_beam, n_heard; /* beams that go on, and those of them that have told their next token */
};

static void group_add(struct schedule *s, struct group *g, bool beams, int max_tokens) {
  *g = (struct group){.n_beam = 1, .group = {.first = &g->client[0].sequence, .n = BEAMS, .beams = beams}};
  for (int i = 0; i < BEAMS; i++) {
    g->client[i].sequence = sequence_make(g->client[i].tokens, PROMPT, max_tokens);
    g->client[i].sequence.group = &g->group;
    g->client[i].sequence.sibling = i + 1 < BEAMS ? &g->client[i + 1].sequence : NULL;
    g->client[i].sequence.owner = g;
  }
  schedule_add(s, &g->client[0].sequence, 0);
}

static void beam_hear(struct schedule *s, struct group *g) {
  if (++g->n_heard < g->n_beam) return;
  for (int i = g->n_beam; i < BEAMS; i++) schedule_fork(s, &g->client[i].sequence, &g->client[0].sequence);
  g->n_beam = BEAMS;
  g->n_heard = 0;
  for (int i = 0; i < BEAMS; i++) schedule_extend(s, &g->client[i].sequence, 7);
  const struct sequence *first = &g->client[0].sequence;
  if (first->n_token < first->n_prompt + first->max_tokens) return;
  for (int i = 0; i < BEAMS; i++) assert_true(schedule_remove(s, &g->client[i].sequence));
}

/* Runs a step; whoever is finished leaves. Rows of it that are single tokens. */
static int turn(struct schedule *s) {
  const struct batch *batch = schedule_next(s, 0);
  if (!batch) return 0;
  int n_single = 0;
  for (int i = 0; i < batch->n_row; i++) n_single += batch->row[i].count == 1;
  struct schedule_events events = step_finish(s, batch);
  for (int i = 0; i < events.n_event; i++) {
    struct sequence *q = events.event[i].sequence;
    if (events.event[i].kind == EVENT_BEAM)
      beam_hear(s, q->owner);
    else if (q->n_token == q->n_prompt + q->max_tokens)
      assert_true(schedule_remove(s, q));
  }
  return n_single;
}

/* A search of eight where four may run counts as two: it starts when two streams have ended, the streams beside it get
 * a token in each step, others start meanwhile, and no step has more rows than may run. */
static void test_wide_search(void **state) {
  (void)state;
  struct schedule *s = limited_schedule();
  struct client stream[4] = {0}, late = {0};
  struct group search = {0};
  for (int i = 0; i < 4; i++) client_add(s, &stream[i], i < 2 ? 3 : ANSWER);
  turn(s);
  group_add(s, &search, true, 4);
  turn(s);
  assert_int_equal(search.client[0].sequence.state, SEQUENCE_WAITING);
  turn(s); /* the short streams end */
  turn(s);
  assert_true(runs(&search.client[0]) && runs(&search.client[BEAMS - 1]));
  assert_true(runs(&stream[2]) && runs(&stream[3]));
  client_add(s, &late, 4);
  int steps = 0, before = stream[2].sequence.n_token;
  for (; runs(&search.client[0]); steps++) {
    assert_in_range(turn(s), 2, LIMIT);
    assert_int_equal(stream[2].sequence.n_token, before + steps + 1);
    assert_true(steps < 100);
  }
  assert_int_equal(steps, 3 * BEAMS / 2); /* two beams a step */
  turn(s);
  assert_true(runs(&late));
  schedule_free(s);
}

/* Two searches share what streams leave: neither waits for the other's end. */
static void test_two_searches(void **state) {
  (void)state;
  struct schedule *s = limited_schedule();
  struct group search[2] = {0};
  for (int i = 0; i < 2; i++) group_add(s, &search[i], true, ANSWER / 2);
  for (int i = 0; i < 2 + BEAMS * ANSWER / 2 / 2; i++) turn(s);
  int32_t tokens[2] = {search[0].client[0].sequence.n_token, search[1].client[0].sequence.n_token};
  assert_in_range(tokens[0], tokens[1] - 4, tokens[1] + 4);
  for (int i = 0; i < 1000; i++) turn(s);
  assert_int_equal(stats_of(s).running, 0);
  schedule_free(s);
}

/* A search that comes while others never cease to come starts, and they go on starting. */
static void test_search_under_load(void **state) {
  (void)state;
  struct schedule *s = limited_schedule();
  struct client stream[6] = {0};
  struct group search = {0};
  int n_started = 0, searched = 0;
  for (int i = 0; i < 6; i++) client_add(s, &stream[i], 10);
  group_add(s, &search, true, 5);
  for (int step = 0; step < 300; step++) {
    turn(s);
    searched += runs(&search.client[0]);
    for (int i = 0; i < 6; i++)
      if (stream[i].sequence.state == SEQUENCE_OUT) {
        client_add(s, &stream[i], 10);
        n_started++;
      }
  }
  assert_int_equal(search.client[0].sequence.state, SEQUENCE_OUT);
  assert_true(searched > 0 && n_started > 80); /* 300 steps of 4 tokens: at best 120 answers of 10 */
  schedule_free(s);
}

/* Of eight answers of one prompt four run, the others when these have ended. */
static void test_answers(void **state) {
  (void)state;
  struct schedule *s = limited_schedule();
  struct group answers = {0};
  group_add(s, &answers, false, 5);
  for (int step = 0; step < 6; step++) {
    turn(s);
    assert_in_range(stats_of(s).running, 0, LIMIT);
  }
  for (int step = 0; step < 20; step++) assert_in_range(turn(s), 0, LIMIT);
  for (int i = 0; i < BEAMS; i++) assert_int_equal(answers.client[i].sequence.n_token, PROMPT + 5);
  schedule_free(s);
}

/* Those whose clients do not read take part in no step: others start beside them. When all go on at once nobody else
 * starts until as few run as may. */
static void test_paused(void **state) {
  (void)state;
  struct schedule *s = limited_schedule();
  struct client slow[4] = {0}, quick[4] = {0}, late = {0};
  for (int i = 0; i < 4; i++) client_add(s, &slow[i], ANSWER);
  turn(s);
  for (int i = 0; i < 4; i++) schedule_pause(s, &slow[i].sequence, true);
  for (int i = 0; i < 4; i++) client_add(s, &quick[i], i < 2 ? 4 : 12);
  turn(s);
  for (int i = 0; i < 4; i++) assert_true(runs(&slow[i]) && runs(&quick[i]));
  client_add(s, &late, 2);
  turn(s);
  assert_false(runs(&late));
  for (int i = 0; i < 4; i++) schedule_pause(s, &slow[i].sequence, false);
  assert_int_equal(turn(s), 8);
  for (int step = 0; step < 10; step++) turn(s);
  assert_int_equal(stats_of(s).running, 4); /* the quick are out */
  assert_false(runs(&late));
  for (int i = 0; i < 4; i++) assert_true(runs(&slow[i]));
  while (runs(&slow[0])) turn(s);
  turn(s);
  assert_true(late.sequence.n_token > PROMPT);
  schedule_free(s);
}

/* Seats are what paused ones do take: the limit may be open when no seat is. */
static void test_paused_seats(void **state) {
  (void)state;
  struct schedule *s = limited_schedule();
  struct client slow[SEATS] = {0}, next = {0};
  for (int i = 0; i < SEATS; i++) {
    client_add(s, &slow[i], ANSWER);
    turn(s);
    assert_true(runs(&slow[i]));
    schedule_pause(s, &slow[i].sequence, true);
  }
  client_add(s, &next, 2);
  turn(s);
  assert_false(runs(&next));
  for (int step = 0; step < 70 && next.sequence.n_token == PROMPT; step++) turn(s);
  assert_true(next.sequence.n_token > PROMPT); /* one that had not read for long has given up its seat */
  schedule_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_wide_search), cmocka_unit_test(test_two_searches), cmocka_unit_test(test_search_under_load),
      cmocka_unit_test(test_answers),     cmocka_unit_test(test_paused),       cmocka_unit_test(test_paused_seats)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
