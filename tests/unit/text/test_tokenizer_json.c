/* tokenizer.json: each family's small twin against what the package `tokenizers` made of adversarial strings
 * (tools/make_tokenizer_fixtures.py), and the sentences that refuse what is not supported. */
#include "text_support.h"

/* The first ids of a text are the same ones, however few are asked for. */
static void check_first(const struct tokenizer *tokenizer, struct slice text, const char *name) {
  enum { FLAGS = ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, MOST = 64 };
  struct token_list all = encode_all(tokenizer, text, FLAGS);
  for (size_t most = 1; most < MOST && most <= all.count; most++) {
    struct error error = {0};
    struct token_list first;
    token_list_init(&first, most);
    if (!tokenizer_encode_first(tokenizer, text, FLAGS, &first, &error)) fail_msg("%s: %s", name, error.text);
    if (first.count != most || memcmp(first.ids, all.ids, most * sizeof *first.ids) != 0)
      fail_msg("%s: the first %zu ids of '%.*s' are others", name, most, SLICE_ARGS(text));
    token_list_release(&first);
  }
  token_list_release(&all);
}

static void check_case(const struct tokenizer *tokenizer, const json_t *row, const char *name) {
  struct slice text = json_slice(json_array_get(row, 0)), decoded = json_slice(json_array_get(row, 2));
  struct buffer out;
  buffer_init(&out, 1 << 20);
  row_decode(tokenizer, row, ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, name, &out);
  if (!slice_equal(buffer_slice(&out), decoded)) fail_msg("%s: '%.*s' decodes otherwise", name, SLICE_ARGS(text));
  buffer_release(&out);
  check_first(tokenizer, text, name);
}

static void test_families(void **state) {
  (void)state;
  static const char *const names[] = {
      "gpt2",       "llama3",        "qwen2",           "smollm",  "llama2",          "metaspace",  "phi3",
      "gemma",      "added",         "roberta",         "bert",    "bert_cased",      "wordlevel",  "xlmr",
      "t5",         "unigram_bytes", "tekken",          "gpt4o",   "deepseek3",       "falcon",     "clip",
      "openai_gpt", "both_affixes",  "scripts",         "letters", "byte_normalizer", "twice",      "gemma4",
      "neox",       "deepseek_llm",  "wordpiece_apart", "ctc",     "inner_prefix",    "inner_marks"};
  for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
    struct fixture fixture;
    fixture_open(&fixture, names[n]);
    char path[256];
    snprintf(path, sizeof path, FIXTURES "/text/%s.cases.json", names[n]);
    struct error error = {0};
    json_t *cases = json_read(path, 1 << 20, &error);
    if (!cases) fail_msg("%s", error.text);
    size_t i;
    json_t *row;
    json_array_foreach(cases, i, row) { check_case(fixture.tokenizer, row, names[n]); }
    assert_true(i > 100);
    json_decref(cases);
    fixture_close(&fixture);
  }
}

/* Without ENCODE_PARSE_SPECIAL no text becomes a special token. */
static void test_special_is_text(void **state) {
  (void)state;
  static const char *const names[] = {"llama3", "smollm", "llama2", "gemma"};
  for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
    struct fixture fixture;
    fixture_open(&fixture, names[n]);
    struct slice text = slice_text("<|eot_id|> <|im_end|></s><s> <end_of_turn><unk>");
    struct token_list ids = encode_all(fixture.tokenizer, text, 0);
    for (size_t i = 0; i < ids.count; i++) assert_false(tokenizer_is_special(fixture.tokenizer, ids.ids[i]));
    token_list_release(&ids);
    fixture_close(&fixture);
  }
}

static void test_facts(void **state) {
  (void)state;
  struct fixture fixture;
  fixture_open(&fixture, "smollm");
  const struct tokenizer_facts *facts = tokenizer_facts(fixture.tokenizer);
  assert_string_equal(facts->name, "byte-level BPE");
  assert_int_equal(facts->n_end, 2);
  int32_t end = tokenizer_find(fixture.tokenizer, slice_text("<|im_end|>"));
  assert_true(end > 0 && tokenizer_is_end(fixture.tokenizer, end) && tokenizer_is_special(fixture.tokenizer, end));
  assert_false(tokenizer_is_end(fixture.tokenizer, 0));
  assert_int_equal(tokenizer_piece(fixture.tokenizer, -1).size, 0);
  assert_int_equal(tokenizer_piece(fixture.tokenizer, 1 << 30).size, 0);
  assert_true(slice_is(tokenizer_piece(fixture.tokenizer, end), "<|im_end|>"));
  assert_int_equal(tokenizer_find(fixture.tokenizer, slice_text("no such token")), -1);
  fixture_close(&fixture);
}

