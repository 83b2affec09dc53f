/* tokenizer.json made of vocab.txt, or of vocab.json and merges.txt: what is wrong is told, and bytes of any kind do no
 * harm (run under ASan). What comes of good ones tests/e2e/test_encoder_forms.py compares. */
#include "model/classic_vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct files {
  const char *words, *units, *merges, *settings, *type;
};

static const struct files bert = {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n", NULL, NULL, "{}", "bert"};
static const struct files roberta = {NULL, "{\"<s>\":0,\"</s>\":1,\"a\":2,\"b\":3,\"ab\":4}", "#version: 0.2\na b\n",
                                     "{\"tokenizer_class\":\"RobertaTokenizerFast\"}", ""};

/* The file, or NULL with the sentence in *error. */
static json_t *converted(const struct files *files, bool *ok, struct error *error) {
  json_t *settings = files->settings ? json_loads(files->settings, JSON_DECODE_ANY, NULL) : NULL, *tokenizer;
  const struct classic_vocabulary classic = {.words = files->words ? slice_text(files->words) : (struct slice){0},
                                             .units = files->units ? slice_text(files->units) : (struct slice){0},
                                             .merges = files->merges ? slice_text(files->merges) : (struct slice){0},
                                             .settings = settings,
                                             .model_type = slice_text(files->type)};
  *ok = classic_vocabulary_convert(&classic, &tokenizer, error);
  json_decref(settings);
  return tokenizer;
}

static void test_good(void **state) {
  (void)state;
  struct error error = {0};
  bool ok;
  json_t *tokenizer = converted(&bert, &ok, &error);
  assert_true(ok && tokenizer);
  const json_t *model = json_object_get(tokenizer, "model");
  assert_string_equal(json_string_value(json_object_get(model, "type")), "WordPiece");
  assert_int_equal(json_integer_value(json_object_get(json_object_get(model, "vocab"), "##b")), 6);
  assert_int_equal(json_array_size(json_object_get(tokenizer, "added_tokens")), 5);
  json_decref(tokenizer);
  tokenizer = converted(&roberta, &ok, &error);
  assert_true(ok && tokenizer);
  assert_int_equal(json_array_size(json_object_get(json_object_get(tokenizer, "model"), "merges")), 1);
  json_decref(tokenizer);
}

/* Classes whose files these are not, or that lack one. */
static void test_none(void **state) {
  (void)state;
  const struct files none[] = {{bert.words, NULL, NULL, NULL, "qwen2"},
                               {bert.words, NULL, NULL, "{\"tokenizer_class\": \"MPNetTokenizer\"}", "bert"},
                               {NULL, roberta.units, NULL, roberta.settings, ""},
                               {NULL, NULL, NULL, "{}", "bert"},
                               {bert.words, NULL, NULL, "7", "llama"}};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    struct error error = {0};
    bool ok;
    assert_null(converted(&none[i], &ok, &error));
    assert_true(ok);
  }
}

static void test_refused(void **state) {
  (void)state;
  const struct {
    struct files files;
    const char *sentence;
  } cases[] = {
      {{"[PAD]\na\n", NULL, NULL, "{}", "bert"},
       "vocab.txt has no token \"[CLS]\" or \"[SEP]\", which stand around a text."},
      {{bert.words, NULL, NULL, "{\"cls_token\": {\"content\": \"<c>\"}}", "bert"},
       "vocab.txt has no token \"<c>\" or \"[SEP]\", which stand around a text."},
      {{"[CLS]\n\xff\n", NULL, NULL, "{}", "bert"}, "vocab.txt: line 2 is no text in UTF-8."},
      {{NULL, "[1]", roberta.merges, roberta.settings, ""}, "vocab.json holds no JSON object."},
      {{NULL, roberta.units, "#version: 0.2\na b c\n", roberta.settings, ""},
       "merges.txt: line 2 is not two tokens with a space between."},
      {{NULL, roberta.units, "ab\n", roberta.settings, ""},
       "merges.txt: line 1 is not two tokens with a space between."},
      {{NULL, roberta.units, "a \xff\n", roberta.settings, ""}, "merges.txt: line 1 is no text in UTF-8."},
      {{NULL, "{\"<s>\": \"0\", \"</s>\": 1}", roberta.merges, roberta.settings, ""},
       "vocab.json has no token \"<s>\" or \"</s>\", which stand around a text."},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct error error = {0};
    bool ok;
    assert_null(converted(&cases[i].files, &ok, &error));
    assert_false(ok);
    assert_string_equal(error.text, cases[i].sentence);
  }
}

static void text_spoil(char *text, size_t size, unsigned *seed) {
  for (int i = rand_r(seed) % 3; i >= 0; i--) text[(size_t)rand_r(seed) % size] = (char)(1 + rand_r(seed) % 255);
}

static void test_spoilt(void **state) {
  (void)state;
  unsigned seed = 1;
  for (int i = 0; i < 20000; i++) {
    char words[64], units[64], merges[64], settings[96];
    snprintf(words, sizeof words, "%s", bert.words);
    snprintf(units, sizeof units, "%s", roberta.units);
    snprintf(merges, sizeof merges, "%s", roberta.merges);
    snprintf(settings, sizeof settings, "%s", "{\"unk_token\":{\"content\":\"a\"},\"do_lower_case\":true}");
    char *texts[] = {words, units, merges, settings};
    for (int k = 0; k < 4; k++) text_spoil(texts[k], strlen(texts[k]), &seed);
    const struct files files = {words, units, merges, settings, i % 3 == 0 ? "bert" : i % 3 == 1 ? "roberta" : "gpt2"};
    struct error error = {0};
    bool ok;
    json_t *tokenizer = converted(&files, &ok, &error);
    assert_true(ok || error.text[0]);
    json_decref(tokenizer);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_none),
                                     cmocka_unit_test(test_refused), cmocka_unit_test(test_spoilt)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
