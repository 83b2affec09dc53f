/* Vocabularies as GGUF describes them, small enough to follow by hand: merging by scores, markers, byte fallback, and
 * the sentences that refuse. */
#include "text_support.h"

enum { N = 1, U = 2, C = 3, D = 4, B = 6 }; /* normal, unknown, control, user defined, byte */

static const struct slice *slices(const char *const *texts, size_t count) {
  static struct slice out[64];
  for (size_t i = 0; i < count; i++) out[i] = slice_text(texts[i]);
  return out;
}

/* U+2581 in a token is a space. */
#define SP "\xE2\x96\x81"
static const char *const spm_tokens[] = {"<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", SP,  "a", "b", "c",    SP "a",
                                         "ab",    "bc",  "</",   "s>",     "<",      "/", "s", ">", "<go>", SP SP};
static const int32_t spm_types[] = {U, C, C, B, B, N, N, N, N, N, N, N, N, N, N, N, N, N, D, N};
static const float spm_scores[] = {0, 0, 0, 0, 0, -9, -9, -9, -9, -2, -1, -1, -3, -4, -9, -9, -9, -9, 0, -5};
enum { SPM_COUNT = sizeof spm_scores / sizeof *spm_scores };

static struct vocab_source spm_source(void) {
  return (struct vocab_source){.model = slice_text("llama"),
                               .n_token = SPM_COUNT,
                               .tokens = slices(spm_tokens, SPM_COUNT),
                               .types = spm_types,
                               .scores = spm_scores,
                               .bos = 1,
                               .eos = 2,
                               .unk = 0,
                               .pad = -1,
                               .eot = -1,
                               .eom = -1};
}

struct compiled {
  struct buffer blob;
  struct tokenizer *tokenizer;
};

static struct compiled compile(const struct vocab_source *source) {
  struct compiled compiled;
  struct error error = {0};
  buffer_init(&compiled.blob, 1 << 20);
  if (!tokenizer_compile_vocab(source, &compiled.blob, &error)) fail_msg("%s", error.text);
  compiled.tokenizer = tokenizer_open(buffer_slice(&compiled.blob), &error);
  if (!compiled.tokenizer) fail_msg("%s", error.text);
  return compiled;
}

static void compiled_release(struct compiled *compiled) {
  tokenizer_close(compiled->tokenizer);
  buffer_release(&compiled->blob);
}

/* expected ends with -1. */
static void check_ids(const struct tokenizer *tokenizer, const char *text, unsigned flags, const int32_t *expected) {
  struct token_list ids = encode_all(tokenizer, slice_text(text), flags);
  size_t count = 0;
  while (expected[count] >= 0) count++;
  if (ids.count != count) fail_msg("'%s' gives %zu ids, expected %zu", text, ids.count, count);
  for (size_t i = 0; i < count; i++) assert_int_equal(ids.ids[i], expected[i]);
  token_list_release(&ids);
}

#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})

static void test_scores(void **state) {
  (void)state;
  struct vocab_source source = spm_source();
  struct compiled compiled = compile(&source);
  const struct tokenizer *t = compiled.tokenizer;
  check_ids(t, "a", 0, IDS(9));
  check_ids(t, "abc", 0, IDS(5, 10, 8)); /* ab and bc have equal scores: the left one; it beats " a" */
  check_ids(t, "a b", ENCODE_ADD_SPECIAL, IDS(1, 9, 5, 7));
  check_ids(t, "\xC3\xA9", 0, IDS(5, 3, 4));
  check_ids(t, "zz", 0, IDS(5, 0)); /* a run of unknown characters is one */
  check_ids(t, "", 0, IDS(-1));
  check_ids(t, SP "a", 0, IDS(5, 9)); /* a written U+2581 is a space */
  check_ids(t, "a</s>a", ENCODE_PARSE_SPECIAL, IDS(9, 2, 9));
  check_ids(t, "</s>", 0, IDS(5, 12, 13)); /* "</" and "s>" do not merge to the marker */
  check_ids(t, "a<go>a", 0, IDS(9, 18, 9));
  assert_true(tokenizer_is_end(t, 2));
  assert_true(tokenizer_facts(t)->strip_leading_space && tokenizer_facts(t)->add_bos);
  compiled_release(&compiled);
}

