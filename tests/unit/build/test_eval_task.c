/* Tasks from JSON lines: their prompts, the lines that are refused, and answers that match (tests/fixtures/eval, whose
 * expected values lm-evaluation-harness made: tools/make_eval_fixture.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/limits.h"
#include "build/answer_match.h"
#include "build/eval_task.h"

static char path[] = "/tmp/spate-task-XXXXXX";

static void file_fill(const char *text, size_t size) {
  FILE *file = fopen(path, "wb");
  assert_true(file && fwrite(text, 1, size, file) == size && fclose(file) == 0);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

#define LAYOUTS                                                                                                        \
  "The line has no layout that is known: MMLU's (\"question\", \"choices\", \"answer\"), ARC's (\"question\", "        \
  "\"choices\" of \"text\" and \"label\", \"answerKey\") or GSM8K's (\"question\", \"answer\")."
#define CHOICES(n) "The choices are " n " values, expected 2 to 26 texts that are not empty."
#define INDEX      "The \"answer\" is not one of the 2 choices; expected 0 to 1, or A to B."
#define NUMBER     "The \"answer\" does not end in \"#### \" and a number, as those of GSM8K do."

static const struct {
  const char *text, *sentence; /* after "PATH, " */
} refused[] = {
    {"[]", "line 1: " LAYOUTS},
    {"{}", "line 1: " LAYOUTS},
    {"{\"question\":1,\"choices\":[\"a\",\"b\"],\"answer\":0}", "line 1: " LAYOUTS},
    {"{\"question\":\"q\",\"answer\":7}", "line 1: " LAYOUTS},
    {"{\"question\":\"q\",\"choices\":\"ab\",\"answer\":\"#### 1\"}", "line 1: " LAYOUTS},
    {"{\"question\":\"q\",\"choices\":[],\"answer\":0}", "line 1: " CHOICES("0")},
    {"{\"question\":\"q\",\"choices\":[\"a\"],\"answer\":0}", "line 1: " CHOICES("1")},
    {"{\"question\":\"q\",\"choices\":[\"a\",\"\"],\"answer\":0}", "line 1: " CHOICES("2")},
    {"{\"question\":\"q\",\"choices\":[\"a\",2],\"answer\":0}", "line 1: " CHOICES("2")},
    {"{\"question\":\"q\",\"choices\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\",\"12\","
     "\"13\","
     "\"14\",\"15\",\"16\",\"17\",\"18\",\"19\",\"20\",\"21\",\"22\",\"23\",\"24\",\"25\",\"26\",\"27\"],\"answer\":0}",
     "line 1: " CHOICES("27")},
    {"{\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"answer\":2}", "line 1: " INDEX},
    {"{\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"answer\":-1}", "line 1: " INDEX},
    {"{\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"answer\":\"C\"}", "line 1: " INDEX},
    {"{\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"answer\":\"\\u0000\"}", "line 1: " INDEX},
    {"{\"question\":\"q\",\"choices\":[\"a\",\"b\"]}", "line 1: " INDEX},
    {"{\"question\":\"q\",\"choices\":{\"text\":[\"a\"]}}", "line 1: " CHOICES("1")},
    {"{\"question\":\"q\",\"choices\":{\"text\":[\"a\",\"b\"],\"label\":[\"A\"]},\"answerKey\":\"A\"}",
     "line 1: There are 2 choices and 1 labels, and \"answerKey\" is a text; expected a label for each choice and one "
     "of "
     "them as the key."},
    {"{\"question\":\"q\",\"choices\":{\"text\":[\"a\",\"b\"],\"label\":[\"A\",\"B\"]}}",
     "line 1: There are 2 choices and 2 labels, and \"answerKey\" is none; expected a label for each choice and one of "
     "them as the key."},
    {"{\"question\":\"q\",\"choices\":{\"text\":[\"a\",\"b\"],\"label\":[\"A\",1]},\"answerKey\":\"1\"}",
     "line 1: The \"answerKey\" \"1\" is none of the labels."},
    {"{\"question\":\"q\",\"answer\":\"42\"}", "line 1: " NUMBER},
    {"{\"question\":\"q\",\"answer\":\"#### 4\"}\n\n  \r\n{\"question\":\"q\",\"choices\":[\"a\",\"b\"],\"answer\":0}",
     "line 4: The line has the layout of mmlu, those before it that of gsm8k."},
};

static void refusal_check(const char *text, size_t size, const char *sentence) {
  struct eval_task task;
  struct error error = {0};
  char expected[ERROR_TEXT_MAX];
  file_fill(text, size);
  assert_false(eval_task_read(&task, path, NULL, 0, &error));
  snprintf(expected, sizeof expected, "%s%s", path, sentence);
  assert_string_equal(error.text, expected);
}

static void test_refused(void **state) {
  (void)state;
  char sentence[ERROR_TEXT_MAX];
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    snprintf(sentence, sizeof sentence, ", %s", refused[i].sentence);
    refusal_check(refused[i].text, strlen(refused[i].text), sentence);
  }
  refusal_check("", 0, " has no lines of JSON: there is no task.");
  refusal_check(" \n\n", 3, " has no lines of JSON: there is no task.");
}

/* JSON that is none has the sentence of the JSON reader behind the line's number. */
static void test_no_json(void **state) {
  static const char *const texts[] = {"{\"question\"", "{\"question\":\"\xff\"}", "{\"a\":1}{", "{\"a\":1,\"a\":2}",
                                      "nul"};
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct eval_task task;
    struct error error = {0};
    char expected[64];
    file_fill(texts[i], strlen(texts[i]));
    assert_false(eval_task_read(&task, path, NULL, 0, &error));
    snprintf(expected, sizeof expected, "%s, line 1: ", path);
    assert_memory_equal(error.text, expected, strlen(expected));
  }
}

