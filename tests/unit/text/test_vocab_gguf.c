/* Vocabularies of real models: the vectors of ggml-vocab-NAME.gguf in the folder that SPATE_TEST_DATA names, and the
 * model that SPATE_TEST_MODEL names. Skipped where neither is there. */
#include "text_support.h"

#include "text/vocab_gguf.h"

#include <stdlib.h>

static void compile_file(struct fixture *fixture, const char *path) {
  struct error error = {0};
  struct gguf *gguf = gguf_open(path, &error);
  buffer_init(&fixture->blob, LIMIT_TOKENIZER_BYTES);
  if (!gguf || !tokenizer_compile_gguf(gguf, &fixture->blob, &error) ||
      !(fixture->tokenizer = tokenizer_open(buffer_slice(&fixture->blob), &error)))
    fail_msg("%s: %s", path, error.text);
  gguf_close(gguf);
}

/* True when the ids are those of one line of an .out file: numbers with spaces between. */
static bool ids_match(const struct token_list *ids, const char *line, const char *end) {
  size_t count = 0;
  for (char *next; line < end; line = next, count++) {
    long id = strtol(line, &next, 10);
    if (next == line || next > end) break;
    if (count >= ids->count || ids->ids[count] != id) return false;
  }
  return count == ids->count;
}

static void check_vectors(const char *folder, const char *name) {
  static const char separator[] = "\n__ggml_vocab_test__\n";
  char path[512];
  struct fixture fixture;
  struct file inputs, outputs;
  struct error error = {0};
  snprintf(path, sizeof path, "%s/vocab/ggml-vocab-%s.gguf", folder, name);
  compile_file(&fixture, path);
  snprintf(path, sizeof path, "%s/vocab/ggml-vocab-%s.gguf.inp", folder, name);
  if (!file_open(&inputs, path, &error)) fail_msg("%s", error.text);
  snprintf(path, sizeof path, "%s/vocab/ggml-vocab-%s.gguf.out", folder, name);
  if (!file_open(&outputs, path, &error)) fail_msg("%s", error.text);
  const uint8_t *text = inputs.data, *last = inputs.data + inputs.size;
  const char *line = (const char *)outputs.data, *lines_end = line + outputs.size;
  int count = 0;
  for (; line < lines_end; count++) {
    const uint8_t *end = memmem(text, (size_t)(last - text), separator, sizeof separator - 1);
    assert_non_null(end); /* each text ends with the separator */
    const char *line_end = memchr(line, '\n', (size_t)(lines_end - line));
    assert_non_null(line_end);
    struct token_list ids = encode_all(fixture.tokenizer, slice_make(text, (size_t)(end - text)), 0);
    if (!ids_match(&ids, line, line_end)) fail_msg("%s: other ids for case %d", name, count);
    token_list_release(&ids);
    text = end + sizeof separator - 1;
    line = line_end + 1;
  }
  assert_true(count > 40 && text == last);
  file_close(&inputs);
  file_close(&outputs);
  fixture_close(&fixture);
}

static void test_vectors(void **state) {
  (void)state;
  static const char *const names[] = {"gpt-2", "llama-bpe", "llama-spm", "qwen2", "phi-3", "deepseek-llm", "bert-bge"};
  const char *folder = getenv("SPATE_TEST_DATA");
  if (!folder) skip();
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_vectors(folder, names[i]);
}

/* SmolLM2: digits one by one, markers, and back. The ids are those of the package `tokenizers` with its pipeline. */
static void test_model(void **state) {
  (void)state;
  const char *path = getenv("SPATE_TEST_MODEL");
  if (!path) skip();
  struct fixture fixture;
  compile_file(&fixture, path);
  const struct tokenizer *t = fixture.tokenizer;
  struct slice text = slice_text("<|im_start|>user\nHow's 2024, na\xC3\xAFve \xF0\x9F\xA6\x99?  <|im_end|>\n");
  struct token_list ids = encode_all(t, text, ENCODE_PARSE_SPECIAL);
  static const int32_t expected[] = {1,  4093,  198,   2020,  506, 216, 34, 32,  34, 36,
                                     28, 15486, 46494, 15107, 116, 243, 47, 256, 2,  198};
  struct buffer out;
  buffer_init(&out, 1 << 16);
  assert_true(detokenize(t, ids.ids, ids.count, DETOKENIZE_START | DETOKENIZE_SPECIAL, &out));
  assert_true(slice_equal(buffer_slice(&out), text));
  assert_int_equal(ids.count, sizeof expected / sizeof *expected);
  for (size_t i = 0; i < ids.count; i++) assert_int_equal(ids.ids[i], expected[i]);
  assert_true(tokenizer_is_end(t, 2) && tokenizer_is_end(t, 0) && !tokenizer_facts(t)->add_bos);
  buffer_release(&out);
  token_list_release(&ids);
  fixture_close(&fixture);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_model)};
  if (!getenv("SPATE_TEST_DATA") && !getenv("SPATE_TEST_MODEL")) {
    printf("SKIPPED: neither SPATE_TEST_DATA (a folder with vocab/) nor SPATE_TEST_MODEL (a .gguf) is set.\n");
    return 77;
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
