/* Requests of every shape at once, from many threads: one answer, several, searches, scored prompts, of several
 * priorities and tenants; cancelled, out of time, or with a client that leaves. Whatever runs beside it, a request
 * tells what it tells alone, in order and to its end: on the CPU and a step late, under each policy, with too few
 * blocks. */
#include "runtime_fixture.h"

#include "base/limits.h"

#include <math.h>
#include <pthread.h>

enum { CLIENTS = 4, REQUESTS = 60, IN_FLIGHT = 8, ANSWERS = 6, TEXT = 512, BLOCKS = 7 };

static const struct shape {
  int n_prompt, max_tokens, n_answer, n_beam;
  bool scores, logprobs;
} shapes[] = {
    {1, 1, 1, 0, true, false},   {9, 12, 1, 0, false, true},  {33, 9, 3, 0, false, false}, {17, 14, 6, 0, true, true},
    {1, 5, 4, 0, false, false},  {20, 12, 1, 3, false, true}, {31, 6, 2, 2, true, false},  {16, 8, 1, 1, false, false},
    {40, 20, 2, 0, true, false}, {1, 6, 2, 4, true, true},
};

enum { N_SHAPE = sizeof shapes / sizeof *shapes };

/* What a request has told so far. */
struct told {
  uint64_t id; /* 0: over */
  int shape, n_score, n_done;
  double score;  /* the sum of the prompt's */
  bool timed;    /* it has little time */
  bool answered; /* a text or an end has come */
  bool over, cancelled, failed;
  char text[ANSWERS][TEXT];
  size_t size[ANSWERS];
};

static struct told alone[N_SHAPE];

static bool is_timed(uint32_t draw) { return draw % 11 == 10; }

static uint64_t shape_submit(struct fixture *f, struct inbox *inbox, int index, uint32_t draw) {
  const struct shape *shape = &shapes[index];
  int32_t tokens[64];
  for (int i = 0; i < shape->n_prompt; i++) tokens[i] = 'a' + i * (i < 16 ? 1 : index + 1) % 26;
  struct request_params params = params_make("", shape->max_tokens);
  params.tokens = tokens;
  params.n_token = shape->n_prompt;
  params.n_answer = shape->n_answer;
  params.n_beam = shape->n_beam;
  params.length_penalty = 1;
  params.scores_prompt = shape->scores;
  params.n_prompt_top = shape->scores ? 2 : 0;
  params.rules.ignore_end = true;
  params.sampling.temperature = 1;
  params.sampling.seed = 11;
  params.sampling.want_logprob = shape->logprobs;
  params.sampling.n_top = shape->logprobs ? 3 : 0;
  params.priority = (int32_t)(draw % 3);
  params.tenant = (int32_t)(draw / 3 % 2);
  params.timeout_s = is_timed(draw) ? 0.003f : 0;
  return submit(f, inbox, &params);
}

/* False when the event must not come now. */
static bool told_take(struct told *told, const struct inbox_event *event) {
  if (told->over || event->answer < 0 || event->answer >= shapes[told->shape].n_answer) return false;
  if (event->kind == INBOX_PROMPT) {
    for (int i = 0; i < event->n_logprob; i++, told->n_score++) {
      float logprob = event->logprobs[i * (1 + event->n_top)].logprob;
      if (isnan(logprob) != (told->n_score == 0)) return false;
      if (told->n_score > 0) told->score += (double)logprob;
    }
    return !told->answered;
  }
  told->answered = true;
  told->failed = event->kind == INBOX_FAILED;
  told->cancelled |= event->kind == INBOX_DONE && event->finish == FINISH_CANCELLED;
  if (event->kind == INBOX_FAILED) { /* its time is over, or is known to be over before it could begin */
    told->over = true;
    return told->timed && (event->code == ERROR_TIMEOUT || event->code == ERROR_BUSY);
  }
  size_t *size = &told->size[event->answer];
  if (*size + event->text.size > TEXT) return false;
  if (event->text.size) memcpy(told->text[event->answer] + *size, event->text.data, event->text.size);
  *size += event->text.size;
  told->n_done += event->kind == INBOX_DONE;
  told->over = told->n_done == shapes[told->shape].n_answer;
  return true;
}

/* Of one that was ended from outside, what it told is the beginning of that, perhaps with the replacement of a
 * character that was not complete yet. */
static bool told_equal(const struct told *told) {
  static const char replacement[] = "\xEF\xBF\xBD";
  const struct told *whole = &alone[told->shape];
  bool cut = told->cancelled || told->failed, same = true;
  for (int i = 0; i < shapes[told->shape].n_answer; i++) {
    size_t size = told->size[i];
    if (cut && size >= 3 && memcmp(told->text[i] + size - 3, replacement, 3) == 0) size -= 3;
    same &= (cut ? size <= whole->size[i] : size == whole->size[i]) && memcmp(told->text[i], whole->text[i], size) == 0;
  }
  return same && (cut || (told->n_score == whole->n_score && told->score == whole->score));
}

