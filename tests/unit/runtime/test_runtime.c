/* The runtime on a backend that writes the alphabet: how requests end, what is refused, back-pressure, cancelling,
 * parking, failures, with many threads. Nothing depends on how fast anything is. */
#include "script_fixture.h"

#include "base/limits.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

static const struct {
  int max_tokens, end_index;
  bool ignore_end;
  int min_tokens, stop_token;
  bool show_stop;
  const char *stop;
  const char *text;
  enum finish_reason finish;
  int generated;
} endings[] = {
    {5, -1, false, 0, 0, false, NULL, "abcde", FINISH_LENGTH, 5},
    {1, -1, false, 0, 0, false, NULL, "a", FINISH_LENGTH, 1},
    {5, 3, false, 0, 0, false, NULL, "abc", FINISH_STOP, 4},
    {4, 3, false, 0, 0, false, NULL, "abc", FINISH_STOP, 4}, /* the end at the last token */
    {5, 0, false, 0, 0, false, NULL, "", FINISH_STOP, 1},
    {6, 3, true, 0, 0, false, NULL, "abcef", FINISH_LENGTH, 6}, /* the end token has no text */
    {30, -1, false, 0, 0, false, "de", "abc", FINISH_STOP, 5},
    {30, -1, false, 0, 0, false, "a", "", FINISH_STOP, 1},
    {6, -1, false, 0, 0, false, "fz", "abcdef", FINISH_LENGTH, 6}, /* what was held back comes in the end */
    {6, 4, false, 0, 0, false, "dez", "abcd", FINISH_STOP, 5},
    {100, -1, false, 0, 0, false, NULL, NULL, FINISH_LENGTH, TINY_LENGTH - 6}, /* cut to what max_seq_len leaves */
    {9, -1, false, 0, 'd', false, NULL, "abc", FINISH_STOP, 4},
    {9, -1, true, 0, 'd', false, NULL, "abc", FINISH_STOP, 4}, /* ignore_eos is of the model's ends */
    {9, -1, false, 0, 'd', true, NULL, "abcd", FINISH_STOP, 4},
    {9, 3, false, 0, 0, true, NULL, "abc", FINISH_STOP, 4}, /* the end token has no text */
    {9, -1, false, 0, 0, true, "cd", "abcd", FINISH_STOP, 4},
    {9, -1, false, 4, 0, false, "cd", "abcdefghi", FINISH_LENGTH, 9},
    {9, -1, false, 3, 0, false, "cd", "ab", FINISH_STOP, 4}, /* begun before min_tokens, complete after it */
};

static void test_endings(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    struct request_params params = params_make("prompt", endings[i].max_tokens);
    struct slice stop = slice_text(endings[i].stop ? endings[i].stop : "");
    if (params.max_tokens > TINY_LENGTH) params.max_tokens = TINY_LENGTH;
    params.rules.ignore_end = endings[i].ignore_end;
    params.rules.rules.min_tokens = endings[i].min_tokens;
    params.rules.stop_token = &endings[i].stop_token;
    params.rules.n_stop_token = endings[i].stop_token != 0;
    params.show_stop = endings[i].show_stop;
    params.stop = &stop;
    params.n_stop = endings[i].stop != NULL;
    atomic_store(&script.end_index, endings[i].end_index);
    struct answer answer = answer_take(inbox, submit(f, inbox, &params));
    if (endings[i].text) assert_string_equal(answer.text, endings[i].text);
    assert_int_equal(answer.last.kind, INBOX_DONE);
    assert_int_equal(answer.last.finish, endings[i].finish);
    assert_int_equal(answer.last.generated, endings[i].generated);
    if (endings[i].finish == FINISH_STOP) {
      bool by_token = endings[i].stop_token != 0;
      assert_int_equal(answer.last.stop_token, by_token ? endings[i].stop_token : -1);
      assert_int_equal(answer.last.stop_string, by_token || endings[i].end_index >= 0 ? -1 : 0);
    }
    assert_int_equal(answer.last.prompt, 6);
  }
  runtime_inbox_close(f->runtime, inbox);
}