/* Of gpt-oss's vocabulary <|end|> ends a message, of which an answer has several; of others it ends the answer. */
static void test_end_of_messages(void **state) {
  (void)state;
  static const char *const last[] = {"<|call|>", "<|other|>"};
  for (int i = 0; i < 2; i++) {
    char text[600];
    snprintf(text, sizeof text,
             "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},"
             "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"added_tokens\":["
             "{\"id\":1,\"content\":\"<|end|>\",\"special\":true},"
             "{\"id\":2,\"content\":\"<|return|>\",\"special\":true},"
             "{\"id\":3,\"content\":\"%s\",\"special\":true}]}",
             last[i]);
    struct buffer blob;
    struct error error = {0};
    buffer_init(&blob, 1 << 20);
    if (!tokenizer_compile_json(slice_text(text), slice_make("", 0), &blob, &error)) fail_msg("%s", error.text);
    struct tokenizer *tokenizer = tokenizer_open(buffer_slice(&blob), &error);
    if (!tokenizer) fail_msg("%s", error.text);
    assert_int_equal(tokenizer_is_end(tokenizer, 1), i == 1);
    assert_true(tokenizer_is_end(tokenizer, 2) && tokenizer_is_end(tokenizer, 3) == (i == 0));
    tokenizer_close(tokenizer);
    buffer_release(&blob);
  }
}

static void test_config(void **state) {
  (void)state;
  struct slice json =
      slice_text("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]},"
                 "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                 "\"added_tokens\":[{\"id\":3,\"content\":\"<B>\",\"special\":true},"
                 "{\"id\":4,\"content\":\"<E>\",\"special\":true}]}");
  struct slice config = slice_text("{\"bos_token\":\"<B>\",\"eos_token\":{\"content\":\"<E>\"},\"add_bos_token\":true,"
                                   "\"add_eos_token\":true}");
  struct buffer blob;
  struct error error = {0};
  buffer_init(&blob, 1 << 20);
  if (!tokenizer_compile_json(json, config, &blob, &error)) fail_msg("%s", error.text);
  struct tokenizer *tokenizer = tokenizer_open(buffer_slice(&blob), &error);
  assert_non_null(tokenizer);
  struct token_list ids = encode_all(tokenizer, slice_text("ab"), ENCODE_ADD_SPECIAL);
  assert_int_equal(ids.count, 3);
  assert_int_equal(ids.ids[0], 3);
  assert_int_equal(ids.ids[1], 2);
  assert_int_equal(ids.ids[2], 4);
  token_list_release(&ids);
  tokenizer_close(tokenizer);
  buffer_release(&blob);
}

static void test_bad_text(void **state) {
  (void)state;
  struct fixture fixture;
  fixture_open(&fixture, "gpt2");
  struct token_list ids;
  struct error error = {0};
  token_list_init(&ids, 3);
  assert_false(tokenizer_encode(fixture.tokenizer, slice_make("ab\xff", 3), 0, &ids, &error));
  assert_string_equal(error.text, "The text is not valid UTF-8.");
  assert_false(tokenizer_encode(fixture.tokenizer, slice_text("q x q x q x"), 0, &ids, &error));
  assert_string_equal(error.text, "The text has more than the 3 tokens allowed; send a shorter one.");
  assert_int_equal(error.code, ERROR_LIMIT);
  token_list_release(&ids);
  fixture_close(&fixture);
}

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
#define BYTES "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define SPLIT(pattern)                                                                                                 \
  "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":" \
  "\"" pattern "\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}}"

#define PLAIN_BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define AFTER_BYTES(more)                                                                                              \
  "{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" PLAIN_BYTES "," more "]}}"
#define LONG "123456789012345678901234567890123"