struct client {
  struct fixture *fixture;
  uint32_t seed;
  int finished, wrong;
  struct told told[REQUESTS];
};

static uint32_t draw(struct client *c) {
  c->seed = c->seed * 1664525u + 1013904223u;
  return c->seed >> 8;
}

static void events_take(struct client *c, struct inbox *inbox) {
  struct inbox_event events[3];
  int count = inbox_take(inbox, events, 3, -1);
  for (int i = 0; i < count; i++) {
    int k = 0;
    while (k < REQUESTS && c->told[k].id != events[i].request) k++;
    c->wrong += k == REQUESTS || !told_take(&c->told[k], &events[i]);
    if (k == REQUESTS || !c->told[k].over) continue;
    c->told[k].id = 0;
    c->finished++;
    c->wrong += !told_equal(&c->told[k]);
  }
}

static void *client_main(void *argument) {
  struct client *c = argument;
  struct inbox *inbox = inbox_make(c->fixture), *other = inbox_make(c->fixture);
  for (int sent = 0; c->finished < REQUESTS;) {
    if (sent == REQUESTS || sent - c->finished == IN_FLIGHT || draw(c) % 4 == 0) {
      if (sent > c->finished) events_take(c, inbox);
      continue;
    }
    struct told *told = &c->told[sent++];
    told->shape = (int)(draw(c) % N_SHAPE);
    uint32_t drawn = draw(c);
    told->timed = is_timed(drawn);
    told->id = shape_submit(c->fixture, inbox, told->shape, drawn);
    uint64_t victim = c->told[draw(c) % (uint32_t)sent].id;
    if (victim && draw(c) % 4 == 0) runtime_cancel(c->fixture->runtime, victim);
    if (draw(c) % 8 == 0) shape_submit(c->fixture, other, (int)(draw(c) % N_SHAPE), draw(c));
    if (draw(c) % 16 > 0) continue;
    runtime_inbox_close(c->fixture->runtime, other); /* with what it has asked for */
    other = inbox_make(c->fixture);
  }
  runtime_inbox_close(c->fixture->runtime, other);
  runtime_inbox_close(c->fixture->runtime, inbox);
  return NULL;
}

static void alone_fill(struct fixture *f) {
  struct inbox *inbox = inbox_make(f);
  memset(alone, 0, sizeof alone);
  for (int s = 0; s < N_SHAPE; s++) {
    struct inbox_event event;
    alone[s].shape = s;
    shape_submit(f, inbox, s, 0);
    while (!alone[s].over) {
      assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
      assert_true(told_take(&alone[s], &event));
    }
    if (shapes[s].scores) assert_int_equal(alone[s].n_score, shapes[s].n_prompt);
  }
  runtime_inbox_close(f->runtime, inbox);
}

static void mixed(const struct backend *backend, enum schedule_policy policy, bool reuse) {
  static struct client clients[CLIENTS];
  struct fixture f = {0};
  struct error error;
  pthread_t thread[CLIENTS];
  fixture_open(&f, backend);
  f.engine->limits.n_block[0] = BLOCKS;
  struct runtime_options options = {.engine = f.engine,
                                    .tokenizer = f.tokenizer,
                                    .max_queue = LIMIT_QUEUE_REQUESTS,
                                    .max_queue_tokens = INT64_MAX,
                                    .policy = policy,
                                    .batch_delay_ms = 1,
                                    .no_block_reuse = !reuse};
  f.runtime = runtime_new(&options, &error);
  assert_non_null(f.runtime);
  alone_fill(&f);
  for (int i = 0; i < CLIENTS; i++) {
    memset(&clients[i], 0, sizeof clients[i]);
    clients[i].fixture = &f;
    clients[i].seed = (uint32_t)i;
    assert_int_equal(pthread_create(&thread[i], NULL, client_main, &clients[i]), 0);
  }
  for (int i = 0; i < CLIENTS; i++) {
    pthread_join(thread[i], NULL);
    assert_int_equal(clients[i].wrong, 0);
  }
  fixture_close(&f);
}

static void test_mixed(void **state) {
  (void)state;
  mixed(&backend_cpu, SCHEDULE_CONTINUOUS, true);
  mixed(&backend_late, SCHEDULE_CONTINUOUS, false);
  mixed(&backend_late, SCHEDULE_DYNAMIC, true);
  mixed(&backend_late, SCHEDULE_STATIC, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_mixed)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
