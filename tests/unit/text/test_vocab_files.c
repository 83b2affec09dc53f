/* Vocabularies in other libraries' files: small ones beside what SentencePiece and tiktoken made of adversarial strings
 * (tools/make_vocabulary_fixtures.py), special tokens, and the sentences that refuse what is damaged or not supported.
 */
#include "text_support.h"

#include "text/vocab_files.h"

#define VOCAB FIXTURES "/text/vocab/"

static struct slice file_of(const char *folder, const char *name, struct file *file) {
  char path[256];
  struct error error = {0};
  snprintf(path, sizeof path, VOCAB "%s/%s", folder, name);
  *file = (struct file){.descriptor = -1};
  if (!file_open(file, path, &error) && error.code != ERROR_NOT_FOUND) fail_msg("%s", error.text);
  return slice_make(file->data, file->data ? file->size : 0);
}

static void vocabulary_open(struct fixture *fixture, const char *folder, const char *name) {
  struct error error = {0};
  struct file file, config;
  struct slice bytes = file_of(folder, name, &file), settings = file_of(folder, "tokenizer_config.json", &config);
  buffer_init(&fixture->blob, LIMIT_TOKENIZER_BYTES);
  if (!tokenizer_compile_file(name, bytes, settings, &fixture->blob, &error) ||
      !(fixture->tokenizer = tokenizer_open(buffer_slice(&fixture->blob), &error)))
    fail_msg("%s: %s", folder, error.text);
  file_close(&file);
  file_close(&config);
}

/* --- beside the libraries --------------------------------------------------------------------------------------- */

static struct slice without_spaces(struct slice text) {
  while (text.size > 0 && text.data[0] == ' ') text = slice_make(text.data + 1, text.size - 1);
  return text;
}

/* Of spaces in front of a text SentencePiece's decoder drops more than one; they are kept here. */
static void check_case(const struct tokenizer *tokenizer, const json_t *row, const char *name) {
  struct slice text = json_slice(json_array_get(row, 0)), decoded = json_slice(json_array_get(row, 2));
  struct buffer out;
  buffer_init(&out, 1 << 20);
  row_decode(tokenizer, row, 0, name, &out);
  if (!slice_equal(without_spaces(buffer_slice(&out)), without_spaces(decoded)))
    fail_msg("%s: '%.*s' decodes otherwise", name, SLICE_ARGS(text));
  buffer_release(&out);
}

static void test_as_libraries(void **state) {
  (void)state;
  static const char *const families[][2] = {{"llama2", "tokenizer.model"},         {"gemma", "tokenizer.model"},
                                            {"plain_bpe", "tokenizer.model"},      {"t5", "tokenizer.model"},
                                            {"unigram_bytes", "tokenizer.model"},  {"kimi", "tiktoken.model"},
                                            {"glm4", "tokenizer.model"},           {"tekken", "tekken.json"},
                                            {"tekken_first", "tekken.json"},       {"char", "tokenizer.model"},
                                            {"suffix_unigram", "tokenizer.model"}, {"suffix_bpe", "tokenizer.model"}};
  for (size_t n = 0; n < sizeof families / sizeof *families; n++) {
    struct fixture fixture;
    char path[256];
    struct error error = {0};
    size_t i;
    json_t *row;
    vocabulary_open(&fixture, families[n][0], families[n][1]);
    snprintf(path, sizeof path, VOCAB "%s/cases.json", families[n][0]);
    json_t *cases = json_read(path, 1 << 20, &error);
    if (!cases) fail_msg("%s", error.text);
    json_array_foreach(cases, i, row) { check_case(fixture.tokenizer, row, families[n][0]); }
    assert_true(i > 100);
    json_decref(cases);
    fixture_close(&fixture);
  }
}

/* --- special tokens --------------------------------------------------------------------------------------------- */

static void assert_around(const char *folder, const char *name, const char *before, const char *after) {
  struct fixture fixture;
  vocabulary_open(&fixture, folder, name);
  struct token_list ids = encode_all(fixture.tokenizer, slice_text("of"), ENCODE_ADD_SPECIAL);
  assert_true(ids.count > 0);
  if (before) assert_int_equal(ids.ids[0], tokenizer_find(fixture.tokenizer, slice_text(before)));
  if (after) assert_int_equal(ids.ids[ids.count - 1], tokenizer_find(fixture.tokenizer, slice_text(after)));
  for (size_t i = before ? 1 : 0; i < ids.count - (after ? 1 : 0); i++)
    assert_false(tokenizer_is_special(fixture.tokenizer, ids.ids[i]));
  token_list_release(&ids);
  fixture_close(&fixture);
}

