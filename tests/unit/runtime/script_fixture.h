/* A backend that writes the alphabet, and stands still, fails or ends when a test says so. */
#ifndef SPATE_TESTS_SCRIPT_FIXTURE_H
#define SPATE_TESTS_SCRIPT_FIXTURE_H

#include "runtime_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

/* --- the backend: `null`, but token i of an answer is the i-th letter --------------------------------------------- */

enum { SPOILT_SEED = 666 };

static struct {
  pthread_mutex_t gate;    /* steps wait while a test holds it */
  atomic_int n_arrived;    /* steps that have come to the gate */
  atomic_int n_step;       /* submitted so far */
  atomic_int fail_step;    /* this step fails; −1: none */
  atomic_int spoilt_index; /* from this token on requests of SPOILT_SEED have no finite logits */
  atomic_bool damaged;     /* nothing has finite logits */
  atomic_int end_index;    /* this token of each answer is the end token; −1: none */
  const struct batch *batch;
  int32_t token[TINY_SEATS];
} script = {.gate = PTHREAD_MUTEX_INITIALIZER};

static inline bool script_submit(struct program *program, const struct batch *batch, struct error *error) {
  atomic_fetch_add(&script.n_arrived, 1);
  pthread_mutex_lock(&script.gate);
  pthread_mutex_unlock(&script.gate);
  script.batch = batch;
  if (atomic_fetch_add(&script.n_step, 1) == atomic_load(&script.fail_step))
    return error_set(error, ERROR_DEVICE, "The device is on fire.");
  return backend_null.submit(program, batch, error);
}

static inline bool script_collect(struct program *program, struct result *result, struct error *error) {
  if (!backend_null.collect(program, result, error)) return false;
  for (int i = 0; i < result->n_out; i++) {
    uint64_t index = script.batch->sampling[i].index;
    bool asked = script.batch->sampling[i].seed == SPOILT_SEED && (int)index >= atomic_load(&script.spoilt_index);
    bool spoilt = asked || atomic_load(&script.damaged);
    script.token[i] = spoilt ? -1 : (int)index == atomic_load(&script.end_index) ? TINY_END : 'a' + (int)(index % 26);
  }
  result->token = script.token;
  return true;
}

static struct backend script_backend;

static inline void script_init(void) {
  script_backend = backend_null;
  script_backend.submit = script_submit;
  script_backend.collect = script_collect;
  atomic_store(&script.n_step, 0);
  atomic_store(&script.fail_step, -1);
  atomic_store(&script.end_index, -1);
  atomic_store(&script.spoilt_index, 0);
  atomic_store(&script.damaged, false);
  atomic_store(&script.n_arrived, 0);
}

static inline int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  script_init();
  fixture_open(f, &script_backend);
  *state = f;
  return 0;
}

static inline int teardown(void **state) {
  fixture_close(*state);
  free(*state);
  return 0;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

struct answer {
  size_t size;
  char text[512];
  struct inbox_event last;
};

/* All events of one request, of which there must be no others. */
static inline struct answer answer_take(struct inbox *inbox, uint64_t id) {
  struct answer answer = {0};
  struct inbox_event event;
  do {
    assert_int_equal(inbox_take(inbox, &event, 1, -1), 1);
    assert_int_equal(event.request, id);
    assert_true(answer.size + event.text.size < sizeof answer.text);
    if (event.text.size) memcpy(answer.text + answer.size, event.text.data, event.text.size);
    answer.size += event.text.size;
  } while (event.kind == INBOX_TEXT);
  answer.last = event;
  return answer;
}

#endif
