/* What a chat template tells of memory: the system's lack of it at any call is another thing than a template that asks
 * for too much, so that a server does not start that would refuse conversations for its life, and no request is told to
 * send fewer messages for it. */
#include "chat_support.h"

#include <stdlib.h>

static int calls, failing; /* the call that has no memory, and all after it; 0: none */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size) {
  return failing && ++calls >= failing ? NULL : __real_calloc(count, size);
}

/* A template whose source and tree take several chunks of an arena, and its rendering too. */
static char *large_source(void) {
  enum { PARTS = 3000 };
  static const char part[] =
      "{% set x = [1, 'a'][0:2]|join('<') ~ messages[0].content ~ 12345678901234567890 %}{{ x }}";
  char *source = malloc(PARTS * sizeof part);
  assert_non_null(source);
  for (size_t i = 0; i < PARTS; i++) memcpy(source + i * (sizeof part - 1), part, sizeof part);
  return source;
}

static void test_compiling(void **state) {
  (void)state;
  char *source = large_source();
  int at = 1;
  for (bool opened = false; !opened; at++) {
    struct error error = {0};
    calls = 0;
    failing = at;
    struct chat_template *template = chat_template_open(slice_text(source), &error);
    failing = 0;
    opened = template != NULL;
    chat_template_close(template);
    if (opened) break;
    assert_int_equal(error.code, ERROR_MEMORY);
    assert_string_equal(error.text, "No memory to compile the chat template.");
  }
  assert_true(at > 10);
  free(source);
}

static void test_rendering(void **state) {
  (void)state;
  char *source = large_source();
  struct error error = {0};
  json_t *messages = json_parse(slice_text("[{\"content\": \"abc\"}]"), &error);
  struct chat_template *template = chat_template_open(slice_text(source), &error);
  assert_non_null(template);
  int at = 1;
  for (bool done = false; !done; at++) {
    struct chat_text text;
    struct chat_input input = {.messages = messages};
    error = (struct error){0};
    chat_text_init(&text);
    calls = 0;
    failing = at;
    done = chat_template_render(template, &input, &text, &error);
    failing = 0;
    chat_text_release(&text);
    if (done) break;
    assert_int_equal(error.code, ERROR_MEMORY);
    assert_true(slice_starts(slice_text(error.text), "No memory "));
  }
  assert_true(at > 10);
  chat_template_close(template);
  json_decref(messages);
  free(source);
}

int main(void) {
  const struct CMUnitTest all[] = {
      cmocka_unit_test(test_compiling),
      cmocka_unit_test(test_rendering),
  };
  return cmocka_run_group_tests(all, NULL, NULL);
}
