/* traceparent as W3C Trace Context has it: the examples of its text, and what is none. */
#include "server/trace_context.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define TRACE  "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static void test_valid(void **state) {
  static const struct {
    const char *header;
    bool sampled;
  } rows[] = {
      {"00-" TRACE "-" PARENT "-01", true},
      {"00-" TRACE "-" PARENT "-00", false},
      {"00-" TRACE "-" PARENT "-ff", true}, /* flags that are not known yet */
      {"00-" TRACE "-" PARENT "-02", false},
      {"cc-" TRACE "-" PARENT "-01", true}, /* a later version … */
      {"cc-" TRACE "-" PARENT "-01-what-the-future-will-be-like", true},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct trace_context context;
    assert_true(trace_context_read(slice_text(rows[i].header), &context));
    assert_int_equal(context.sampled, rows[i].sampled);
    assert_int_equal(context.trace[0], 0x4b);
    assert_int_equal(context.trace[TRACE_ID_BYTES - 1], 0x36);
    assert_int_equal(context.parent[1], 0xf0);
    assert_int_equal(context.parent[SPAN_ID_BYTES - 1], 0xb7);
  }
}

static void test_none(void **state) {
  static const char *const rows[] = {
      "",
      "00",
      "00-" TRACE "-" PARENT "-0",       /* short */
      "00-" TRACE "-" PARENT "-01 ",     /* long */
      "00-" TRACE "-" PARENT "-01-more", /* version 00 has nothing more */
      "cc-" TRACE "-" PARENT "-01.more", /* no dash */
      "ff-" TRACE "-" PARENT "-01",      /* no version */
      "0x-" TRACE "-" PARENT "-01",
      "00-00000000000000000000000000000000-" PARENT "-01", /* no trace */
      "00-" TRACE "-0000000000000000-01",                  /* no parent */
      "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01", /* upper case */
      "00-" TRACE "-00f067aa0ba902bg-01",
      "00_" TRACE "-" PARENT "-01",
      "00-" TRACE "_" PARENT "-01",
      "00-" TRACE "-" PARENT "_01",
      "00-" TRACE "-" PARENT "-0g",
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct trace_context context = {.sampled = true, .trace = {7}};
    assert_false(trace_context_read(slice_text(rows[i]), &context));
    assert_int_equal(context.trace[0], 7); /* nothing was written */
  }
  assert_false(trace_context_read((struct slice){NULL, 0}, &(struct trace_context){0}));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_valid), cmocka_unit_test(test_none)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
