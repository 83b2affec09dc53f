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
static json_t *converted_with(const struct files *files, const char *added_text, const char *specials_text, bool *ok,
                              struct error *error) {
  json_t *settings = files->settings ? json_loads(files->settings, JSON_DECODE_ANY, NULL) : NULL, *tokenizer;
  json_t *added = added_text ? json_loads(added_text, 0, NULL) : NULL;
  json_t *specials = specials_text ? json_loads(specials_text, 0, NULL) : NULL;
  const struct classic_vocabulary classic = {.words = files->words ? slice_text(files->words) : (struct slice){0},
                                             .units = files->units ? slice_text(files->units) : (struct slice){0},
                                             .merges = files->merges ? slice_text(files->merges) : (struct slice){0},
                                             .settings = settings,
                                             .added = added,
                                             .specials = specials,
                                             .model_type = slice_text(files->type)};
  *ok = classic_vocabulary_convert(&classic, &tokenizer, error);
  json_decref(settings);
  json_decref(added);
  json_decref(specials);
  return tokenizer;
}

static json_t *converted(const struct files *files, bool *ok, struct error *error) {
  return converted_with(files, NULL, NULL, ok, error);
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

/* [id, special, normalized] of the token, as transformers 5.24 has it of the same files. */
static void token_check(const json_t *tokenizer, const char *text, int id, bool special, bool normalized) {
  const json_t *token;
  size_t i;
  json_array_foreach(json_object_get(tokenizer, "added_tokens"), i, token) {
    if (strcmp(json_string_value(json_object_get(token, "content")), text) != 0) continue;
    assert_int_equal(json_integer_value(json_object_get(token, "id")), id);
    assert_int_equal(json_is_true(json_object_get(token, "special")), special);
    assert_int_equal(json_is_true(json_object_get(token, "normalized")), normalized);
    return;
  }
  fail_msg("%s is no added token", text);
}

static void test_added(void **state) {
  (void)state;
  const struct {
    const char *settings, *added, *specials, *text;
    int id;
    bool special, normalized;
    int cls;
  } cases[] = {
      {"{}", "{\"[X]\": 8, \"[NEW]\": 7}", NULL, "[NEW]", 7, false, true, 2},
      {"{}", "{\"a\": 5}", NULL, "a", 5, false, true, 2},
      {"{}", "{\"[NEW]\": 7}", "{\"cls_token\": \"[NEW]\"}", "[NEW]", 7, true, false, 7},
      {"{\"cls_token\": \"[CLS]\"}", NULL, "{\"cls_token\": \"a\"}", "a", 5, true, false, 5},
      {"{}", "{\"[NEW]\": 7}", "{\"additional_special_tokens\": [\"[NEW]\"]}", "[NEW]", 7, false, true, 2},
      {"{}", NULL, "{\"additional_special_tokens\": [\"a\"]}", "a", 5, true, false, 2},
      {"{\"added_tokens_decoder\": {\"7\": {\"content\": \"[NEW]\", \"special\": true, \"normalized\": false}}}",
       "{\"[X]\": 9}", "{\"cls_token\": \"a\"}", "[NEW]", 7, true, false, 2},
      {"{\"mask_token\": {\"content\": \"[MASK]\", \"normalized\": true}}", NULL, NULL, "[MASK]", 4, true, true, 2},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct files files = {bert.words, NULL, NULL, cases[i].settings, "bert"};
    struct error error = {0};
    bool ok;
    json_t *tokenizer = converted_with(&files, cases[i].added, cases[i].specials, &ok, &error);
    if (!ok) fail_msg("case %zu: %s", i, error.text);
    token_check(tokenizer, cases[i].text, cases[i].id, cases[i].special, cases[i].normalized);
    const json_t *cls = json_object_get(json_object_get(tokenizer, "post_processor"), "cls");
    assert_int_equal(json_integer_value(json_array_get(cls, 1)), cases[i].cls);
    json_decref(tokenizer);
  }
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
       "The special token \"<c>\" is neither in the vocabulary nor in added_tokens.json."},
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

static void test_added_refused(void **state) {
  (void)state;
  const struct {
    const char *settings, *added, *specials, *sentence;
  } cases[] = {
      {"{}", "{\"[NEW]\": \"7\"}", NULL,
       "added_tokens.json has \"[NEW]\", expected texts of tokens and ids below 1048576."},
      {"{}", "{\"[NEW]\": -1}", NULL,
       "added_tokens.json has \"[NEW]\", expected texts of tokens and ids below 1048576."},
      {"{}", "{\"[NEW]\": 1048576}", NULL,
       "added_tokens.json has \"[NEW]\", expected texts of tokens and ids below 1048576."},
      {"{}", "{\"[NEW]\": 8}", NULL, "added_tokens.json: the greatest id is 8, expected 7: the vocabulary's 7 and 1."},
      {"{}", "{\"[NEW]\": 7, \"[X]\": 7}", NULL, "added_tokens.json: the token \"[X]\" has id 7, which is another's."},
      {"{}", "{\"a\": 2}", NULL, "added_tokens.json: the token \"a\" has id 2, which is another's."},
      {"{}", "{\"[NEW]\": 2}", NULL, "added_tokens.json: the token \"[NEW]\" has id 2, which is another's."},
      {"{\"added_tokens_decoder\": {\"7x\": {\"content\": \"b\"}}}", NULL, NULL,
       "tokenizer_config.json: added_tokens_decoder has \"7x\", expected texts of tokens and ids below 1048576."},
      {"{}", NULL, "{\"pad_token\": \"<p>\"}",
       "The special token \"<p>\" is neither in the vocabulary nor in added_tokens.json."},
      {"{}", NULL, "{\"additional_special_tokens\": [\"<p>\"]}",
       "The special token \"<p>\" is neither in the vocabulary nor in added_tokens.json."},
      {"{}", NULL, "{\"additional_special_tokens\": [7]}",
       "The special token \"\" is neither in the vocabulary nor in added_tokens.json."},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct files files = {bert.words, NULL, NULL, cases[i].settings, "bert"};
    struct error error = {0};
    bool ok;
    assert_null(converted_with(&files, cases[i].added, cases[i].specials, &ok, &error));
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
    char words[64], units[64], merges[64], settings[96], added[64], specials[64];
    snprintf(words, sizeof words, "%s", bert.words);
    snprintf(units, sizeof units, "%s", roberta.units);
    snprintf(merges, sizeof merges, "%s", roberta.merges);
    snprintf(settings, sizeof settings, "%s", "{\"unk_token\":{\"content\":\"a\"},\"do_lower_case\":true}");
    snprintf(added, sizeof added, "%s", "{\"[NEW]\": 7, \"[X]\": 8, \"a\": 5}");
    snprintf(specials, sizeof specials, "%s", "{\"cls_token\": \"[NEW]\", \"additional_special_tokens\": [\"a\"]}");
    char *texts[] = {words, units, merges, settings, added, specials};
    for (int k = 0; k < 6; k++) text_spoil(texts[k], strlen(texts[k]), &seed);
    const char *type = i % 3 == 0 ? "bert" : i % 3 == 1 ? "roberta" : "gpt2";
    const struct files files = {words, units, merges, settings, type};
    struct error error = {0};
    bool ok;
    json_t *tokenizer = converted_with(&files, added, specials, &ok, &error);
    assert_true(ok || error.text[0]);
    json_decref(tokenizer);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_good),          cmocka_unit_test(test_added),
                                     cmocka_unit_test(test_none),          cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_added_refused), cmocka_unit_test(test_spoilt)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
