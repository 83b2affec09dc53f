/* A plan's block with each of its 4-byte words replaced by extreme values: never a crash, a sentence for each refusal,
 * and what is accepted is looked at. Returns how many were refused. */
#ifndef SPATE_TESTS_PLAN_TAMPER_H
#define SPATE_TESTS_PLAN_TAMPER_H

#include "plan/plan_builder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int plan_tampered(struct slice block, void (*accepted)(const struct plan *plan)) {
  static const int32_t values[] = {-1, 0, 1, 1 << 16, 1 << 20, INT32_MAX, INT32_MIN};
  int refused = 0;
  for (size_t at = 0; at + 4 <= block.size; at += 4)
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
      char *copy = malloc(block.size); /* exact size, so that a sanitizer sees a read past the end */
      struct error error = {0};
      memcpy(copy, block.data, block.size);
      memcpy(copy + at, &values[v], 4);
      if (!plan_check(slice_make(copy, block.size), &error)) {
        assert_true(error.code != ERROR_NONE && error.text[0]);
        refused++;
      } else if (accepted) {
        accepted((const void *)copy);
      }
      free(copy);
    }
  return refused;
}

#endif
