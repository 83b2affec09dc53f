/* A runtime on the tiny fixture's engine, built into a temporary folder. The byte-level vocabulary makes a token's id
 * its ASCII code. */
#ifndef SPATE_TESTS_RUNTIME_FIXTURE_H
#define SPATE_TESTS_RUNTIME_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/backends.h"
#include "build/build.h"
#include "runtime/runtime.h"

enum { TINY_SEATS = 4, TINY_TOKENS = 8, TINY_LENGTH = 64, TINY_QUEUE = 60, TINY_END = 259 };

struct fixture {
  char folder[64], path[96];
  struct loaded_engine *engine;
  struct tokenizer *tokenizer;
  struct runtime *runtime;
  int64_t max_queue_tokens; /* 0: any number */
  const char *model;        /* NULL: the tiny one */
  const char *adapters;     /* a folder of them, for one slot; NULL: none */
};

/* Without a runtime yet, so that a test may change limits. */
static void fixture_open(struct fixture *f, const struct backend *backend) {
  struct error error;
  snprintf(f->folder, sizeof f->folder, "/tmp/spate-test-XXXXXX");
  assert_non_null(mkdtemp(f->folder));
  snprintf(f->path, sizeof f->path, "%s/tiny.spate", f->folder);
  struct build_options build = {.model = f->model ? f->model : FIXTURES "/build/tiny.gguf",
                                .output = f->path,
                                .backend = &backend_cpu,
                                .n_thread = 1,
                                .config = {.max_batch_size = TINY_SEATS, .max_num_tokens = TINY_TOKENS}};
  if (!build_engine(&build, &error)) fail_msg("%s", error.text);
  struct engine_options options = {.backend = backend, .device.n_thread = 2};
  if (f->adapters) options.adapters = 1, options.adapter_rank = 16;
  f->engine = engine_open(f->path, &options, &error);
  if (!f->engine) fail_msg("%s", error.text);
  f->tokenizer = tokenizer_open(f->engine->file.tokenizer, &error);
  if (!f->tokenizer) fail_msg("%s", error.text);
}

static inline void fixture_start(struct fixture *f) {
  struct error error;
  struct runtime_options options = {.engine = f->engine,
                                    .tokenizer = f->tokenizer,
                                    .max_queue = TINY_QUEUE,
                                    .adapter_folder = f->adapters,
                                    .adapters_held = 4,
                                    .adapter_bytes = UINT64_MAX,
                                    .max_queue_tokens = f->max_queue_tokens ? f->max_queue_tokens : INT64_MAX};
  f->runtime = runtime_new(&options, &error);
  if (!f->runtime) fail_msg("%s", error.text);
}

static void fixture_close(struct fixture *f) {
  runtime_free(f->runtime);
  tokenizer_close(f->tokenizer);
  engine_close(f->engine);
  unlink(f->path);
  assert_int_equal(rmdir(f->folder), 0);
}

static struct request_params params_make(const char *prompt, int max_tokens) {
  return (struct request_params){.prompt = slice_text(prompt),
                                 .n_answer = 1,
                                 .max_tokens = max_tokens,
                                 .sampling = {.temperature = 0, .top_p = 1}};
}

static struct inbox *inbox_make(struct fixture *f) {
  struct error error;
  struct inbox *inbox = runtime_inbox(f->runtime, &error);
  if (!inbox) fail_msg("%s", error.text);
  return inbox;
}

static uint64_t submit(struct fixture *f, struct inbox *inbox, const struct request_params *params) {
  struct error error;
  uint64_t id = runtime_submit(f->runtime, inbox, params, &error);
  if (!id) fail_msg("%s", error.text);
  return id;
}

static inline bool metric_shows(struct fixture *f, const char *line) {
  struct buffer page;
  buffer_init(&page, 1 << 20);
  assert_true(runtime_metrics(f->runtime, &page) && buffer_append(&page, "", 1));
  bool shows = strstr(page.data, line) != NULL;
  buffer_release(&page);
  return shows;
}

static inline void metric_check(struct fixture *f, const char *line) {
  if (!metric_shows(f, line)) fail_msg("the metrics have no line %s", line);
}

#endif
