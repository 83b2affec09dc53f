/* The bytes of answers, in the form of each route. */
#include "server/answer.h"
#include "server/chat_parts.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static atomic_size_t kept_by_all;

/* An answer of some choices that have waiting text, the last of it when ended. */
static struct answer *answer_make(const struct answer_form *form, int n_choice, const char *const *text, bool ended) {
  struct answer *answer = answer_new(form, 1, n_choice, &kept_by_all);
  answer->facts = (struct answer_facts){.model = "m \"1\"", .id = "id-1", .created = 12, .n = 1};
  for (int i = 0; i < n_choice; i++) {
    struct choice *choice = &answer->choice[i];
    assert_true(answer_keep(choice, &choice->text, text[i], strlen(text[i])));
    choice->ended = ended;
    choice->finish = i == 0 ? SPATE_FINISH_LENGTH : SPATE_FINISH_STOP;
    choice->prompt_tokens = 3, choice->generated_tokens = 2, choice->cached_tokens = i;
  }
  return answer;
}

/* What a form writes of it is this; the answer is freed. */
static void whole_check(struct answer *answer, const char *expected) {
  struct buffer out;
  buffer_init(&out, 4096);
  answer->form->whole(&out, answer);
  assert_false(out.failed);
  buffer_append(&out, "", 1);
  assert_string_equal(out.data, expected);
  buffer_release(&out);
  answer_free(answer);
}

static void piece_check(struct answer *answer, int index, const char *expected) {
  struct buffer out;
  buffer_init(&out, 4096);
  answer->form->piece(&out, &answer->choice[index]);
  assert_false(out.failed);
  buffer_append(&out, "", 1);
  assert_string_equal(out.data, expected);
  buffer_release(&out);
}

static void end_check(struct answer *answer, bool fails, const char *expected) {
  struct buffer out;
  buffer_init(&out, 4096);
  if (fails)
    answer->form->failure(&out, answer, SPATE_DEVICE, slice_text("Why."));
  else
    answer->form->close(&out, answer);
  buffer_append(&out, "", 1);
  assert_string_equal(out.data, expected);
  buffer_release(&out);
}

#define ONE(text) ((const char *const[]){text})
#define USAGE     "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":0}}"

static void test_generate(void **state) {
  (void)state;
  whole_check(answer_make(&generate_whole, 1, ONE("a \"b\"\n\x1b\xff"), true),
              "{\"text\":\"a \\\"b\\\"\\n\\u001b\xEF\xBF\xBD\"," USAGE
              ",\"finish_reason\":\"length\",\"stop_reason\":null}");
  struct answer *answer = answer_make(&generate_sse, 1, ONE("a\r\n\nb"), false);
  piece_check(answer, 0, "data: {\"text\":\"a\\r\\n\\nb\",\"finished\":false,\"generated_tokens\":2}\n\n");
  end_check(answer, true, "data: {\"text\":\"\",\"finished\":true,\"generated_tokens\":2,\"error\":\"Why.\"}\n\n");
  answer_free(answer);
  answer = answer_make(&generate_ndjson, 1, ONE("a\n"), false);
  piece_check(answer, 0, "{\"text\":\"a\\n\",\"finished\":false,\"generated_tokens\":2}\n");
  answer->choice[0].ended = true;
  buffer_clear(&answer->choice[0].text);
  piece_check(answer, 0,
              "{\"text\":\"\",\"finished\":true,\"generated_tokens\":2," USAGE
              ",\"finish_reason\":\"length\",\"stop_reason\":null}\n");
  end_check(answer, true, "{\"text\":\"\",\"finished\":true,\"generated_tokens\":2,\"error\":\"Why.\"}\n");
  answer_free(answer);
}

#define HEAD(object)                                                                                                   \
  "{\"id\":\"id-1\",\"object\":\"" object "\",\"created\":12,\"model\":\"m "                                           \
  "\\\"1\\\"\",\"system_fingerprint\":\"spate-"
#define VERSION SPATE_VERSION "\""

