/* tokenizer.json made of SentencePiece models of XLM-R and its kin: what transformers makes of the same folders
 * (tools/make_piece_fixtures.py); what is wrong is told; bytes of any kind do no harm. */
#include "base/file.h"
#include "base/limits.h"
#include "model/classic_vocabulary.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PIECES FIXTURES "/model/pieces/"

static struct file file_of(const char *name, const char *end) {
  struct file file;
  struct error error = {0};
  char path[512];
  snprintf(path, sizeof path, PIECES "%s%s", name, end);
  if (!file_open(&file, path, &error)) fail_msg("%s", error.text);
  return file;
}

static json_t *converted(struct slice pieces, const json_t *files, const char *type, struct error *error) {
  const struct classic_vocabulary classic = {.pieces = pieces,
                                             .pieces_name = "sentencepiece.bpe.model",
                                             .settings = json_object_get(files, "tokenizer_config.json"),
                                             .added = json_object_get(files, "added_tokens.json"),
                                             .specials = json_object_get(files, "special_tokens_map.json"),
                                             .model_type = slice_text(type)};
  json_t *tokenizer;
  if (classic_vocabulary_convert(&classic, &tokenizer, error)) assert_non_null(tokenizer);
  return tokenizer;
}

/* Both without what says nothing of one text's ids: a pair's template, types, the order of tokens. */
static json_t *essence(const json_t *tokenizer) {
  json_t *copy = json_deep_copy(tokenizer), *added = json_object(), *token;
  size_t i;
  json_array_foreach(json_object_get(copy, "added_tokens"), i, token)
      json_object_set(added, json_string_value(json_object_get(token, "content")), token);
  json_object_set_new(copy, "added_tokens", added);
  json_object_del(copy, "truncation");
  json_object_del(copy, "padding");
  json_object_del(json_object_get(copy, "post_processor"), "pair");
  json_array_foreach(json_object_get(json_object_get(copy, "post_processor"), "single"), i, token)
      json_object_del(json_object_get(token, "SpecialToken"), "type_id");
  return copy;
}

static void assert_same(const char *name, const json_t *made, const json_t *expected) {
  json_t *ours = essence(made), *theirs = essence(expected), *value;
  const char *key;
  json_object_foreach(theirs, key, value) if (!json_equal(value, json_object_get(ours, key)))
      fail_msg("%s: %s is %s, expected %s", name, key, json_dumps(json_object_get(ours, key), JSON_ENCODE_ANY),
               json_dumps(value, JSON_ENCODE_ANY));
  assert_true(json_equal(ours, theirs));
  json_decref(ours);
  json_decref(theirs);
}

static void test_as_transformers(void **state) {
  (void)state;
  DIR *folder = opendir(PIECES);
  int compared = 0;
  assert_non_null(folder);
  for (const struct dirent *entry; (entry = readdir(folder));) {
    const char *dot = strrchr(entry->d_name, '.');
    if (!dot || strcmp(dot, ".json") != 0) continue;
    struct error error = {0};
    struct file file = file_of(entry->d_name, "");
    json_t *given = json_loadb((const char *)file.data, file.size, 0, NULL);
    struct file pieces = file_of(json_string_value(json_object_get(given, "model")), ".model");
    json_t *made = converted(slice_make(pieces.data, pieces.size), json_object_get(given, "files"),
                             json_string_value(json_object_get(given, "model_type")), &error);
    if (!made) fail_msg("%s: %s", entry->d_name, error.text);
    assert_same(entry->d_name, made, json_object_get(given, "tokenizer"));
    json_decref(made);
    json_decref(given);
    file_close(&pieces);
    file_close(&file);
    compared++;
  }
  closedir(folder);
  assert_int_equal(compared, 13);
}

/* Pieces "</s>", "<extra_id_1>", "<extra_id_x>" and "<extra_id_7>b" of a T5 that adds two sentinels: transformers 5
 * adds both, the latter of two counts, and only what ends as a sentinel does is one. */
static void test_sentinel_among_pieces(void **state) {
  (void)state;
  static const char pieces[] = "\n\6\n\4</s>\n\x0e\n\x0c<extra_id_1>\n\x0e\n\x0c<extra_id_x>\n\x0f\n\x0d<extra_id_7>b";
  struct error error = {0};
  json_t *files = json_pack("{s:{s:i}}", "tokenizer_config.json", "extra_ids", 2);
  json_t *made = converted(slice_text(pieces), files, "t5", &error), *token;
  if (!made) fail_msg("%s", error.text);
  json_int_t ids[2] = {-1, -1};
  size_t i;
  assert_int_equal(json_array_size(json_object_get(json_object_get(made, "model"), "vocab")), 6);
  json_array_foreach(json_object_get(made, "added_tokens"), i, token) {
    const char *text = json_string_value(json_object_get(token, "content"));
    assert_true(strcmp(text, "<extra_id_x>") != 0 && strcmp(text, "<extra_id_7>b") != 0);
    for (int k = 0; k < 2; k++)
      if (strcmp(text, k ? "<extra_id_1>" : "<extra_id_0>") == 0)
        ids[k] = json_integer_value(json_object_get(token, "id"));
  }
  assert_int_equal(ids[0], 5);
  assert_int_equal(ids[1], 4);
  json_decref(made);
  json_decref(files);
}