/* Each token's come once and in order, those of tokens whose text is held back too. */
static void test_logprobs(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params params = params_make("a", 9);
  struct slice stop = slice_text("bcdz");
  params.stop = &stop;
  params.n_stop = 1;
  params.sampling.want_logprob = true;
  params.sampling.n_top = 2;
  uint64_t id = submit(f, inbox, &params);
  int n_token = 0;
  struct inbox_event event;
  do {
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    assert_int_equal(event.request, id);
    assert_int_equal(event.n_top, 2);
    for (int i = 0; i < event.n_logprob; i++) assert_int_equal(event.logprobs[3 * i].token, 'a' + n_token++);
    assert_int_equal(event.generated, n_token);
  } while (event.kind == INBOX_TEXT);
  assert_int_equal(n_token, 9);
  runtime_inbox_close(f->runtime, inbox);
}

static void test_token_prompt(void **state) {
  struct fixture *f = *state;
  static const int32_t tokens[TINY_LENGTH - 3] = {'x'};
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params params = params_make("", 10);
  params.tokens = tokens;
  params.n_token = TINY_LENGTH - 3;
  struct answer answer = answer_take(inbox, submit(f, inbox, &params));
  assert_string_equal(answer.text, "abc");
  assert_int_equal(answer.last.prompt, TINY_LENGTH - 3);
  assert_int_equal(atomic_load(&script.n_step), (TINY_LENGTH - 3 + TINY_TOKENS - 1) / TINY_TOKENS + 2);
  runtime_inbox_close(f->runtime, inbox);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

#define TEN  "0123456789"
#define LONG TEN TEN TEN TEN TEN TEN TEN

static const int32_t tokens_beyond[] = {1, 260}, tokens_negative[] = {-1}, tokens_many[TINY_LENGTH] = {0};

static const struct {
  const char *prompt;
  const int32_t *tokens;
  int n_token, max_tokens, top_k;
  float temperature, top_p;
  enum error_code code;
  const char *sentence;
} refusals[] = {
    {"a", NULL, 0, 0, 0, 1, 1, ERROR_INVALID, "max_tokens is 0, expected 1 to max_seq_len 64."},
    {"a", NULL, 0, 65, 0, 1, 1, ERROR_INVALID, "max_tokens is 65, expected 1 to max_seq_len 64."},
    {"a", NULL, 0, 1, 0, -1, 1, ERROR_INVALID, "temperature is -1, expected 0 to 100."},
    {"a", NULL, 0, 1, 0, 1, 0, ERROR_INVALID, "top_p is 0, expected more than 0 and at most 1."},
    {"a", NULL, 0, 1, -1, 1, 1, ERROR_INVALID, "top_k is -1, expected 0 (off) or more."},
    {"", tokens_beyond, 2, 1, 0, 1, 1, ERROR_INVALID, "Token 1 of the prompt is 260, expected 0 to 259."},
    {"", tokens_negative, 1, 1, 0, 1, 1, ERROR_INVALID, "Token 0 of the prompt is -1, expected 0 to 259."},
    {"", tokens_many, 64, 1, 0, 1, 1, ERROR_LIMIT, "The prompt has 64 tokens, more than max_input_len 63: shorten it."},
};

static void test_refusals(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    struct request_params params = params_make(refusals[i].prompt, refusals[i].max_tokens);
    struct error error = {0};
    params.tokens = refusals[i].tokens;
    params.n_token = refusals[i].n_token;
    params.sampling.temperature = refusals[i].temperature;
    params.sampling.top_p = refusals[i].top_p;
    params.sampling.top_k = refusals[i].top_k;
    assert_int_equal(runtime_submit(f->runtime, inbox, &params, &error), 0);
    assert_string_equal(error.text, refusals[i].sentence);
    assert_int_equal(error.code, refusals[i].code);
  }
  runtime_inbox_close(f->runtime, inbox);
}

static const int32_t ids_beyond[] = {5, 260}, ids_negative[] = {-1};
static const struct token_bias biases_beyond[] = {{260, 1}}, biases_large[] = {{3, 100.5f}}, biases_nan[] = {{3, NAN}};

#define SAMPLING(...)                                                                                                  \
  {                                                                                                                    \
    .sampling = {.top_p = 1, __VA_ARGS__ }                                                                             \
  }
#define RULES(...)                                                                                                     \
  {                                                                                                                    \
    .sampling = {.top_p = 1}, .rules = {.rules = {__VA_ARGS__} }                                                       \
  }
