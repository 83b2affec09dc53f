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

/* What is compiled of a tokenizer.json; borrows the blob, which is the caller's to release. */
static inline struct tokenizer *tokenizer_of(const char *json, struct buffer *blob) {
  struct error error = {0};
  buffer_init(blob, LIMIT_TOKENIZER_BYTES);
  if (!tokenizer_compile_json(slice_text(json), slice_text(""), blob, &error)) fail_msg("%s", error.text);
  struct tokenizer *tokenizer = tokenizer_open(buffer_slice(blob), &error);
  assert_non_null(tokenizer);
  return tokenizer;
}

/* The caller releases the list. */
static inline struct token_list encode_all(const struct tokenizer *tokenizer, struct slice text, unsigned flags) {
  struct token_list ids;
  struct error error = {0};
  token_list_init(&ids, 1 << 24);
  if (!tokenizer_encode(tokenizer, text, flags, &ids, &error)) fail_msg("%s", error.text);
  return ids;
}

/* Fails where the text of a row [text, ids, decoded] gives other ids; appends what they decode to. */
static inline void row_decode(const struct tokenizer *tokenizer, const json_t *row, unsigned flags, const char *name,
                              struct buffer *out) {
  struct slice text = json_slice(json_array_get(row, 0));
  const json_t *expected = json_array_get(row, 1), *id;
  struct token_list ids = encode_all(tokenizer, text, flags);
  size_t i;
  bool same = ids.count == json_array_size(expected);
  json_array_foreach(expected, i, id) { same = same && ids.ids[i] == json_integer_value(id); }
  if (!same) fail_msg("%s: '%.*s' gives other ids", name, SLICE_ARGS(text));
  assert_true(detokenize(tokenizer, ids.ids, ids.count, DETOKENIZE_START, out));
  token_list_release(&ids);
}

#endif
