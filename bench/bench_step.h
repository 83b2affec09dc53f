/* What the benches of single layers on a GPU share: a batch of made-up tokens, a step, and the median of some. */
#ifndef SPATE_BENCH_BENCH_STEP_H
#define SPATE_BENCH_BENCH_STEP_H

#include "base/clock.h"
#include "plan/backend.h"

#include <stdio.h>
#include <stdlib.h>

enum { BENCH_RUNS = 400 /* at most */, BENCH_WARM = 4, BENCH_SEATS = 256, BENCH_TOKENS = 8192 };

/* `batch` points to the arrays beside it. */
struct bench_steps {
  const struct backend *backend;
  struct program *program;
  struct batch batch;
  struct row row[BENCH_SEATS];
  int32_t token[BENCH_TOKENS], out[BENCH_SEATS];
  struct sampling sampling[BENCH_SEATS];
};

static inline _Noreturn void die(const struct error *error) {
  printf("%s\n", error->text);
  exit(1);
}

static inline int number_of(int argc, char **argv, int i, int otherwise) {
  return argc > i ? atoi(argv[i]) : otherwise;
}

/* Rows of a token each behind so many, or one of n, whose last token alone has outputs. */
static inline void steps_fill(struct bench_steps *s, int n, bool decode, int length, int vocab) {
  int n_row = decode ? n : 1;
  s->batch = (struct batch){.n_row = n_row,
                            .n_token = n,
                            .n_out = n_row,
                            .row = s->row,
                            .token = s->token,
                            .out = s->out,
                            .sampling = s->sampling};
  for (int i = 0; i < n; i++) s->token[i] = (i * 389 + 7) % vocab;
  for (int i = 0; i < n_row; i++) {
    s->row[i] = (struct row){.seat = i, .first = i, .count = decode ? 1 : n, .length = length};
    s->out[i] = decode ? i : n - 1;
  }
}

static inline void step_run(const struct bench_steps *s) {
  struct error error;
  struct result result;
  if (!s->backend->submit(s->program, &s->batch, &error) || !s->backend->finish(s->program, NULL, &error) ||
      !s->backend->collect(s->program, &result, &error))
    die(&error);
}

static inline int seconds_order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The median of so many steps, after some that are not timed. */
static inline double step_seconds(const struct bench_steps *s, int runs) {
  double seconds[BENCH_RUNS];
  for (int i = 0; i < BENCH_WARM; i++) step_run(s);
  for (int i = 0; i < runs; i++) {
    uint64_t start = clock_ns();
    step_run(s);
    seconds[i] = (double)(clock_ns() - start) * 1e-9;
  }
  qsort(seconds, (size_t)runs, sizeof *seconds, seconds_order);
  return seconds[runs / 2];
}

#endif
