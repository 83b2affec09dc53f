/* Answers taken apart: what templates of public models make of thoughts and calls is read back, in one piece, in any
 * two pieces and byte by byte; broken calls are text. */
#include "server/answer_parts.h"

#include "base/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct heard {
  struct buffer text[2]; /* content, thought */
  json_t *calls;
};

static bool text_hear(void *user, enum answer_part part, struct slice text) {
  struct heard *heard = user;
  assert_true(part == PART_CONTENT || part == PART_THOUGHT);
  return buffer_append(&heard->text[part == PART_THOUGHT], text.data, text.size);
}

/* Arguments as they are, but for texts that jansson has no value for. */
static bool call_hear(void *user, struct slice name, struct slice arguments) {
  struct heard *heard = user;
  json_t *object = json_loadb((const char *)arguments.data, arguments.size, JSON_ALLOW_NUL, NULL);
  if (!object) object = json_stringn((const char *)arguments.data, arguments.size);
  json_t *call = json_pack("{s:s%,s:o}", "name", name.data, name.size, "arguments", object);
  return json_array_append_new(heard->calls, call) == 0;
}

static json_t *file_read(void) {
  struct error error;
  json_t *file = json_read(FIXTURES "/text/calls.json", 1 << 20, &error);
  if (!file) fail_msg("%s", error.text);
  return file;
}

static struct answer_dialect dialect_of(const json_t *signs) {
  struct buffer template;
  buffer_init(&template, 4096);
  for (size_t i = 0; i < json_array_size(signs); i++) {
    struct slice sign = json_slice(json_array_get(signs, i));
    buffer_append(&template, sign.data, sign.size);
    buffer_text(&template, "\n");
  }
  struct answer_dialect dialect = answer_dialect_of(buffer_slice(&template));
  buffer_release(&template);
  return dialect;
}

/* Pieces end at these places. */
static void take_apart(const json_t *one, const json_t *tools, const size_t *ends, int n_end, struct heard *heard) {
  struct answer_parts parts;
  struct slice text = json_slice(json_object_get(one, "text"));
  const json_t *with = json_object_get(one, "tools");
  answer_parts_init(&parts, dialect_of(json_object_get(one, "signs")), json_is_false(with) ? NULL : tools,
                    json_slice(json_object_get(one, "prompt_end")),
                    (struct part_sink){.text = text_hear, .call = call_hear, .user = heard});
  buffer_init(&heard->text[0], 1 << 20);
  buffer_init(&heard->text[1], 1 << 20);
  heard->calls = json_array();
  size_t at = 0;
  for (int i = 0; i <= n_end; i++) {
    size_t end = i < n_end ? ends[i] : text.size;
    assert_true(answer_parts_take(&parts, slice_make(text.data + at, end - at)));
    at = end;
  }
  assert_true(answer_parts_end(&parts));
  answer_parts_release(&parts);
}

static bool text_is(const struct buffer *text, const json_t *expected) {
  return slice_equal(buffer_slice(text), json_slice(expected));
}

static void case_check(const json_t *one, const json_t *tools, const size_t *ends, int n_end) {
  struct heard heard;
  take_apart(one, tools, ends, n_end, &heard);
  bool same = text_is(&heard.text[0], json_object_get(one, "content")) &&
              text_is(&heard.text[1], json_object_get(one, "thought")) &&
              json_equal(heard.calls, json_object_get(one, "calls"));
  if (!same)
    fail_msg("%s: %s\nin %d pieces (%zu): content \"%.*s\", thought \"%.*s\", calls %s, expected %s",
             json_string_value(json_object_get(one, "of")), json_string_value(json_object_get(one, "text")), n_end + 1,
             n_end ? ends[0] : 0, SLICE_ARGS(buffer_slice(&heard.text[0])), SLICE_ARGS(buffer_slice(&heard.text[1])),
             json_dumps(heard.calls, 0), json_dumps(one, 0));
  buffer_release(&heard.text[0]);
  buffer_release(&heard.text[1]);
  json_decref(heard.calls);
}