static void test_no_prefix(void **state) {
  (void)state;
  struct vocab_source source = spm_source();
  source.add_space_prefix = VOCAB_NO;
  source.add_bos = VOCAB_NO;
  source.add_eos = VOCAB_YES;
  struct compiled compiled = compile(&source);
  check_ids(compiled.tokenizer, "a a", ENCODE_ADD_SPECIAL, IDS(6, 9, 2));
  assert_false(tokenizer_facts(compiled.tokenizer)->strip_leading_space);
  compiled_release(&compiled);
}

static void test_byte_level(void **state) {
  (void)state;
  static const char *const tokens[] = {"a",
                                       "b",
                                       "\xC4\xA0",
                                       "ab",
                                       "\xC4\xA0"
                                       "a",
                                       "<|im_end|>",
                                       "1"};
  static const char *const merges[] = {"\xC4\xA0 a", "a b"};
  static struct slice merge_slices[2];
  for (int i = 0; i < 2; i++) merge_slices[i] = slice_text(merges[i]);
  struct vocab_source source = {.model = slice_text("gpt2"),
                                .pre = slice_text("smollm"),
                                .n_token = 7,
                                .tokens = slices(tokens, 7),
                                .n_merge = 2,
                                .merges = merge_slices,
                                .bos = -1,
                                .eos = 5,
                                .unk = -1,
                                .pad = -1,
                                .eot = -1,
                                .eom = -1};
  struct compiled compiled = compile(&source);
  check_ids(compiled.tokenizer, "ab ab11", 0, IDS(3, 4, 1, 6, 6));
  check_ids(compiled.tokenizer, "a<|im_end|>", ENCODE_PARSE_SPECIAL, IDS(0, 5)); /* a marker though typed normal */
  assert_string_equal(tokenizer_facts(compiled.tokenizer)->name, "byte-level BPE (smollm)");
  compiled_release(&compiled);
}

/* A fixture's vocabulary and merges as a GGUF file has them; what is allocated is kept in the lists. */
struct as_gguf {
  json_t *root, *written; /* merges as texts */
  struct slice tokens[8192], merges[8192];
  struct vocab_source source;
};

static void merges_fill(struct as_gguf *gguf, const json_t *merges) {
  size_t i;
  const json_t *merge;
  gguf->written = json_array();
  json_array_foreach(merges, i, merge) {
    json_array_append_new(gguf->written, json_sprintf("%s %s", json_string_value(json_array_get(merge, 0)),
                                                      json_string_value(json_array_get(merge, 1))));
    gguf->merges[i] = json_slice(json_array_get(gguf->written, i));
  }
  gguf->source.n_merge = json_array_size(merges);
  gguf->source.merges = gguf->merges;
}

static void as_gguf_fill(struct as_gguf *gguf, const char *fixture, const char *pre) {
  char path[256];
  struct error error = {0};
  snprintf(path, sizeof path, FIXTURES "/text/%s.tokenizer.json", fixture);
  gguf->root = json_read(path, 1 << 20, &error);
  if (!gguf->root) fail_msg("%s", error.text);
  const json_t *model = json_object_get(gguf->root, "model");
  json_t *vocab = json_object_get(model, "vocab");
  gguf->source = (struct vocab_source){.model = slice_text("gpt2"),
                                       .pre = slice_text(pre),
                                       .tokens = gguf->tokens,
                                       .n_token = json_object_size(vocab),
                                       .bos = -1,
                                       .eos = -1,
                                       .unk = -1,
                                       .pad = -1,
                                       .eot = -1,
                                       .eom = -1,
                                       .sep = -1,
                                       .cls = -1,
                                       .add_bos = VOCAB_NO};
  for (void *entry = json_object_iter(vocab); entry; entry = json_object_iter_next(vocab, entry))
    gguf->tokens[json_integer_value(json_object_iter_value(entry))] =
        slice_make(json_object_iter_key(entry), json_object_iter_key_len(entry));
  merges_fill(gguf, json_object_get(model, "merges"));
}

