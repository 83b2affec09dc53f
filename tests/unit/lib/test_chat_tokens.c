/* spate_chat_tokens: from a model's folder through an engine file to the ids of a conversation; every refusal. */
#include "lib_fixture.h"

static const char template_text[] = "{% if messages[0].role == 'tool' %}{{ raise_exception('No tools.') }}{% endif %}"
                                    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
                                    "{% if add_generation_prompt %}<s>{{ tag }}{{ tools|length if tools }}{% endif %}";

static char folder[] = "/tmp/spate-chat-XXXXXX";

static void path_in(char path[512], const char *name) { snprintf(path, 512, "%s/%s", folder, name); }

/* The smallest model with the template beside it. */
static void folder_make(const char *template) {
  static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json"};
  char from[512], path[512];
  for (int i = 0; i < 3; i++) {
    snprintf(from, sizeof from, FIXTURES "/model/smollm2/%s", names[i]);
    path_in(path, names[i]);
    unlink(path);
    if (symlink(from, path) != 0) fail_msg("cannot link %s", path);
  }
  path_in(path, "chat_template.jinja");
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(template, file);
  fclose(file);
}

static int make(void **state) {
  (void)state;
  engine_path_make();
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_all(void **state) {
  static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"};
  char path[512];
  (void)state;
  for (int i = 0; i < 4; i++) {
    path_in(path, names[i]);
    unlink(path);
  }
  unlink(engine_path);
  return rmdir(folder);
}

static spate_engine *engine_with(const char *template) {
  folder_make(template);
  engine_make(folder, 4, 64);
  return engine_start(1);
}

static size_t tokens_of(const spate_engine *engine, const char *json) {
  spate_tokens tokens;
  spate_error error = {0};
  if (!spate_chat_tokens(engine, json, strlen(json), &tokens, &error)) fail_msg("%s: %s", json, error.text);
  size_t count = tokens.count;
  for (size_t i = 0; i < count; i++) assert_true(tokens.ids[i] >= 0);
  spate_tokens_free(&tokens);
  return count;
}

static void test_conversations(void **state) {
  (void)state;
  spate_engine *engine = engine_with(template_text);
  static const char plain[] =
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"add_generation_prompt\": false}";
  static const char prompted[] =
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"model\": 1, \"tools\": null}";
  static const char more[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"tools\": [{}], "
                             "\"chat_template_kwargs\": {\"tag\": \"T\"}}";
  size_t base = tokens_of(engine, plain);
  assert_true(base > 0);
  assert_true(tokens_of(engine, prompted) > base);
  assert_true(tokens_of(engine, more) > tokens_of(engine, prompted));
  spate_close(engine);
}

/* OpenAI's field is a variable of the template; one among the variables wins. */
static void test_effort(void **state) {
  (void)state;
#define HI "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]"
  static const struct {
    const char *json;
    size_t count;
  } cases[] = {
      {HI "}", 1},
      {HI ", \"reasoning_effort\": null}", 1},
      {HI ", \"reasoning_effort\": \"low\"}", 4},
      {HI ", \"reasoning_effort\": \"low\", \"chat_template_kwargs\": null}", 4},
      {HI ", \"reasoning_effort\": \"low\", \"chat_template_kwargs\": {\"tag\": 1}}", 4},
      {HI ", \"reasoning_effort\": \"low\", \"chat_template_kwargs\": {\"reasoning_effort\": \"high\"}}", 5},
  };
  spate_engine *engine = engine_with("{{ '!' }}{% for c in reasoning_effort|default('') %}{{ c }}|{% endfor %}");
  size_t one = tokens_of(engine, cases[0].json);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(tokens_of(engine, cases[i].json) - one, 2 * (cases[i].count - 1));
  spate_close(engine);
#undef HI
}

/* Messages with calls are written as each template takes them: arguments as what they are or as text, a content of null
 * or of nothing. What is written the same has the same tokens. */
static void test_call_forms(void **state) {
  (void)state;
#define LOOP(body)                                                                                                     \
  "{% for m in messages %}{% for c in m.tool_calls %}" body "{% endfor %}{{ m.content if m.content }}{% endfor %}"
#define CALL(content, arguments)                                                                                       \
  "{\"messages\": [{\"role\": \"assistant\", \"content\": " content ", \"tool_calls\": [{\"function\": "               \
  "{\"name\": \"f\", \"arguments\": " arguments "}}]}]}"
  static const struct {
    const char *template, *given, *same;
  } cases[] = {
      {LOOP("{{ c.function.arguments.a + 1 }}"), CALL("\"\"", "\"{\\\"a\\\": 1}\""), CALL("\"\"", "{\"a\": 1}")},
      {LOOP("{{ 'x' + c.function.arguments }}"), CALL("\"\"", "\"{}\""), CALL("\"\"", "\"{}\"")},
      {LOOP("{{ c.function.arguments|items|list|length }}"), CALL("\"\"", "\"\""), CALL("\"\"", "{}")},
      {LOOP("{{ 'a' in m.content }}"), CALL("null", "{}"), CALL("\"\"", "{}")},
      {LOOP("{{ 'a' in m.content }}{{ 'x' + c.function.arguments }}"), CALL("null", "\"{}\""), CALL("\"\"", "\"{}\"")},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    spate_engine *engine = engine_with(cases[i].template);
    size_t count = tokens_of(engine, cases[i].given);
    assert_true(count > 0);
    assert_int_equal(count, tokens_of(engine, cases[i].same));
    spate_close(engine);
  }
}

static void assert_refused(const spate_engine *engine, const char *json, spate_code code, const char *sentence) {
  spate_tokens tokens;
  spate_error error = {0};
  assert_false(spate_chat_tokens(engine, json, strlen(json), &tokens, &error));
  assert_int_equal(error.code, code);
  assert_string_equal(error.text, sentence);
  spate_tokens_free(&tokens);
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *json, *sentence;
  } rows[] = {
      {"[]", "A conversation must be a JSON object."},
      {"{}", "messages must be an array with at least one message."},
      {"{\"messages\": 1}", "messages must be an array."},
      {"{\"messages\": [1]}", "messages[0] is not an object."},
      {"{\"messages\": [{}], \"tools\": {}}", "tools must be an array."},
      {"{\"messages\": [{}], \"add_generation_prompt\": 1}", "add_generation_prompt must be true or false."},
      {"{\"messages\": [{}], \"chat_template_kwargs\": 1}", "chat_template_kwargs must be an object."},
      {"{\"messages\": [{\"role\": \"tool\"}]}", "The model's chat template refuses these messages: No tools."},
  };
  spate_engine *engine = engine_with(template_text);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_refused(engine, rows[i].json, SPATE_INVALID, rows[i].sentence);
  spate_close(engine);
}

static void test_no_template(void **state) {
  (void)state;
  static const char json[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}";
  spate_engine *engine = engine_with("");
  assert_refused(engine, json, SPATE_UNSUPPORTED, "The model has no chat template; send a prompt instead of messages.");
  spate_close(engine);
  engine = engine_with("{% if %}");
  assert_refused(engine, json, SPATE_FORMAT, "Line 1 of the chat template: an expression is missing.");
  spate_close(engine);
}

static void test_too_long(void **state) {
  (void)state;
  spate_engine *engine = engine_with("{{ messages[0].content * 9000 }}");
  spate_tokens tokens;
  spate_error error = {0};
  static const char json[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"a b \"}]}";
  assert_false(spate_chat_tokens(engine, json, strlen(json), &tokens, &error));
  assert_int_equal(error.code, SPATE_LIMIT);
  spate_close(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_conversations), cmocka_unit_test(test_effort),      cmocka_unit_test(test_call_forms),
      cmocka_unit_test(test_refused),       cmocka_unit_test(test_no_template), cmocka_unit_test(test_too_long),
  };
  return cmocka_run_group_tests(tests, make, remove_all);
}