#define DECODERS(list) "{" MODEL ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[" list "]}}"
#define FORTY          "xyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxy"
#define TEXT_A         "{\"Sequence\":{\"id\":\"A\"}}"
#define MARK_S         "{\"SpecialToken\":{\"id\":\"a\"}}"
#define PARTS                                                                                                          \
  "{\"type\":\"TemplateProcessing\",\"single\":[" MARK_S "," TEXT_A "," MARK_S                                         \
  "],\"special_tokens\":{\"a\":{\"ids\":[0]}}}"

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *json, *sentence;
  } rows[] = {
      {"{", "tokenizer.json: Not valid JSON at line 1, column 1: string or '}' expected near end of file."},
      {"{" BYTES "}", "The tokenizer.json is malformed: it has no model."},
      {"[]", "The tokenizer.json is malformed: it has no model."},
      {"{\"model\":{\"type\":\"Markov\"}," BYTES "}",
       "The tokenizer's model 'Markov' is not supported; BPE, Unigram, WordPiece and WordLevel are."},
      {"{\"model\":{\"type\":\"Unigram\",\"vocab\":{}}," BYTES "}",
       "The tokenizer.json is malformed: its model has no vocabulary."},
      {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}",
       "Token 0 of the tokenizer is not a text with a score."},
      {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1]],\"unk_id\":1}}",
       "The tokenizer.json is malformed: its model's unk_id is no token's."},
      {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0},\"max_input_chars_per_word\":100000}}",
       "The tokenizer's words may have 100000 characters, expected 1 to 1000."},
      {"{" MODEL "," BYTES ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}}",
       "The tokenizer's normalizer 'Precompiled' is malformed: its precompiled_charsmap is not one."},
      {"{" MODEL "," BYTES ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A*AA\"}}",
       "The tokenizer's precompiled_charsmap has the byte 0x2A at position 1: encode the file anew."},
      {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":0}}",
       "The tokenizer's pre-tokenizer 'FixedLength' is malformed: its length is not from 1 to 1000."},
      {"{\"model\":{\"type\":\"BPE\"}," BYTES "}", "The tokenizer.json is malformed: its model has no vocabulary."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}," BYTES "}",
       "The tokenizer has 0 tokens; between 1 and 1048576 are supported."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1}}," BYTES "}",
       "The id of the token 'a' is not a number from 0 to 1048575."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":2000000}}," BYTES "}",
       "The id of the token 'a' is not a number from 0 to 1048575."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}," BYTES "}",
       "The tokenizer.json is malformed: its model has no list of merges."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"ab\"]}," BYTES "}",
       "Merge 0 of the tokenizer is not a pair of tokens."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"a\",\"a\"]]}," BYTES "}",
       "Merge 0 of the tokenizer is not a pair of tokens."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}," BYTES "}",
       "Merge 0 makes 'aa', but 'aa' is not in the vocabulary."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}," BYTES "}",
       "Merge 0 makes 'ab', but 'b' is not in the vocabulary."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}," BYTES "}",
       "Two tokens have the id 0; 'b' is one of them."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"continuing_subword_prefix\":\"" LONG
       "\"}," BYTES "}",
       "An affix of the tokenizer's BPE model has more than the 32 bytes allowed."},
      {"{" MODEL "," BYTES ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" +\"}}}",
       "The tokenizer's normalizer 'Replace' is malformed: it has no pattern, or no content."},
      {"{" MODEL "," BYTES ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"x\"}}",
       "The split regex '(' does not compile: missing closing parenthesis."},
      {"{" MODEL "," BYTES ",\"post_processor\":{\"type\":\"BertProcessing\"}}",
       "The tokenizer.json is malformed: its post-processor names no cls or sep token."},
      {"{" MODEL "," BYTES ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
       "\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[9]}}}}",
       "The tokenizer.json is malformed: its post-processor puts too many tokens or unknown ones around a text."},
      {"{" MODEL "," BYTES ",\"added_tokens\":[{\"content\":\"x\"}]}",
       "The id of added token 0 is not a number from 0 to 1048575."},
      {SPLIT("("), "The split regex '(' does not compile: missing closing parenthesis."},
      {SPLIT("[^a&&b]"),
       "The split regex '[^a&&b]' uses an intersection in a negated class at byte 3, which is not supported."},
      {SPLIT("[a[^b]]"),
       "The split regex '[a[^b]]' uses a negated or named class inside a class at byte 2, which is not supported."},
      {SPLIT("[a[b&&c]]"),
       "The split regex '[a[b&&c]]' uses an intersection within a class of a class at byte 4, which is not supported."},
      {SPLIT("[a&&[^b]c]"), /* what is left of the class would be text to PCRE2 */
       "The split regex '[a&&[^b]c]' uses an intersection that its class does not end behind at byte 8, which is not "
       "supported."},
      {SPLIT("[a&&b"),
       "The split regex '[a&&b' uses an intersection that its class does not end behind at byte 5, which "
       "is not supported."},
      {SPLIT("\\\\ua\xC3\xA9\xE2\x82\xAC"), /* four bytes that end within a character */
       "The split regex '\\ua\xC3\xA9\xE2\x82\xAC' uses \\u without four hexadecimal digits at byte 0, which is not "
       "supported."},
      {SPLIT("\\\\h"),
       "The split regex '\\h' uses an escape whose meaning differs between engines at byte 0, which is not supported."},
      {AFTER_BYTES(PLAIN_BYTES "," PLAIN_BYTES "," PLAIN_BYTES "," PLAIN_BYTES),
       "The tokenizer has more than 4 ByteLevel components that spell texts in letters."},
      {"{" MODEL ",\"decoder\":{\"type\":\"Magic\"}}", "The tokenizer's decoder 'Magic' is not supported."},
      {DECODERS("{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}"),
       "The tokenizer's decoder 'ByteFallback' is not supported where it looks at a fused text."},
      {DECODERS("{\"type\":\"ByteFallback\"},{\"type\":\"Metaspace\"}"),
       "The tokenizer's decoder 'Metaspace' is not supported behind ByteFallback, but for a Fuse."},
      {DECODERS("{\"type\":\"BPEDecoder\"},{\"type\":\"CTC\"}"),
       "The tokenizer's CTC decoder has to be the first one."},
      {DECODERS("{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}"),
       "The tokenizer's decoder 'Strip' is malformed: it does not say which character to strip and how often."},
      {DECODERS("{\"type\":\"CTC\",\"pad_token\":\"\"}"),
       "The tokenizer's decoder 'CTC' is malformed: its pad_token or its word_delimiter_token is empty."},
      {DECODERS("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}"),
       "The split regex '(' does not compile: missing closing parenthesis."},
      {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"x" FORTY FORTY "\":0},\"merges\":[]},\"decoder\":{\"type\":"
       "\"BPEDecoder\",\"suffix\":\"x\"}}",
       "The end of a text changes more than 64 bytes of token 0, which is not supported."},
      {DECODERS("{\"type\":\"BPEDecoder\",\"suffix\":\"\"}"),
       "The tokenizer's decoder 'BPEDecoder' is malformed: its suffix is empty."},
      {"{" MODEL "," BYTES ",\"added_tokens\":[{\"id\":1,\"content\":\"" FORTY FORTY FORTY FORTY FORTY FORTY FORTY FORTY
           FORTY FORTY FORTY FORTY FORTY "\"}]}",
       "Added token 1 has 520 bytes, more than the 512 allowed."},
      {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"last\"}}",
       "The tokenizer's pre-tokenizer 'Metaspace' is malformed: its prepend_scheme is not always, first or never."},
      {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0},\"continuing_subword_prefix\":\"" LONG "\"}}",
       "The prefix of the tokenizer's WordPiece model has more than the 32 bytes allowed."},
      {"{" MODEL "," BYTES ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[" TEXT_A "," TEXT_A "]}}",
       "The tokenizer.json is malformed: its post-processor's template is not one text with special tokens around it."},
      {"{" MODEL "," BYTES ",\"post_processor\":{\"type\":\"Sequence\",\"processors\":[" PARTS "," PARTS "]}}",
       "The tokenizer.json is malformed: its post-processor's template is one of more than two parts."},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct buffer blob;
    struct error error = {0};
    buffer_init(&blob, 1 << 20);
    if (tokenizer_compile_json(slice_text(rows[i].json), slice_text(""), &blob, &error))
      fail_msg("accepted: %s", rows[i].json);
    assert_string_equal(error.text, rows[i].sentence);
    buffer_release(&blob);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_families),        cmocka_unit_test(test_special_is_text), cmocka_unit_test(test_facts),
      cmocka_unit_test(test_end_of_messages), cmocka_unit_test(test_config),          cmocka_unit_test(test_bad_text),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