static void test_around(void **state) {
  (void)state;
  assert_around("llama2", "tokenizer.model", "<s>", NULL);
  assert_around("gemma", "tokenizer.model", "<s>", NULL);
  assert_around("t5", "tokenizer.model", NULL, "</s>");
  assert_around("tekken", "tekken.json", "<s>", NULL);
  assert_around("tekken_first", "tekken.json", "<s>", NULL);
  assert_around("kimi", "tiktoken.model", NULL, NULL);
}

static void test_added(void **state) {
  (void)state;
  struct fixture fixture;
  vocabulary_open(&fixture, "llama2", "tokenizer.model");
  struct token_list ids = encode_all(fixture.tokenizer, slice_text("of<|im_end|>"), ENCODE_PARSE_SPECIAL);
  assert_int_equal(ids.ids[ids.count - 1], 1205);
  assert_true(tokenizer_is_end(fixture.tokenizer, 1205) && tokenizer_is_special(fixture.tokenizer, 1205));
  assert_int_equal(tokenizer_vocab(fixture.tokenizer), 1206);
  token_list_release(&ids);
  fixture_close(&fixture);
  vocabulary_open(&fixture, "tekken", "tekken.json");
  assert_int_equal(tokenizer_find(fixture.tokenizer, slice_text("[INST]")), 3);
  assert_int_equal(tokenizer_find(fixture.tokenizer, slice_text("<SPECIAL_19>")), 19);
  fixture_close(&fixture);
}

/* Qwen's first models name their special tokens in no file: they follow the ranks, here those of single bytes. */
static void test_class_markers(void **state) {
  (void)state;
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  struct buffer ranks, blob;
  struct error error = {0};
  buffer_init(&ranks, 1 << 16);
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  for (int byte = 0; byte < 256; byte++)
    buffer_print(&ranks, "%c%c== %d\n", digits[byte >> 2], digits[(byte & 3) << 4], byte);
  struct slice config = slice_text("{\"tokenizer_class\": \"QWenTokenizer\"}");
  if (!tokenizer_compile_file("qwen.tiktoken", buffer_slice(&ranks), config, &blob, &error)) fail_msg("%s", error.text);
  struct tokenizer *tokenizer = tokenizer_open(buffer_slice(&blob), &error);
  assert_non_null(tokenizer);
  assert_int_equal(tokenizer_find(tokenizer, slice_text("<|endoftext|>")), 256);
  assert_int_equal(tokenizer_find(tokenizer, slice_text("<|im_end|>")), 258);
  assert_int_equal(tokenizer_find(tokenizer, slice_text("<|extra_204|>")), 256 + 207);
  assert_true(tokenizer_is_end(tokenizer, 258) && tokenizer_is_special(tokenizer, 259));
  assert_int_equal(tokenizer_facts(tokenizer)->n_vocab, 256 + 208);
  tokenizer_close(tokenizer);
  buffer_release(&ranks);
  buffer_release(&blob);
}

/* --- refusals --------------------------------------------------------------------------------------------------- */

struct refusal {
  const char *name; /* of the file */
  const char *file;
  size_t size; /* 0: that of the text */
  const char *config;
  const char *sentence;
};

#define BYTES(text) (text), sizeof(text) - 1
#define NO_MESSAGE  "tokenizer.model: The bytes are no message of Protocol Buffers: "
#define PIECE_A     "\x0a\x08\x0a\x01\x61\x15\x00\x00\x80\x3f"
#define BPE         "\x12\x02\x18\x02"
#define QWEN        "{\"tokenizer_class\": \"QWenTokenizer\"}"
#define TEKKEN(rest)                                                                                                   \
  "{\"config\": {\"pattern\": \"a\", \"default_vocab_size\": 4, \"default_num_special_tokens\": 2}, " rest "}"
#define SPECIALS "\"special_tokens\": [{\"rank\": 0, \"token_str\": \"<s>\"}]"

