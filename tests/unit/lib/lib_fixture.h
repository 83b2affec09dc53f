/* Engines through spate.h, in a temporary folder. */
#ifndef SPATE_TESTS_LIB_FIXTURE_H
#define SPATE_TESTS_LIB_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "spate.h"

static const char tiny_model[] = FIXTURES "/build/tiny.gguf";

static char engine_path[] = "/tmp/spate-lib-XXXXXX";

static void engine_path_make(void) {
  int descriptor = mkstemp(engine_path);
  if (descriptor < 0) abort();
  close(descriptor);
}

/* SPATE_TEST_BACKEND: late, when ctest runs the suite unit_late; cuda, by hand where there is a GPU, for engines of its
 * layout. */
static inline const char *engine_target(void) {
  const char *backend = getenv("SPATE_TEST_BACKEND");
  return backend && strcmp(backend, "cuda") == 0 ? backend : NULL;
}

static inline void engine_make(const char *model, int max_batch_size, int max_num_tokens) {
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = model;
  build.output = engine_path;
  build.target = engine_target();
  build.max_batch_size = max_batch_size;
  build.max_num_tokens = max_num_tokens;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
}

static const char *engine_kv_dtype; /* of engines that are started; NULL: the default */
static int64_t engine_queue_tokens; /* 0: the default */

static inline spate_engine *engine_start(int threads) {
  spate_error error = {0};
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = engine_path;
  open.threads = threads;
  open.backend = getenv("SPATE_TEST_BACKEND");
  open.kv_cache_dtype = engine_kv_dtype;
  open.max_queue_tokens = engine_queue_tokens;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s", error.text);
  return engine;
}

/* Runs a table of tests on the tiny model, then on $SPATE_TEST_MODEL where there is one; `model` says which. Under a
 * sanitizer the second would take minutes. */
static inline int models_run(const struct CMUnitTest *tests, size_t count, const char **model) {
  engine_path_make();
  *model = tiny_model;
  int failed = _cmocka_run_group_tests("tiny fixture", tests, count, NULL, NULL);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  *model = getenv("SPATE_TEST_MODEL");
  if (*model) failed += _cmocka_run_group_tests("SPATE_TEST_MODEL", tests, count, NULL, NULL);
#endif
  unlink(engine_path);
  return failed;
}

#endif
