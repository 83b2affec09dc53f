/* What the tests of text share: fixtures compiled and opened, encoding that must not fail. */
#ifndef SPATE_TESTS_TEXT_SUPPORT_H
#define SPATE_TESTS_TEXT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

#include <stdio.h>

struct fixture {
  struct buffer blob;
  struct tokenizer *tokenizer;
};

static inline void fixture_open(struct fixture *fixture, const char *name) {
  char path[256];
  struct error error = {0};
  struct file file;
  snprintf(path, sizeof path, FIXTURES "/text/%s.tokenizer.json", name);
  buffer_init(&fixture->blob, LIMIT_TOKENIZER_BYTES);
  if (!file_open(&file, path, &error) ||
      !tokenizer_compile_json(slice_make(file.data, file.size), slice_text(""), &fixture->blob, &error) ||
      !(fixture->tokenizer = tokenizer_open(buffer_slice(&fixture->blob), &error)))
    fail_msg("%s: %s", path, error.text);
  file_close(&file);
}

static inline void fixture_close(struct fixture *fixture) {
  tokenizer_close(fixture->tokenizer);
  buffer_release(&fixture->blob);
}

/* The caller releases the list. */
static inline struct token_list encode_all(const struct tokenizer *tokenizer, struct slice text, unsigned flags) {
  struct token_list ids;
  struct error error = {0};
  token_list_init(&ids, 1 << 24);
  if (!tokenizer_encode(tokenizer, text, flags, &ids, &error)) fail_msg("%s", error.text);
  return ids;
}

#endif