static void test_long_line(void **state) {
  (void)state;
  size_t size = LIMIT_EVAL_LINE_BYTES + 1;
  char *text = malloc(size);
  memset(text, 'x', size);
  refusal_check(text, size, ", line 1: The line has 1048577 bytes, expected at most 1048576.");
  free(text);
}

/* Answered questions that are none, and more than a prompt can have, told where they are too many. */
static void test_refused_shots(void **state) {
  struct eval_task task;
  struct error error = {0};
  char expected[ERROR_TEXT_MAX];
  size_t half = LIMIT_EVAL_LINE_BYTES - 64;
  const char *questions = FIXTURES "/eval/gsm8k.jsonl";
  (void)state;
  file_fill(" \n", 2);
  assert_false(eval_task_read(&task, questions, path, 0, &error));
  snprintf(expected, sizeof expected, "%s has no lines of JSON: there are no answered questions.", path);
  assert_string_equal(error.text, expected);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  for (int i = 0; i < 6; i++) {
    fputs("{\"answer\":\"#### 1\",\"question\":\"", file);
    for (size_t k = 0; k < half; k++) putc('q', file);
    fputs("\"}\n", file);
  }
  assert_int_equal(fclose(file), 0);
  assert_false(eval_task_read(&task, questions, path, 0, &error));
  snprintf(expected, sizeof expected,
           "%s, line 5: The answered questions up to here are longer than 4194304 bytes, which are all that a prompt "
           "may have; give fewer.",
           path);
  assert_string_equal(error.text, expected);
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */

static void context_check(const struct eval_task *task, size_t item, const char *expected) {
  struct slice context = task->items[item].context;
  if (!slice_is(context, expected)) fail_msg("item %zu: %.*s", item, (int)context.size, (const char *)context.data);
}

static void task_open(struct eval_task *task, const char *name, const char *shots, int most) {
  struct error error;
  char file[256];
  snprintf(file, sizeof file, "%s/eval/%s.jsonl", FIXTURES, name);
  if (!eval_task_read(task, file, shots ? file : NULL, most, &error)) fail_msg("%s", error.text);
}

static void test_prompts(void **state) {
  struct eval_task task;
  (void)state;
  task_open(&task, "mmlu", NULL, 2);
  assert_int_equal(task.n_item, 2);
  context_check(&task, 1,
                "The following are multiple choice questions (with answers) about elementary mathematics.\n\n"
                "What is 7 times 8?\nA. 54\nB. 55\nC. 56\nD. 58\nAnswer:");
  assert_int_equal(task.items[1].answer, 2);
  assert_true(slice_is(task.items[1].choices[2], "C"));
  eval_task_release(&task);
  task_open(&task, "arc", "", 0);
  assert_int_equal(task.n_item, 3);
  context_check(&task, 0,
                "Question: What melts ice?\nAnswer: heat\n\nQuestion: Where do fish breathe?\nAnswer: in water\n\n"
                "Question: Was fließt bergab?\nAnswer: größere Höhen\n\nQuestion: What melts ice?\nAnswer:");
  eval_task_release(&task);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static json_t *expected_read(void) {
  struct error error;
  json_t *expected = json_read(FIXTURES "/eval/expected.json", 1 << 20, &error);
  if (!expected) fail_msg("%s", error.text);
  return expected;
}

static void test_gsm8k(void **state) {
  struct eval_task task;
  size_t i;
  json_t *context, *expected = expected_read();
  (void)state;
  task_open(&task, "gsm8k", NULL, 0);
  json_array_foreach(json_object_get(json_object_get(expected, "gsm8k"), "contexts"), i, context)
      context_check(&task, i, json_string_value(context));
  assert_int_equal(task.n_item, i);
  eval_task_release(&task);
  json_decref(expected);
}

static void test_answers(void **state) {
  struct answer_match match;
  struct error error;
  size_t i;
  json_t *one, *expected = expected_read();
  (void)state;
  assert_true(answer_match_init(&match, &error));
  json_array_foreach(json_object_get(expected, "answers"), i, one) {
    struct slice response = json_slice(json_object_get(one, "response"));
    struct slice answer = json_slice(json_object_get(one, "answer"));
    bool strict = answer_matches(&match, FILTER_STRICT, response, answer);
    bool flexible = answer_matches(&match, FILTER_FLEXIBLE, response, answer);
    if (strict != json_is_true(json_object_get(one, "strict")) ||
        flexible != json_is_true(json_object_get(one, "flexible")))
      fail_msg("case %zu: strict %d, flexible %d", i, strict, flexible);
  }
  assert_true(i > 10);
  answer_match_release(&match);
  json_decref(expected);
}

/* A long text of what is left out takes no longer than one that is read once. */
static void test_long_answer(void **state) {
  struct answer_match match;
  struct error error;
  size_t size = 1 << 20;
  char *text = malloc(size);
  (void)state;
  memset(text, ',', size);
  text[size - 1] = '7';
  assert_true(answer_match_init(&match, &error));
  assert_true(answer_matches(&match, FILTER_FLEXIBLE, slice_make(text, size), slice_text("#### 7")));
  answer_match_release(&match);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused),   cmocka_unit_test(test_no_json),
                                     cmocka_unit_test(test_long_line), cmocka_unit_test(test_refused_shots),
                                     cmocka_unit_test(test_prompts),   cmocka_unit_test(test_gsm8k),
                                     cmocka_unit_test(test_answers),   cmocka_unit_test(test_long_answer)};
  int descriptor = mkstemp(path);
  if (descriptor < 0) return 1;
  close(descriptor);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(path);
  return failed;
}