static void test_cases(void **state) {
  (void)state;
  json_t *file = file_read();
  const json_t *cases = json_object_get(file, "cases"), *tools = json_object_get(file, "tools");
  assert_true(json_array_size(cases) > 60);
  for (size_t i = 0; i < json_array_size(cases); i++) {
    const json_t *one = json_array_get(cases, i);
    size_t size = json_string_length(json_object_get(one, "text")), all[2048];
    assert_true(size < sizeof all / sizeof *all);
    case_check(one, tools, NULL, 0);
    for (size_t end = 1; end < size; end++) {
      case_check(one, tools, &end, 1);
      all[end - 1] = end;
    }
    if (size > 0) case_check(one, tools, all, (int)size - 1);
  }
  json_decref(file);
}

/* An argument that looks like another form's call is none: the list has the one call alone. */
static void test_call_in_argument(void **state) {
  (void)state;
  json_t *file = file_read();
  json_t *one = json_pack("{s:s,s:[s],s:s,s:s,s:s,s:[{s:s,s:{s:s}}]}", "of", "GLM-4.5", "signs", "<tool_call>", "text",
                          "<tool_call>add-up\n<arg_key>note</arg_key>\n<arg_value>[ARGS]{}</arg_value>\n</tool_call>",
                          "content", "", "thought", "", "calls", "name", "add-up", "arguments", "note", "[ARGS]{}");
  assert_non_null(one);
  case_check(one, json_object_get(file, "tools"), NULL, 0);
  json_decref(one);
  json_decref(file);
}

static bool raw_hear(void *user, struct slice name, struct slice arguments) {
  buffer_append(user, name.data, name.size);
  return buffer_append(user, arguments.data, arguments.size);
}

static bool text_refuse(void *user, enum answer_part part, struct slice text) {
  (void)user, (void)part;
  fail_msg("\"%.*s\" is no part of a call", SLICE_ARGS(text));
  return false;
}

/* A client has the bytes of arguments that the model wrote. */
static void test_as_written(void **state) {
  (void)state;
  static const char *const texts[][3] = {
      {"<tool_call>",
       "<tool_call>{\"name\": \"f\", \"arguments\":  {\"a\":1.50,\n \"a\": -0e+9999, \"b\": \"\\/\\u00e9\"} }",
       "f{\"a\":1.50,\n \"a\": -0e+9999, \"b\": \"\\/\\u00e9\"}"},
      {"[TOOL_CALLS]", "[TOOL_CALLS]f[ARGS] {\"n\":18446744073709551616} ", "f{\"n\":18446744073709551616}"},
      {"<tool_call>", "<tool_call>f\n<arg_key>n</arg_key><arg_value> 1e999 </arg_value></tool_call>",
       "f{\"n\": 1e999}"},
      {"[func_name1(", "[f(n=123_456_789_012_345_678_901, s='\\x00\"')]",
       "f{\"n\": 123456789012345678901, \"s\": \"\\u0000\\\"\"}"},
      {"<|channel|>", "<|channel|>commentary to=functions.f<|message|>{ }", "f{ }"},
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct answer_parts parts;
    struct buffer heard;
    json_t *tools = json_pack("[{s:s,s:{s:s}}]", "type", "function", "function", "name", "f");
    buffer_init(&heard, 4096);
    answer_parts_init(&parts, answer_dialect_of(slice_text(texts[i][0])), tools, slice_text(""),
                      (struct part_sink){.text = text_refuse, .call = raw_hear, .user = &heard});
    assert_true(answer_parts_take(&parts, slice_text(texts[i][1])) && answer_parts_end(&parts));
    if (!slice_is(buffer_slice(&heard), texts[i][2]))
      fail_msg("%s: \"%.*s\"", texts[i][1], SLICE_ARGS(buffer_slice(&heard)));
    answer_parts_release(&parts);
    buffer_release(&heard);
    json_decref(tools);
  }
}

/* A call that has no end does not take more memory than calls may: it is text. */
static void test_endless(void **state) {
  (void)state;
  struct heard heard = {.calls = json_array()};
  struct answer_parts parts;
  char piece[4096];
  json_t *tools = json_pack("[{s:s,s:{s:s}}]", "type", "function", "function", "name", "f");
  buffer_init(&heard.text[0], 4 << 20);
  answer_parts_init(&parts, answer_dialect_of(slice_text("<tool_call>")), tools, slice_text(""),
                    (struct part_sink){.text = text_hear, .call = call_hear, .user = &heard});
  memset(piece, 'a', sizeof piece);
  assert_true(answer_parts_take(&parts, slice_text("<tool_call>{\"name\": \"")));
  size_t sent = 21;
  for (; sent < (2 << 20); sent += sizeof piece) {
    assert_true(answer_parts_take(&parts, slice_make(piece, sizeof piece)));
    assert_true(parts.held.size <= LIMIT_TOOL_CALL_BYTES);
  }
  assert_true(answer_parts_end(&parts));
  assert_int_equal(heard.text[0].size, sent);
  assert_int_equal(json_array_size(heard.calls), 0);
  answer_parts_release(&parts);
  buffer_release(&heard.text[0]);
  json_decref(heard.calls);
  json_decref(tools);
}