#define LISTS(...)                                                                                                     \
  {                                                                                                                    \
    .sampling = {.top_p = 1}, .rules = { __VA_ARGS__ }                                                                 \
  }

static const struct {
  struct request_params params;
  const char *sentence;
} rule_refusals[] = {
    {SAMPLING(.temperature = NAN), "temperature is nan, expected 0 to 100."},
    {SAMPLING(.min_p = -0.5f), "min_p is -0.5, expected 0 to 1."},
    {SAMPLING(.typical_p = 1.5f), "typical_p is 1.5, expected 0 to 1."},
    {SAMPLING(.n_top = 21, .want_logprob = true), "top_logprobs is 21, expected 0 to 20."},
    {SAMPLING(.n_top = 1), "top_logprobs is 1 and logprobs is not true: set both."},
    {RULES(.repetition_penalty = -1), "repetition_penalty is -1, expected 0 to 100."},
    {RULES(.frequency_penalty = 3), "frequency_penalty is 3, expected -2 to 2."},
    {RULES(.presence_penalty = -3), "presence_penalty is -3, expected -2 to 2."},
    {RULES(.min_tokens = 6), "min_tokens is 6, expected 0 to max_tokens 5."},
    {RULES(.bias = biases_beyond, .n_bias = 1), "logit_bias has token 260, expected 0 to 259."},
    {RULES(.bias = biases_large, .n_bias = 1), "logit_bias of token 3 is 100.5, expected -100 to 100."},
    {RULES(.bias = biases_nan, .n_bias = 1), "logit_bias of token 3 is nan, expected -100 to 100."},
    {RULES(.n_bias = 1), "logit_bias has 1 entries, expected 0 to 1024 and the list that holds them."},
    {RULES(.allowed = ids_beyond, .n_allowed = 2), "allowed_token_ids has token 260, expected 0 to 259."},
    {LISTS(.stop_token = ids_negative, .n_stop_token = 1), "stop_token_ids has token -1, expected 0 to 259."},
    {LISTS(.n_bad_word = 257), "bad_words has 257 entries, expected 0 to 256 and the list that holds them."},
    {LISTS(.bad_word = &(struct slice){NULL, 0}, .n_bad_word = 1), "Bad word 0 has 0 bytes, expected 1 to 256."},
    {LISTS(.bad_word = &(struct slice){(const uint8_t *)"\xff", 1}, .n_bad_word = 1), "The text is not valid UTF-8."},
};

static void test_rule_refusals(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  for (size_t i = 0; i < sizeof rule_refusals / sizeof *rule_refusals; i++) {
    struct request_params params = rule_refusals[i].params;
    struct error error = {0};
    params.prompt = slice_text("a");
    params.n_answer = 1;
    params.max_tokens = 5;
    assert_int_equal(runtime_submit(f->runtime, inbox, &params, &error), 0);
    assert_string_equal(error.text, rule_refusals[i].sentence);
    assert_int_equal(error.code, ERROR_INVALID);
  }
  runtime_inbox_close(f->runtime, inbox);
}

/* An end of the model's that the request names too is one end: 16 beams leave room for four. */
static void test_ends_of_a_search(void **state) {
  static const int32_t stops[] = {TINY_END, 'a', 'b', 'c', 'd'};
  struct fixture *f = *state;
  struct error error;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params params = params_make("prompt", 5);
  params.n_beam = 16;
  params.rules.stop_token = stops;
  params.rules.n_stop_token = 4;
  struct answer answer = answer_take(inbox, submit(f, inbox, &params));
  assert_string_equal(answer.text, "The search has 16 beams, more than max_batch_size 4.");
  params.rules.n_stop_token = 5;
  assert_int_equal(runtime_submit(f->runtime, inbox, &params, &error), 0);
  assert_string_equal(error.text, "The search has 16 beams and 5 tokens that end a text, expected at most 20 together: "
                                  "give fewer stop_token_ids.");
  runtime_inbox_close(f->runtime, inbox);
}

/* What only the tokenizer can tell comes as an event. */
static const struct {
  const char *prompt;
  enum error_code code;
  const char *sentence;
} failures[] = {
    {"", ERROR_INVALID, "The prompt is empty and the tokenizer adds nothing to it: send some text."},
    {LONG, ERROR_LIMIT, "The prompt has more tokens than max_input_len 63: shorten it."},
    {"\xff", ERROR_INVALID, "The text is not valid UTF-8."},
};