/* Rules of more bytes than a tokenizer may have. */
static void test_rules_too_large(void **state) {
  (void)state;
  enum { RULES = LIMIT_TOKENIZER_BYTES / 4 * 3 + 3 };
  static const char before[] = "\n\6\n\4</s>";
  uint8_t *bytes = calloc(1, RULES + 64), *at = bytes;
  assert_non_null(bytes);
  memcpy(at, before, sizeof before - 1);
  at += sizeof before - 1;
  *at++ = 0x1a; /* normalizer_spec, */
  for (uint32_t left = RULES + 5; left || at[-1] & 0x80; left >>= 7)
    *at++ = (uint8_t)((left & 0x7f) | (left > 127) << 7);
  *at++ = 0x12; /* precompiled_charsmap */
  for (uint32_t left = RULES; left || at[-1] & 0x80; left >>= 7) *at++ = (uint8_t)((left & 0x7f) | (left > 127) << 7);
  struct error error = {0};
  assert_null(converted(slice_make(bytes, (size_t)(at - bytes) + RULES), NULL, "t5", &error));
  assert_string_equal(error.text, "sentencepiece.bpe.model has 100663299 bytes of rules for characters, more than the "
                                  "100663296 allowed.");
  free(bytes);
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *pieces, *settings, *type, *sentence;
  } cases[] = {
      {NULL, "{\"tokenizer_class\": \"NllbTokenizer\"}", "xlm-roberta",
       "sentencepiece.bpe.model is read as XLMRobertaTokenizer, CamembertTokenizer, T5Tokenizer, AlbertTokenizer and "
       "XLNetTokenizer read it; this one belongs to \"NllbTokenizer\": save the model's tokenizer.json."},
      {NULL, "{}", "mbart",
       "sentencepiece.bpe.model is read as XLMRobertaTokenizer, CamembertTokenizer, T5Tokenizer, AlbertTokenizer and "
       "XLNetTokenizer read it; this one belongs to \"mbart\": save the model's tokenizer.json."},
      {"\n\3\n\1a", "{}", "xlm-roberta",
       "sentencepiece.bpe.model is of the kind 1 and has 1 pieces, expected a Unigram model (1)."},
      {"\n\3\n\1a\n\3\n\1b\n\3\n\1c\n\3\n\1d\x12\2\x18\2", "{}", "xlm-roberta",
       "sentencepiece.bpe.model is of the kind 2 and has 4 pieces, expected a Unigram model (1)."},
      {"\n\3\n\1\xff", "{}", "t5", "sentencepiece.bpe.model: the text of token 0 is not UTF-8, or has a zero."},
      {"\n\3\n\1a", "{\"extra_ids\": -1}", "t5", "tokenizer_config.json: extra_ids is -1, expected 0 to 1048576."},
      {"\n\3\n\1a", "{}", "t5", "sentencepiece.bpe.model has no token \"</s>\", which stands beside a text."},
      {"x", "{}", "t5", NULL},
      {NULL, "{\"mask_token\": \"<m>\", \"pad_token\": 7, \"cls_token\": \"<c>\"}", "xlm-roberta",
       "The special token \"<c>\" is neither in the vocabulary nor in added_tokens.json."},
  };
  struct file good = file_of("fairseq", ".model");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct slice pieces = cases[i].pieces ? slice_text(cases[i].pieces) : slice_make(good.data, good.size);
    struct error error = {0};
    json_t *files = json_pack("{s:o}", "tokenizer_config.json", json_loads(cases[i].settings, 0, NULL));
    assert_null(converted(pieces, files, cases[i].type, &error));
    if (cases[i].sentence) assert_string_equal(error.text, cases[i].sentence);
    assert_true(error.text[0]);
    json_decref(files);
  }
  file_close(&good);
}

static void test_spoilt(void **state) {
  (void)state;
  struct file good = file_of("albert", ".model");
  uint8_t *bytes = malloc(good.size);
  unsigned seed = 1;
  static const char *const types[] = {"xlm-roberta", "camembert", "t5", "albert", "xlnet"};
  assert_non_null(bytes);
  for (int i = 0; i < 5000; i++) {
    memcpy(bytes, good.data, good.size);
    for (int k = rand_r(&seed) % 4; k >= 0; k--) bytes[(size_t)rand_r(&seed) % good.size] = (uint8_t)rand_r(&seed);
    struct error error = {0};
    size_t size = i % 7 ? good.size : (size_t)rand_r(&seed) % good.size;
    json_t *tokenizer = converted(slice_make(bytes, size), NULL, types[i % 5], &error);
    assert_true(tokenizer || error.text[0]);
    json_decref(tokenizer);
  }
  free(bytes);
  file_close(&good);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_transformers), cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_sentinel_among_pieces),
                                     cmocka_unit_test(test_rules_too_large), cmocka_unit_test(test_spoilt)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
