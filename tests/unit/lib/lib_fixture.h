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

static inline void engine_make(const char *model, int max_batch_size, int max_num_tokens) {
  spate_error error = {0};
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = model;
  build.output = engine_path;
  build.max_batch_size = max_batch_size;
  build.max_num_tokens = max_num_tokens;
  if (!spate_build(&build, &error)) fail_msg("%s", error.text);
}

static inline spate_engine *engine_start(int threads) {
  spate_error error = {0};
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = engine_path;
  open.threads = threads;
  spate_engine *engine = spate_open(&open, &error);
  if (!engine) fail_msg("%s", error.text);
  return engine;
}

#endif