/* What the limit makes text does not depend on the pieces, and nothing is lost. */
static void limit_check(const char *sign, const char *begin, char filling, size_t piece) {
  struct heard heard = {.calls = json_array()};
  struct answer_parts parts;
  size_t size = strlen(begin) + 2 * LIMIT_TOOL_CALL_BYTES;
  json_t *tools = json_pack("[{s:s,s:{s:s}}]", "type", "function", "function", "name", "f");
  char *text = malloc(size);
  assert_non_null(text);
  memset(text, filling, size);
  memcpy(text, begin, strlen(begin));
  buffer_init(&heard.text[0], 2 * size);
  answer_parts_init(&parts, answer_dialect_of(slice_text(sign)), tools, slice_text(""),
                    (struct part_sink){.text = text_hear, .call = call_hear, .user = &heard});
  for (size_t at = 0; at < size; at += piece)
    assert_true(answer_parts_take(&parts, slice_make(text + at, size - at < piece ? size - at : piece)));
  assert_true(answer_parts_end(&parts));
  assert_true(slice_equal(buffer_slice(&heard.text[0]), slice_make(text, size)));
  assert_int_equal(json_array_size(heard.calls), 0);
  answer_parts_release(&parts);
  buffer_release(&heard.text[0]);
  json_decref(heard.calls);
  json_decref(tools);
  free(text);
}

static void test_limit(void **state) {
  (void)state;
  static const size_t pieces[] = {1000, 4096, 3 * LIMIT_TOOL_CALL_BYTES};
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
    limit_check("<tool_call>", "<tool_call>{\"name\": \"", 'a', pieces[i]);
    limit_check("<tool_call>", "<tool_call>", ' ', pieces[i]);
    limit_check("<|channel|>", "no header", 'a', pieces[i]);
    limit_check("[func_name1(", "[", 'a', pieces[i]);
  }
}

static bool text_count(void *user, enum answer_part part, struct slice text) {
  assert_int_equal(part, PART_CONTENT);
  return buffer_append(&((struct heard *)user)->text[0], text.data, text.size);
}

/* What an answer has more of than may be called is text: each is read once, and not with all that follows it. */
static void many_check(const char *sign, const char *call) {
  struct heard heard = {.calls = json_array()};
  struct answer_parts parts;
  json_t *tools = json_pack("[{s:s,s:{s:s}}]", "type", "function", "function", "name", "f");
  buffer_init(&heard.text[0], 1 << 20);
  answer_parts_init(&parts, answer_dialect_of(slice_text(sign)), tools, slice_text(""),
                    (struct part_sink){.text = text_count, .call = call_hear, .user = &heard});
  for (int i = 0; i < 3 * LIMIT_TOOL_CALLS; i++) assert_true(answer_parts_take(&parts, slice_text(call)));
  assert_true(answer_parts_end(&parts));
  assert_int_equal(json_array_size(heard.calls), LIMIT_TOOL_CALLS);
  assert_int_equal(heard.text[0].size, 2 * LIMIT_TOOL_CALLS * strlen(call));
  answer_parts_release(&parts);
  buffer_release(&heard.text[0]);
  json_decref(heard.calls);
  json_decref(tools);
}

static void test_many(void **state) {
  (void)state;
  many_check("<tool_call>", "<tool_call>{\"name\": \"f\"}</tool_call>");
  many_check("[func_name1(", "[f()]");
  many_check("<|channel|>", "<|channel|>commentary to=functions.f<|message|>{}<|call|>");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),      cmocka_unit_test(test_call_in_argument),
                                     cmocka_unit_test(test_as_written), cmocka_unit_test(test_endless),
                                     cmocka_unit_test(test_limit),      cmocka_unit_test(test_many)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