static void test_completion(void **state) {
  (void)state;
  whole_check(answer_make(&completion_whole, 2, (const char *const[]){"a", "b"}, true), HEAD("text_completion") VERSION
              ",\"choices\":[{\"index\":0,\"text\":\"a\",\"logprobs\":null,"
              "\"finish_reason\":\"length\",\"stop_reason\":null},{\"index\":1,\"text\":\"b\","
              "\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null}],\"usage\":{"
              "\"prompt_tokens\":6,\"completion_tokens\":4,\"total_tokens\":10,"
              "\"prompt_tokens_details\":{\"cached_tokens\":1}}}");
  struct answer *answer = answer_make(&completion_stream, 1, ONE("a"), false);
  piece_check(answer, 0,
              "data: " HEAD("text_completion") VERSION ",\"choices\":[{\"index\":0,\"text\":\"a\",\"logprobs\":null,"
                                                       "\"finish_reason\":null}]}\n\n");
  end_check(answer, false, "data: [DONE]\n\n");
  end_check(answer, true,
            "data: {\"error\":{\"message\":\"Why.\",\"type\":\"ServiceUnavailableError\",\"param\":null,"
            "\"code\":503}}\n\ndata: [DONE]\n\n");
  answer_free(answer);
}

static void test_chat(void **state) {
  (void)state;
  whole_check(answer_make(&chat_whole, 1, ONE("a"), true), HEAD("chat.completion") VERSION
              ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
              "\"content\":\"a\",\"refusal\":null},\"logprobs\":null,"
              "\"finish_reason\":\"length\",\"stop_reason\":null}],\"usage\":{\"prompt_tokens\":3,"
              "\"completion_tokens\":2,\"total_tokens\":5,"
              "\"prompt_tokens_details\":{\"cached_tokens\":0}}}");
  struct answer *answer = answer_make(&chat_stream, 1, ONE("a"), false);
  answer->facts.include_usage = true;
  piece_check(answer, 0,
              "data: " HEAD("chat.completion.chunk") VERSION
              ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"},"
              "\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n");
  answer->choice[0].begun = answer->choice[0].ended = true;
  piece_check(answer, 0,
              "data: " HEAD("chat.completion.chunk") VERSION
              ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":null,"
              "\"finish_reason\":\"length\",\"stop_reason\":null}],\"usage\":null}\n\n");
  end_check(answer, false,
            "data: " HEAD("chat.completion.chunk") VERSION
            ",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,"
            "\"total_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":0}}}\n\ndata: [DONE]\n\n");
  answer_free(answer);
}

/* Of thoughts, a text and two calls. */
static const char apart[] =
    "<think>So.</think>Yes.<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"\\\"\"}}</tool_call>"
    "<tool_call>{\"name\": \"g\"}</tool_call>";

static struct answer *apart_make(const struct answer_form *form, bool one_call, bool no_thought) {
  struct answer *answer = answer_new(form, 1, 1, &kept_by_all);
  spate_event event = {.kind = SPATE_DONE, .text = apart, .text_size = sizeof apart - 1};
  memset(event.prompt_end, 0xff, sizeof event.prompt_end);
  answer->facts = (struct answer_facts){.model = "m \"1\"",
                                        .id = "id-1",
                                        .created = 12,
                                        .n = 1,
                                        .dialect = answer_dialect_of(slice_text("</think><tool_call>")),
                                        .takes_apart = true,
                                        .tools = json_pack("[{}]"),
                                        .one_call = one_call,
                                        .no_thought = no_thought};
  answer->choice[0].ended = true;
  answer->choice[0].finish = SPATE_FINISH_STOP;
  assert_true(chat_parts_keep(&answer->choice[0], &event));
  return answer;
}

#define REASONING "\"reasoning\":\"So.\",\"reasoning_content\":\"So.\","
#define CALL(index, id, name, arguments)                                                                               \
  "{" index "\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"arguments\":\"" arguments   \
  "\"}}"
#define CALL_F(index)  CALL(index, "TdDSDOiyl", "f", "{\\\"a\\\": \\\"\\\\\\\"\\\"}")
#define CALL_G(index)  CALL(index, "zG48OZhJh", "g", "{}")
#define CALLS_FINISHED ",\"logprobs\":null,\"finish_reason\":\"tool_calls\",\"stop_reason\":null}]"
#define MESSAGE        ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Yes.\","
#define NO_USAGE                                                                                                       \
  ",\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0,\"prompt_tokens_details\":{"             \
  "\"cached_tokens\":0}}}"

