/* Small schedules, and steps that end with tokens 100, 101, … */
#ifndef SPATE_TESTS_SCHEDULE_FIXTURE_H
#define SPATE_TESTS_SCHEDULE_FIXTURE_H

#include "schedule/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS_MAX = 64, BLOCK = 4 };

static inline struct limits limits_make(int seats, int tokens, int length, uint32_t blocks) {
  return (struct limits){.seats = seats,
                         .tokens = tokens,
                         .outputs = seats,
                         .length = length,
                         .opt_batch = 1,
                         .block_size = BLOCK,
                         .n_block = {blocks, blocks}};
}

static inline struct schedule *schedule_make(const struct limits *limits, int n_group, int run_ahead) {
  struct schedule_options options = {.limits = limits, .n_group = n_group, .run_ahead = run_ahead};
  return schedule_new(&options);
}

static inline struct sequence sequence_make(int32_t *tokens, int n_prompt, int max_tokens) {
  for (int i = 0; i < n_prompt; i++) tokens[i] = i;
  return (struct sequence){.tokens = tokens, .n_prompt = n_prompt, .max_tokens = max_tokens};
}

/* Ends the oldest step; the events are the caller's to look at. */
static inline struct schedule_events step_finish_at(struct schedule *s, const struct batch *batch, uint64_t now_us) {
  static int32_t token[TOKENS_MAX];
  static float logprob[TOKENS_MAX];
  for (int i = 0; i < batch->n_out; i++) token[i] = 100 + i;
  struct result result = {.n_out = batch->n_out, .token = token, .logprob = logprob};
  struct schedule_events events;
  schedule_done(s, &result, now_us, &events);
  return events;
}

/* In a world where time stands still, so that nothing is measured. */
static inline struct schedule_events step_finish(struct schedule *s, const struct batch *batch) {
  return step_finish_at(s, batch, 0);
}

static inline struct schedule_stats stats_of(const struct schedule *s) {
  struct schedule_stats stats;
  schedule_stats(s, &stats);
  return stats;
}

/* A batch's rows as text, "length+count" each, with "!" after those that have an output. */
static inline const char *trace_of(const struct batch *batch) {
  static char text[256];
  size_t size = 0;
  int out = 0;
  text[0] = '\0';
  for (int r = 0; batch && r < batch->n_row; r++) {
    const struct row *row = &batch->row[r];
    bool has_out = out < batch->n_out && batch->out[out] < row->first + row->count;
    size += (size_t)snprintf(text + size, sizeof text - size, "%s%d+%d%s", r ? " " : "", row->length, row->count,
                             has_out ? "!" : "");
    out += has_out;
  }
  return text;
}

/* Runs a step, whose finished sequences leave. Its trace is "" when there was nothing to do. */
static inline const char *step_run(struct schedule *s, uint64_t now_us) {
  const struct batch *batch = schedule_next(s, now_us);
  const char *trace = trace_of(batch);
  if (!batch) return trace;
  struct schedule_events events = step_finish_at(s, batch, now_us);
  for (int i = 0; i < events.n_event; i++) {
    struct sequence *q = events.event[i].sequence;
    if (q->n_token == q->n_prompt + q->max_tokens) assert_true(schedule_remove(s, q));
  }
  return trace;
}

/* Runs steps and compares their traces. */
static inline void traces_check(struct schedule *s, const char *const *expected, size_t count) {
  for (size_t i = 0; i < count; i++) assert_string_equal(step_run(s, 0), expected[i]);
}

#define TRACES(s, ...)                                                                                                 \
  traces_check(s, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

#endif