static void test_refused(void **state) {
  (void)state;
  static const struct refusal rows[] = {
      {"tokenizer.model", BYTES("\x0a"), NULL, NO_MESSAGE "a field ends beyond them."},
      {"tokenizer.model", BYTES("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), NULL,
       NO_MESSAGE "a field ends beyond them."},
      {"tokenizer.model", BYTES("\x0a\x01\x0f"), NULL, NO_MESSAGE "a field has a type that no field has."},
      {"tokenizer.model", BYTES("\x0a\x00\x00\x00"), NULL, NO_MESSAGE "a field has no number."},
      {"tokenizer.model", BYTES("\x0a\x02\x18\x07"), NULL,
       "tokenizer.model: Piece 0 is of the type 7, expected 1 to 6."},
      {"tokenizer.model", BYTES(PIECE_A "\x12\x02\x18\x03"), NULL,
       "tokenizer.model: The SentencePiece model is of the kind 3 (3: WORD); UNIGRAM, BPE and CHAR are supported."},
      {"tokenizer.model", BYTES(PIECE_A "\x1a\x02\x28\x00"), NULL,
       "tokenizer.model: The SentencePiece model writes spaces as no model does that Spate knows (escape_whitespaces "
       "is "
       "off); save its tokenizer.json."},
      {"tokenizer.model", BYTES("\x0a\x08\x0a\x01\x61\x15\x00\x00\xc0\x7f" BPE), NULL,
       "tokenizer.model: The score of piece 0 is not a number."},
      {"tokenizer.model", BYTES(PIECE_A "\x1a\x03\x12\x01\x61"), NULL,
       "tokenizer.model: The SentencePiece model's precompiled_charsmap is not one."},
      {"tokenizer.model", BYTES(PIECE_A BPE), "{\"tokenizer_class\": \"XLMRobertaTokenizer\"}",
       "tokenizer.model: The tokenizer_config.json names the class XLMRobertaTokenizer, which changes what "
       "tokenizer.model says; save the model's tokenizer.json."},
      {"tokenizer.model", BYTES(PIECE_A BPE), "{\"added_tokens_decoder\": {\"2000000\": {\"content\": \"x\"}}}",
       "tokenizer.model: tokenizer_config.json: added_tokens_decoder has \"2000000\", expected ids below 1048576 and "
       "tokens with a content."},
      {"tokenizer.model", BYTES(PIECE_A BPE), "{",
       "tokenizer_config.json: Not valid JSON at line 1, column 1: string or '}' expected near end of file."},
      {"tokenizer.model", "YQ== 0\n", 0, NULL,
       "tokenizer.model: A file of ranks does not say how text is split, and tokenizer_config.json's tokenizer_class "
       "is "
       "\"\", which is none of TikTokenTokenizer, ChatGLM4Tokenizer, QWenTokenizer, HYTokenizer; save the model's "
       "tokenizer.json."},
      {"qwen.tiktoken", "YQ== 0\nYg==\n", 0, QWEN,
       "qwen.tiktoken: A line is 'Yg==', expected a token in base64 and its rank."},
      {"qwen.tiktoken", "YQ== 99999999\n", 0, QWEN,
       "qwen.tiktoken: A line is 'YQ== 99999999', expected a token in base64 and its rank."},
      {"qwen.tiktoken", "YQ== 0\nYQ== 0\n", 0, QWEN, "qwen.tiktoken: Token 0 is there twice."},
      {"qwen.tiktoken", "YQ== 0\n", 0, QWEN,
       "qwen.tiktoken: No token is the byte 0x00 alone, as one has to be of each."},
      {"qwen.tiktoken", "Y*== 0\n", 0, QWEN,
       "qwen.tiktoken: A token's base64 has the byte 0x2A at position 1: encode the file anew."},
      {"tekken.json", "{}", 0, NULL, "tekken.json: It has no config with a pattern."},
      {"tekken.json", TEKKEN("\"vocab\": []"), 0, NULL,
       "tekken.json: It names no special_tokens, and its version is \"\": only those of v1, v2, v3 and v7 are known."},
      {"tekken.json", TEKKEN("\"special_tokens\": {}"), 0, NULL, "tekken.json: \"special_tokens\" is no list."},
      {"tekken.json", TEKKEN(SPECIALS ", \"vocab\": [{\"rank\": 2, \"token_bytes\": \"YQ==\"}]"), 0, NULL,
       "tekken.json: \"rank\" should be a whole number from 0 to 1."},
      {"tekken.json", TEKKEN(SPECIALS ", \"vocab\": [{\"rank\": 0}]"), 0, NULL,
       "tekken.json: Token 0 has no token_bytes."},
      {"tekken.json",
       TEKKEN("\"special_tokens\": [{\"rank\": 0, \"token_str\": \"a\"}, {\"rank\": 0, \"token_str\": \"b\"}]"), 0,
       NULL, "tekken.json: Two special tokens have the rank 0."},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const struct refusal *row = &rows[i];
    struct error error = {0};
    struct buffer blob;
    buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
    struct slice file = row->size ? slice_make(row->file, row->size) : slice_text(row->file);
    if (tokenizer_compile_file(row->name, file, slice_text(row->config ? row->config : ""), &blob, &error))
      fail_msg("compiled: row %zu", i);
    if (strcmp(error.text, row->sentence) != 0) print_error("row %zu\n", i);
    assert_string_equal(error.text, row->sentence);
    buffer_release(&blob);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_libraries), cmocka_unit_test(test_around),
                                     cmocka_unit_test(test_added), cmocka_unit_test(test_class_markers),
                                     cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