static void test_chat_apart(void **state) {
  (void)state;
  whole_check(apart_make(&chat_whole, false, false), HEAD("chat.completion") VERSION MESSAGE REASONING
              "\"tool_calls\":[" CALL_F("") "," CALL_G("") "],\"refusal\":null}" CALLS_FINISHED NO_USAGE);
  whole_check(apart_make(&chat_whole, true, true), HEAD("chat.completion") VERSION MESSAGE
              "\"tool_calls\":[" CALL_F("") "],\"refusal\":null}" CALLS_FINISHED NO_USAGE);
  struct answer *answer = apart_make(&chat_stream, false, false);
  answer->choice[0].begun = true;
  piece_check(answer, 0,
              "data: " HEAD("chat.completion.chunk") VERSION
              ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Yes.\"," REASONING
              "\"tool_calls\":[" CALL_F("\"index\":0,") "," CALL_G("\"index\":1,") "]}" CALLS_FINISHED "}\n\n");
  answer_free(answer);
  assert_int_equal(atomic_load(&kept_by_all), 0);
}

/* What ended a choice: a string of the list or the only one, a token, or neither. */
static void test_stop_reason(void **state) {
  (void)state;
  static const struct {
    const char *stop;
    spate_finish finish;
    int stop_string, stop_token;
    const char *expected;
  } cases[] = {
      {"[\"a\",\"b\\n\"]", SPATE_FINISH_STOP, 1, -1, ",\"stop_reason\":\"b\\n\""},
      {"\"a\"", SPATE_FINISH_STOP, 0, -1, ",\"stop_reason\":\"a\""},
      {"\"a\"", SPATE_FINISH_STOP, -1, 7, ",\"stop_reason\":7"},
      {"null", SPATE_FINISH_STOP, -1, 0, ",\"stop_reason\":0"},
      {"\"a\"", SPATE_FINISH_STOP, -1, -1, ",\"stop_reason\":null"},
      {"\"a\"", SPATE_FINISH_LENGTH, 0, -1, ",\"stop_reason\":null"}, /* complete in the bytes held back at the end */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct answer *answer = answer_make(&generate_whole, 1, ONE("x"), true);
    answer->facts.stop = json_loads(cases[i].stop, JSON_DECODE_ANY, NULL);
    answer->choice[0].finish = cases[i].finish;
    answer->choice[0].stop_string = cases[i].stop_string;
    answer->choice[0].stop_token = cases[i].stop_token;
    struct buffer out;
    buffer_init(&out, 4096);
    answer_write_stop_reason(&out, &answer->choice[0]);
    buffer_append(&out, "", 1);
    assert_string_equal(out.data, cases[i].expected);
    buffer_release(&out);
    answer_free(answer);
  }
}

/* A full buffer is marked, so that the answer is refused. */
static void test_no_room(void **state) {
  (void)state;
  struct answer *answer = answer_make(&chat_stream, 1, ONE("a"), false);
  struct buffer out;
  buffer_init(&out, 8);
  answer->form->piece(&out, &answer->choice[0]);
  assert_true(out.failed);
  buffer_release(&out);
  answer_free(answer);
}

/* What waits for all clients is bounded, and what was sent or given up no longer counts. A stream whose client is slow
 * asks for nothing of its request. */
static void test_room_of_all(void **state) {
  (void)state;
  static const char text[] = "0123456789";
  spate_event event = {.kind = SPATE_TEXT, .text = text, .text_size = 10};
  struct answer *one = answer_make(&chat_stream, 1, ONE("a"), false);
  struct answer *two = answer_make(&chat_stream, 1, ONE("b"), false);
  one->stopped = two->stopped = true;
  assert_int_equal(answer_take(&one->choice[0], NULL, &event), ANSWER_GOES_ON);
  assert_int_equal(atomic_load(&kept_by_all), 12);
  const size_t others = LIMIT_ANSWERS_BYTES - 12 - 10;
  atomic_fetch_add(&kept_by_all, others);
  assert_int_equal(answer_take(&two->choice[0], NULL, &event), ANSWER_GOES_ON);
  assert_int_equal(answer_take(&one->choice[0], NULL, &event), ANSWER_TOO_SLOW);
  answer_free(one);
  assert_int_equal(answer_take(&two->choice[0], NULL, &event), ANSWER_GOES_ON);
  answer_free(two);
  assert_int_equal(atomic_load(&kept_by_all), others);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_generate),    cmocka_unit_test(test_completion),
                                     cmocka_unit_test(test_chat),        cmocka_unit_test(test_chat_apart),
                                     cmocka_unit_test(test_stop_reason), cmocka_unit_test(test_no_room),
                                     cmocka_unit_test(test_room_of_all)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
