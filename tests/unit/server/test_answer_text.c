/* The bytes of answers. */
#include "server/answer_text.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct answer_end end = {SPATE_FINISH_LENGTH, 3, 2};

static struct answer_part part_of(const char *text) { return (struct answer_part){.text = slice_text(text)}; }

static void assert_bytes(struct buffer *out, const char *expected) {
  assert_false(out->failed);
  assert_int_equal(out->size, strlen(expected));
  assert_memory_equal(out->data, expected, out->size);
  buffer_clear(out);
}

static void test_whole(void **state) {
  (void)state;
  struct buffer out;
  buffer_init(&out, 1024);
  struct answer_part part = part_of("a \"b\"\n\x1b\xff");
  answer_write_whole(&out, &part, &end);
  assert_bytes(&out, "{\"text\":\"a \\\"b\\\"\\n\\u001b\xEF\xBF\xBD\","
                     "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\"finish_reason\":\"length\"}");
  buffer_release(&out);
}

static void test_streams(void **state) {
  (void)state;
  struct buffer out;
  buffer_init(&out, 1024);
  struct answer_part part = part_of("a\r\n\nb");
  answer_write_piece(&out, ANSWER_SSE, &part, 1);
  assert_bytes(&out, "data: {\"text\":\"a\\r\\n\\nb\",\"finished\":false,\"generated_tokens\":1}\n\n");
  part = part_of("a\n");
  answer_write_piece(&out, ANSWER_NDJSON, &part, 1);
  assert_bytes(&out, "{\"text\":\"a\\n\",\"finished\":false,\"generated_tokens\":1}\n");
  part = part_of("");
  answer_write_last(&out, ANSWER_NDJSON, &part, &end);
  assert_bytes(&out, "{\"text\":\"\",\"finished\":true,\"generated_tokens\":2,"
                     "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\"finish_reason\":\"length\"}\n");
  answer_write_failure(&out, ANSWER_SSE, slice_text("Why."), 2);
  assert_bytes(&out, "data: {\"text\":\"\",\"finished\":true,\"generated_tokens\":2,\"error\":\"Why.\"}\n\n");
  buffer_release(&out);
}

static void test_logprobs(void **state) {
  (void)state;
  struct buffer out;
  struct answer_part part = {.text = slice_text("a"), .has_logprobs = true, .logprobs = slice_text("{\"id\":1}")};
  buffer_init(&out, 1024);
  answer_write_piece(&out, ANSWER_NDJSON, &part, 1);
  assert_bytes(&out, "{\"text\":\"a\",\"logprobs\":[{\"id\":1}],\"finished\":false,\"generated_tokens\":1}\n");
  part.logprobs = slice_text("");
  answer_write_whole(&out, &part, &end);
  assert_bytes(&out, "{\"text\":\"a\",\"logprobs\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},"
                     "\"finish_reason\":\"length\"}");
  buffer_release(&out);
}

static void test_no_room(void **state) {
  (void)state;
  struct buffer out;
  buffer_init(&out, 8);
  struct answer_part part = part_of("a");
  assert_false(answer_write_piece(&out, ANSWER_SSE, &part, 1));
  buffer_release(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole), cmocka_unit_test(test_streams),
                                     cmocka_unit_test(test_logprobs), cmocka_unit_test(test_no_room)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