static void test_failures(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
    struct request_params params = params_make(failures[i].prompt, 5);
    struct answer answer = answer_take(inbox, submit(f, inbox, &params));
    assert_int_equal(answer.last.kind, INBOX_FAILED);
    assert_string_equal(answer.text, failures[i].sentence);
    assert_int_equal(answer.last.code, failures[i].code);
  }
  runtime_inbox_close(f->runtime, inbox);
}

/* --- many threads ------------------------------------------------------------------------------------------------- */

enum { CLIENTS = 4, REQUESTS = 60, IN_FLIGHT = 10 };

struct client {
  struct fixture *fixture;
  int seed, finished, wrong;
  size_t seen[REQUESTS]; /* bytes of each request's text */
  uint64_t id[REQUESTS];
};

/* The text goes on where it stopped, and ends once. */
static void client_check(struct client *c, const struct inbox_event *event) {
  int k = 0;
  while (k < REQUESTS && c->id[k] != event->request) k++;
  if (k == REQUESTS || event->kind == INBOX_FAILED) {
    c->wrong++;
    return;
  }
  for (size_t i = 0; i < event->text.size; i++)
    if (event->text.data[i] != 'a' + c->seen[k]++ % 26) c->wrong++;
  if (event->kind != INBOX_DONE) return;
  if (event->finish == FINISH_LENGTH && c->seen[k] != (size_t)(1 + k % 40)) c->wrong++;
  c->id[k] = 0;
  c->finished++;
}

static void *client_main(void *argument) {
  struct client *c = argument;
  struct fixture *f = c->fixture;
  struct error error;
  struct inbox *inbox = runtime_inbox(f->runtime, &error);
  for (int sent = 0; inbox && c->finished < REQUESTS;) {
    if (sent < REQUESTS && sent - c->finished < IN_FLIGHT) {
      struct request_params params = params_make("many threads", 1 + sent % 40);
      c->id[sent] = runtime_submit(f->runtime, inbox, &params, &error);
      if (!c->id[sent]) c->wrong++;
      if ((sent + c->seed) % 3 == 0) runtime_cancel(f->runtime, c->id[sent]);
      sent++;
      continue;
    }
    struct inbox_event events[3];
    int count = inbox_take(inbox, events, 3, -1);
    if (count == 0) c->wrong++;
    for (int i = 0; i < count; i++) client_check(c, &events[i]);
  }
  if (inbox) runtime_inbox_close(f->runtime, inbox);
  return NULL;
}

/* --- a flood ------------------------------------------------------------------------------------------------------ */

struct flooder {
  struct fixture *fixture;
  uint64_t dice;
  int accepted, answered, shed, wrong;
};

/* Takes what has come; waits for it when told so. */
static void flooder_take(struct flooder *f, struct inbox *inbox, int timeout_ms) {
  struct inbox_event event;
  if (inbox_take(inbox, &event, 1, timeout_ms) == 0 || event.kind == INBOX_TEXT) return;
  bool shed = event.kind == INBOX_FAILED && event.code == ERROR_BUSY;
  f->shed += shed;
  f->answered += event.kind == INBOX_DONE;
  f->wrong += !shed && event.kind != INBOX_DONE;
}

static void *flooder_main(void *argument) {
  struct flooder *f = argument;
  struct error error;
  struct inbox *inbox = runtime_inbox(f->fixture->runtime, &error);
  for (int i = 0; inbox && i < 400; i++) {
    struct request_params params = params_make("ab", 1 + i % 5);
    f->dice = f->dice * 6364136223846793005u + 1442695040888963407u;
    params.priority = (int32_t)(f->dice >> 33) % 7 - 3;
    bool accepted = runtime_submit(f->fixture->runtime, inbox, &params, &error);
    f->accepted += accepted;
    f->wrong += !accepted && error.code != ERROR_BUSY;
    flooder_take(f, inbox, 0);
  }
  while (inbox && f->answered + f->shed + f->wrong < f->accepted) flooder_take(f, inbox, -1);
  if (inbox) runtime_inbox_close(f->fixture->runtime, inbox);
  return NULL;
}