static void check_rule(const char *fixture, const char *name, const json_t *cases) {
  static struct as_gguf gguf;
  size_t i;
  const json_t *row;
  as_gguf_fill(&gguf, fixture, name);
  struct compiled compiled = compile(&gguf.source);
  json_array_foreach(cases, i, row) {
    const json_t *expected = json_array_get(row, 1);
    struct slice text = json_slice(json_array_get(row, 0));
    struct token_list ids = encode_all(compiled.tokenizer, text, 0);
    bool same = ids.count == json_array_size(expected);
    for (size_t k = 0; same && k < ids.count; k++) same = ids.ids[k] == json_integer_value(json_array_get(expected, k));
    if (!same) fail_msg("%s: other ids of '%.*s'", name, SLICE_ARGS(text));
    token_list_release(&ids);
  }
  assert_true(i > 40);
  compiled_release(&compiled);
  json_decref(gguf.written);
  json_decref(gguf.root);
}

/* Every name of a split rule, against the package `tokenizers` with the regexes of the models' own files
 * (tools/make_rule_fixture.py). */
static void test_rules(void **state) {
  (void)state;
  struct error error = {0};
  json_t *rules = json_read(FIXTURES "/text/rules.json", 4 << 20, &error);
  if (!rules) fail_msg("%s", error.text);
  size_t i, k, count = 0;
  const json_t *rule, *name;
  json_array_foreach(rules, i, rule) {
    json_array_foreach(json_array_get(rule, 0), k, name) {
      check_rule(json_string_value(json_array_get(rule, 1)), json_string_value(name), json_array_get(rule, 2));
      count++;
    }
  }
  assert_int_equal(count, 91);
  json_decref(rules);
}

static void check_refused(const struct vocab_source *source, const char *sentence) {
  struct buffer blob;
  struct error error = {0};
  buffer_init(&blob, 1 << 20);
  assert_false(tokenizer_compile_vocab(source, &blob, &error));
  assert_string_equal(error.text, sentence);
  buffer_release(&blob);
}

static void test_refused(void **state) {
  (void)state;
  struct vocab_source source = spm_source();
  source.model = slice_text("rwkv");
  check_refused(&source, "The vocabulary's kind (tokenizer.ggml.model) is 'rwkv', which is not supported; gpt2 "
                         "(byte-level BPE), whitespace and gemma4 (BPE of characters), llama (SentencePiece BPE), bert "
                         "(WordPiece) and t5 (Unigram) are.");
  source = spm_source();
  source.scores = NULL;
  check_refused(&source, "The vocabulary is of the kind 'llama' but has no tokenizer.ggml.scores.");
  source = spm_source();
  source.n_token = 0;
  check_refused(&source, "The tokenizer has 0 tokens; between 1 and 1048576 are supported.");
  static float bad[SPM_COUNT] = {[3] = __builtin_nanf("")};
  source = spm_source();
  source.scores = bad;
  check_refused(&source, "The score of token 3 is not a number.");
  source = spm_source();
  source.model = slice_text("gpt2");
  source.pre = slice_text("morse");
  check_refused(&source, "The vocabulary's split rule (tokenizer.ggml.pre) is 'morse', which is not one of those in "
                         "docs/tokenizers.md; convert the model to a directory with its tokenizer.json.");
  source.pre = slice_text("gpt-2");
  struct slice merge = slice_text("ab");
  source.merges = &merge;
  source.n_merge = 1;
  check_refused(&source, "Merge 0 of the vocabulary is 'ab', expected two tokens and a space.");
  merge = slice_text("a q");
  check_refused(&source, "Merge 0 makes 'aq', but 'q' is not in the vocabulary.");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scores), cmocka_unit_test(test_no_prefix), cmocka_unit_test(test_byte_level),
      cmocka_unit_test(test_rules),  cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
