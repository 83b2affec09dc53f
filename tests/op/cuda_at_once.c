/* Engines on one GPU that step at once. Grids whose blocks wait for one another would each hold some of the
 * multiprocessors and wait for ever; steps that take turns end, with the tokens that each engine has alone. Others are
 * opened and closed while the first steps. */
#include "cuda_engine.h"

#include "backend/backends.h"
#include "base/clock.h"
#include "lib/random_engine.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { ENGINES = 3, ROWS = 4, LENGTH = 700, STEPS = 1000, WAIT_SECONDS = 60 };

struct stepper {
  struct random_engine engine;
  pthread_t thread;
  struct error error;
  bool failed;
  int32_t token[STEPS][ROWS];
};

/* Steps of ROWS tokens each behind LENGTH numbers that were made up; the next is submitted before one is collected. */
static bool steps_run(struct stepper *s, int n) {
  const struct loaded_engine *e = s->engine.loaded;
  static const struct sampling sampling[ROWS];
  static const int32_t out[ROWS] = {0, 1, 2, 3};
  uint32_t block[ROWS][LENGTH];
  struct row row[ROWS] = {0};
  struct result result;
  for (int r = 0; r < ROWS; r++) {
    row[r] = (struct row){.seat = r, .first = r, .count = 1, .length = LENGTH};
    row[r].n_block[0] = LENGTH / e->limits.block_size + 1;
    row[r].block[0] = block[r];
    for (int b = 0; b < row[r].n_block[0]; b++) block[r][b] = (uint32_t)(r * row[r].n_block[0] + b);
  }
  for (int i = 0; i <= n; i++) {
    int32_t token[ROWS] = {i, 2 * i, 3 * i, 4 * i};
    struct batch batch = {
        .n_row = ROWS, .n_token = ROWS, .n_out = ROWS, .row = row, .token = token, .out = out, .sampling = sampling};
    if (i < n &&
        (!e->backend->submit(e->program, &batch, &s->error) || !e->backend->finish(e->program, NULL, &s->error)))
      return false;
    if (i == 0) continue;
    if (!e->backend->collect(e->program, &result, &s->error)) return false;
    memcpy(s->token[i - 1], result.token, sizeof s->token[i - 1]);
  }
  return true;
}

static double seconds_since(uint64_t start) { return (double)(clock_ns() - start) * 1e-9; }

static void *thread_run(void *user) {
  struct stepper *s = user;
  s->failed = !steps_run(s, STEPS);
  return NULL;
}

static void stepper_open(struct stepper *s, const char *model) {
  struct engine_config config = {.max_batch_size = ROWS, .max_num_tokens = 64, .max_seq_len = 1024};
  struct engine_options options = {.backend = &backend_cuda, .kv_bytes = 1ull << 30};
  if (!random_engine_open(&s->engine, model, &config, &options, &s->error)) fail_msg("%s", s->error.text);
  const struct loaded_engine *e = s->engine.loaded;
  if (!e->backend->fill_cache(e->program, &s->error)) fail_msg("%s", s->error.text);
}

static void thread_end(struct stepper *s) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += WAIT_SECONDS;
  if (pthread_timedjoin_np(s->thread, NULL, &until) == ETIMEDOUT) {
    printf("FAILED: steps of %d engines have not ended after %d seconds\n", ENGINES, WAIT_SECONDS);
    fflush(stdout);
    _exit(1); /* nothing ends a thread that waits for the GPU */
  }
  if (s->failed) fail_msg("%s", s->error.text);
}

void test_turns(void **state) {
  (void)state;
  static const char *const models[ENGINES] = {"llama-3.2-1b", "qwen3-0.6b", "smollm2-135m"};
  static struct stepper together[ENGINES], alone[ENGINES];
  double seconds[2] = {0};
  uint64_t start = clock_ns();
  for (int i = 0; i < ENGINES; i++) {
    stepper_open(&together[i], models[i]);
    assert_int_equal(pthread_create(&together[i].thread, NULL, thread_run, &together[i]), 0);
  }
  for (int i = ENGINES - 1; i >= 0; i--) {
    thread_end(&together[i]);
    random_engine_release(&together[i].engine);
  }
  seconds[0] = seconds_since(start);
  for (int i = 0; i < ENGINES; i++) {
    start = clock_ns();
    stepper_open(&alone[i], models[i]);
    if (!steps_run(&alone[i], STEPS)) fail_msg("%s", alone[i].error.text);
    random_engine_release(&alone[i].engine);
    seconds[1] += seconds_since(start);
    assert_memory_equal(together[i].token, alone[i].token, sizeof alone[i].token);
  }
  printf("%d engines of %d steps each: at once %.2f s, one after the other %.2f s\n", ENGINES, STEPS, seconds[0],
         seconds[1]);
}