/* Threads whose requests take each other's places all the time: each accepted one is answered or shed, and counted. */
static void test_flood(void **state) {
  struct fixture *f = *state;
  struct flooder flooders[CLIENTS];
  pthread_t thread[CLIENTS];
  char line[64];
  int shed = 0;
  f->max_queue_tokens = 60;
  fixture_start(f);
  for (int i = 0; i < CLIENTS; i++) flooders[i] = (struct flooder){.fixture = f, .dice = (uint64_t)i};
  for (int i = 0; i < CLIENTS; i++) pthread_create(&thread[i], NULL, flooder_main, &flooders[i]);
  for (int i = 0; i < CLIENTS; i++) {
    pthread_join(thread[i], NULL);
    assert_int_equal(flooders[i].wrong, 0);
    assert_int_equal(flooders[i].answered + flooders[i].shed, flooders[i].accepted);
    shed += flooders[i].shed;
  }
  struct buffer page;
  buffer_init(&page, 1 << 20);
  assert_true(runtime_metrics(f->runtime, &page) && buffer_append(&page, "", 1));
  for (size_t i = 0; i < 3; i++) {
    snprintf(line, sizeof line, "llm_requests_shed_total{priority=\"%s\",reason=\"place\"} ",
             (const char *[]){"high", "normal", "low"}[i]);
    const char *at = strstr(page.data, line);
    assert_non_null(at);
    shed -= (int)strtol(at + strlen(line), NULL, 10);
  }
  assert_int_equal(shed, 0);
  buffer_release(&page);
}

static void test_many_threads(void **state) {
  static struct client clients[CLIENTS];
  pthread_t thread[CLIENTS];
  fixture_start(*state);
  for (int i = 0; i < CLIENTS; i++) {
    clients[i] = (struct client){.fixture = *state, .seed = i};
    assert_int_equal(pthread_create(&thread[i], NULL, client_main, &clients[i]), 0);
  }
  for (int i = 0; i < CLIENTS; i++) {
    pthread_join(thread[i], NULL);
    assert_int_equal(clients[i].wrong, 0);
    assert_int_equal(clients[i].finished, REQUESTS);
  }
}

/* --- back-pressure ------------------------------------------------------------------------------------------------ */

enum { ENDLESS = 30000 }; /* tokens, whose events are more than an inbox holds */

static void lengthen(struct fixture *f) {
  f->engine->limits.length = 2 * ENDLESS;
  f->engine->limits.n_block[0] = 2 * ENDLESS / 16 * TINY_SEATS;
}

/* The oldest request runs alone until its client's inbox is full: that the second one ends shows that the first one was
 * paused. It goes on when its client reads. */
static void test_slow_consumer(void **state) {
  struct fixture *f = *state;
  lengthen(f);
  fixture_start(f);
  struct inbox *slow = inbox_make(f), *quick = inbox_make(f);
  struct request_params endless = params_make("a", ENDLESS), brief = params_make("a", 3);
  uint64_t id = submit(f, slow, &endless), cancelled;
  for (int i = 0; i < 3; i++) assert_string_equal(answer_take(quick, submit(f, quick, &brief)).text, "abc");
  cancelled = submit(f, slow, &brief); /* has no room for its last event before the first one's are read */
  runtime_cancel(f->runtime, cancelled);
  size_t seen = 0;
  for (int open = 2; open > 0;) {
    struct inbox_event events[16];
    int count = inbox_take(slow, events, 16, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].kind == INBOX_DONE) open--;
      if (events[i].request != id) continue;
      for (size_t k = 0; k < events[i].text.size; k++) assert_int_equal(events[i].text.data[k], 'a' + seen++ % 26);
      if (events[i].kind == INBOX_DONE) assert_int_equal(events[i].finish, FINISH_LENGTH);
    }
  }
  assert_int_equal(seen, ENDLESS);
  runtime_inbox_close(f->runtime, slow);
  runtime_inbox_close(f->runtime, quick);
}

/* --- ends from outside -------------------------------------------------------------------------------------------- */

static void test_cancel(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params params = params_make("a", TINY_LENGTH);
  pthread_mutex_lock(&script.gate);
  uint64_t id = submit(f, inbox, &params);
  runtime_cancel(f->runtime, id);
  runtime_cancel(f->runtime, id + 1); /* nobody's */
  runtime_cancel(f->runtime, 0);
  runtime_cancel(f->runtime, UINT64_MAX);
  pthread_mutex_unlock(&script.gate);
  struct answer answer = answer_take(inbox, id);
  assert_int_equal(answer.last.kind, INBOX_DONE);
  assert_int_equal(answer.last.finish, FINISH_CANCELLED);
  runtime_cancel(f->runtime, id); /* over */
  runtime_inbox_close(f->runtime, inbox);
}

static void park_when_idle(struct fixture *f) {
  struct error error;
  while (!runtime_park(f->runtime, &error)) {
    assert_int_equal(error.code, ERROR_BUSY);
    assert_string_equal(error.text, "Requests are running: wait until the engine is idle.");
  }
}

/* A client that goes away takes its requests along, whether they run, wait, are paused or are being tokenized. */
static void test_inbox_closed(void **state) {
  struct fixture *f = *state;
  lengthen(f);
  fixture_start(f);
  struct request_params params = params_make("a", ENDLESS), brief = params_make("a", 3);
  for (int round = 0; round < 3; round++) {
    struct inbox *inbox = inbox_make(f), *other = inbox_make(f);
    for (int i = 0; i < 2 * TINY_SEATS; i++) submit(f, inbox, &params);
    runtime_inbox_close(f->runtime, inbox);
    assert_string_equal(answer_take(other, submit(f, other, &brief)).text, "abc");
    runtime_inbox_close(f->runtime, other);
  }
  park_when_idle(f);
  runtime_resume(f->runtime);
}

static void test_engine_closed(void **state) {
  struct fixture *f = *state;
  lengthen(f);
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params params = params_make("a", ENDLESS);
  for (int i = 0; i < 2 * TINY_SEATS; i++) submit(f, inbox, &params);
  runtime_inbox_close(f->runtime, inbox);
}

static void test_park(void **state) {
  struct fixture *f = *state;
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params params = params_make("a", 2);
  struct inbox_event event;
  struct error error;
  for (int round = 0; round < 3; round++) {
    park_when_idle(f);
    assert_false(runtime_park(f->runtime, &error));
    assert_string_equal(error.text, "Another caller is using the engine directly.");
    int before = atomic_load(&script.n_step);
    uint64_t id = submit(f, inbox, &params);
    assert_int_equal(inbox_take(inbox, &event, 1, 20), 0);
    assert_int_equal(atomic_load(&script.n_step), before);
    runtime_resume(f->runtime);
    assert_string_equal(answer_take(inbox, id).text, "ab");
  }
  runtime_inbox_close(f->runtime, inbox);
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

static void stopped_check(struct fixture *f, struct inbox *inbox, const char *sentence) {
  struct request_params params = params_make("a", 2);
  struct error error;
  assert_int_equal(runtime_submit(f->runtime, inbox, &params, &error), 0);
  assert_int_equal(error.code, ERROR_DEVICE);
  assert_string_equal(error.text, sentence);
  assert_false(runtime_healthy(f->runtime, &error));
  assert_string_equal(error.text, sentence);
  assert_false(runtime_park(f->runtime, &error));
  assert_string_equal(error.text, sentence);
}

/* All that run or wait end with the sentence. */
static void test_step_fails(void **state) {
  struct fixture *f = *state;
  struct error error;
  fixture_start(f);
  atomic_store(&script.fail_step, 10);
  struct inbox *inbox = inbox_make(f);
  struct request_params params = params_make("a", 20);
  assert_true(runtime_healthy(f->runtime, &error));
  pthread_mutex_lock(&script.gate);
  for (int i = 0; i < 2 * TINY_SEATS; i++) submit(f, inbox, &params);
  pthread_mutex_unlock(&script.gate);
  for (int failed = 0; failed < 2 * TINY_SEATS;) {
    struct inbox_event event;
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    assert_int_not_equal(event.kind, INBOX_DONE);
    if (event.kind == INBOX_TEXT) continue;
    assert_true(slice_equal(event.text, slice_text("The device is on fire.")));
    assert_int_equal(event.code, ERROR_DEVICE);
    failed++;
  }
  assert_int_equal(atomic_load(&script.n_step), 11);
  stopped_check(f, inbox, "The device is on fire.");
  runtime_inbox_close(f->runtime, inbox);
}

/* A bit of a weight turned over in the file that is mapped. */
static void weight_flip(struct fixture *f) {
  const struct engine_file *file = &f->engine->file;
  uint64_t place = file->header->section[SECTION_WEIGHTS].offset + file->weights[0].offset;
  int descriptor = open(f->path, O_RDWR | O_CLOEXEC);
  uint8_t byte;
  assert_int_equal(pread(descriptor, &byte, 1, (off_t)place), 1);
  byte ^= 1;
  assert_int_equal(pwrite(descriptor, &byte, 1, (off_t)place), 1);
  close(descriptor);
}

/* The watcher's hash does not match: what it finds running is answered, and what comes after. */
static void test_damaged_weight(void **state) {
  struct fixture *f = *state;
  struct error error;
  char sentence[512];
  weight_flip(f);
  pthread_mutex_lock(&script.gate);
  fixture_start(f);
  struct inbox *inbox = inbox_make(f);
  struct request_params params = params_make("a", 20);
  uint64_t id = runtime_submit(f->runtime, inbox, &params, &error); /* refused, when the watcher is faster */
  while (runtime_healthy(f->runtime, &error) || error.code != ERROR_DEVICE) usleep(1000); /* a stall is none */
  pthread_mutex_unlock(&script.gate);
  snprintf(
      sentence, sizeof sentence,
      "%s is damaged: the weight %s does not match its checksum; copy it again, or build it again with: spate build "
      "MODEL -o %s.",
      f->path, plan_name(f->engine->plan, plan_weights(f->engine->plan)[0].name), f->path);
  if (id) {
    struct answer answer = answer_take(inbox, id);
    assert_int_equal(answer.last.kind, INBOX_FAILED);
    assert_int_equal(answer.last.code, ERROR_DEVICE);
    assert_true(slice_equal(answer.last.text, slice_text(sentence)));
  }
  stopped_check(f, inbox, sentence);
  runtime_inbox_close(f->runtime, inbox);
}

/* Whether a step or the watcher notices first. 0 when all is as it should be. */
static int shrink_run(void) {
  static const char sentence[] =
      "The engine file of Tiny changed its size while it was being served: the engine stops. "
      "Build it again, and replace engine files by renaming a new one over them.";
  struct fixture f = {0};
  fixture_open(&f, &script_backend);
  lengthen(&f);
  fixture_start(&f);
  struct inbox *inbox = inbox_make(&f);
  struct request_params params = params_make("a", ENDLESS);
  struct inbox_event event = {0};
  submit(&f, inbox, &params);
  int wrong = inbox_take(inbox, &event, 1, -1) != 1 || truncate(f.path, 4096) != 0;
  while (!wrong && event.kind == INBOX_TEXT) wrong = inbox_take(inbox, &event, 1, -1) != 1;
  wrong += event.kind != INBOX_FAILED || !slice_equal(event.text, slice_text(sentence));
  stopped_check(&f, inbox, sentence);
  runtime_inbox_close(f.runtime, inbox);
  fixture_close(&f);
  return wrong;
}

/* In a process of its own, because cmocka has a SIGBUS handler; and before others have opened an engine in this one. */
static void test_file_shrinks(void **state) {
  int status;
  (void)state;
  script_init();
  pid_t child = fork();
  if (child == 0) {
    signal(SIGBUS, SIG_DFL);
    _exit(shrink_run());
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_file_shrinks),
      cmocka_unit_test_setup_teardown(test_endings, setup, teardown),
      cmocka_unit_test_setup_teardown(test_logprobs, setup, teardown),
      cmocka_unit_test_setup_teardown(test_token_prompt, setup, teardown),
      cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
      cmocka_unit_test_setup_teardown(test_rule_refusals, setup, teardown),
      cmocka_unit_test_setup_teardown(test_ends_of_a_search, setup, teardown),
      cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
      cmocka_unit_test_setup_teardown(test_flood, setup, teardown),
      cmocka_unit_test_setup_teardown(test_many_threads, setup, teardown),
      cmocka_unit_test_setup_teardown(test_slow_consumer, setup, teardown),
      cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
      cmocka_unit_test_setup_teardown(test_inbox_closed, setup, teardown),
      cmocka_unit_test_setup_teardown(test_engine_closed, setup, teardown),
      cmocka_unit_test_setup_teardown(test_park, setup, teardown),
      cmocka_unit_test_setup_teardown(test_step_fails, setup, teardown),
      cmocka_unit_test_setup_teardown(test_damaged_weight, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
