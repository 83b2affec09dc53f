/* The walk over a long piece gives what merging it gives: for vocabularies and texts drawn at random, of symbols that
 * are known and unknown, with ranks that are equal. Where a token's rank is not behind its parts' there is no walk. */
#include "text_support.h"

#include "text/bpe_walk.h"

#include <stdlib.h>

enum { VOCABULARIES = 3000, TEXTS = 40, TEXT_SYMBOLS = 300, TOKENS = 64 };

enum unknown { FALLBACK, UNKNOWN, FUSED, UNKNOWN_IS_TEXT, DROPPED, UNKNOWNS };

static const char *const symbols[] = {"a", "b", "c", " ", "\xC3\xA9", "\xF0\x9F\xA6\x99"}; /* the last is in no token */
enum { SYMBOLS = sizeof symbols / sizeof *symbols, KNOWN = SYMBOLS - 1 };

static unsigned drawn(unsigned below) { return (unsigned)rand() % below; }

static void token_set(struct tokenizer_spec *spec, uint32_t id, const char *text) {
  struct error error;
  assert_true(spec_text_token(spec, id, slice_text(text), &error));
}

/* Tokens 0 to 4 are the symbols; each later one is two of those before it. */
static void tokens_draw(struct tokenizer_spec *spec, char texts[TOKENS][64], uint32_t count) {
  for (uint32_t id = 0; id < count; id++) {
    if (id < KNOWN) snprintf(texts[id], sizeof texts[id], "%s", symbols[id]);
    for (size_t size = 99; id >= KNOWN && size >= sizeof texts[id] - 1;)
      size = (size_t)snprintf(texts[id], sizeof texts[id], "%s%s", texts[drawn(id)], texts[drawn(id)]);
    token_set(spec, id, texts[id]);
  }
}

/* Every way to cut a token into two, some left out, at ranks that rise by one, by a step for several, or by chance. */
static void merges_draw(struct tokenizer_spec *spec, char texts[TOKENS][64], uint32_t count) {
  struct error error;
  unsigned step = 1 + drawn(4), chance = drawn(4);
  assert_true(spec_reserve_merges(spec, 64 * TOKENS, &error));
  for (uint32_t id = KNOWN; id < count; id++) {
    uint32_t rank = chance == 0 ? drawn(count) : id / step;
    for (size_t at = 1; at < strlen(texts[id]); at++) {
      struct slice left = slice_make(texts[id], at), right = slice_text(texts[id] + at);
      bool there = spec_find(spec, left) != TOKEN_NONE && spec_find(spec, right) != TOKEN_NONE;
      if (there && drawn(8) > 0) assert_true(spec_merge(spec, left, right, rank, &error));
    }
  }
}

static void spec_draw(struct tokenizer_spec *spec, enum unknown unknown, struct buffer *blob) {
  static char texts[TOKENS][64];
  struct error error = {0};
  spec_init(spec);
  uint32_t count = KNOWN + 1 + drawn(TOKENS - KNOWN - 1), bytes = unknown == FALLBACK ? 256 : 0;
  spec->flags = (unknown == FALLBACK ? MODEL_BYTE_FALLBACK : 0u) | (unknown == FUSED ? MODEL_FUSE_UNKNOWN : 0u) |
                (drawn(4) == 0 ? MODEL_IGNORE_MERGES : 0u);
  assert_true(spec_reserve_tokens(spec, count + bytes + 1, &error));
  tokens_draw(spec, texts, count);
  for (uint32_t byte = 0; byte < bytes; byte++) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", byte);
    token_set(spec, count + byte, name);
  }
  if (unknown == UNKNOWN || unknown == FUSED) spec->unk = (int32_t)(count + bytes);
  if (unknown == UNKNOWN_IS_TEXT) spec->unk = (int32_t)drawn(count);
  token_set(spec, count + bytes, "<unk>");
  spec->tokens[count + bytes].flags = TOKEN_SPECIAL;
  assert_true(spec_index(spec, &error));
  merges_draw(spec, texts, count);
  if (!tokenizer_blob_write(spec, blob, &error)) fail_msg("%s", error.text);
}

static size_t text_draw(char *text) {
  size_t size = 0;
  unsigned count = 1 + drawn(TEXT_SYMBOLS), kinds = 1 + drawn(SYMBOLS), rare = 1 + drawn(40);
  for (unsigned i = 0; i < count; i++) {
    const char *symbol = symbols[drawn(rare) ? drawn(kinds > KNOWN ? KNOWN : kinds) : drawn(SYMBOLS)];
    memcpy(text + size, symbol, strlen(symbol));
    size += strlen(symbol);
  }
  return size;
}

static void assert_walk_merges(const struct tokenizer_tables *tables, struct slice text, struct bpe_scratch *scratch) {
  struct token_list walked, merged;
  token_list_init(&walked, 1 << 20);
  token_list_init(&merged, 1 << 20);
  assert_true(bpe_walk_piece(tables, text, scratch, &walked));
  assert_true(bpe_merge_piece(tables, text, scratch, &merged));
  assert_int_equal(walked.count, merged.count);
  if (walked.count) assert_memory_equal(walked.ids, merged.ids, walked.count * sizeof *walked.ids);
  token_list_release(&walked);
  token_list_release(&merged);
}

static void test_random(void **state) {
  (void)state;
  int with_cuts = 0, without = 0;
  struct bpe_scratch scratch = {0};
  srand(7);
  for (int n = 0; n < VOCABULARIES; n++) {
    static char text[4 * TEXT_SYMBOLS];
    struct tokenizer_spec spec;
    struct tokenizer_tables tables;
    struct buffer blob;
    struct error error = {0};
    buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
    spec_draw(&spec, (enum unknown)(n % UNKNOWNS), &blob);
    if (!tables_open(&tables, buffer_slice(&blob), &error)) fail_msg("%s", error.text);
    with_cuts += tables.cuts != NULL;
    without += tables.cuts == NULL;
    for (int i = 0; tables.cuts && i < TEXTS; i++)
      assert_walk_merges(&tables, slice_make(text, text_draw(text)), &scratch);
    spec_release(&spec);
    buffer_release(&blob);
  }
  assert_true(with_cuts > VOCABULARIES / 5 && without > VOCABULARIES / 50);
  bpe_scratch_release(&scratch);
}

/* Whole texts of the families whose pieces are long, and of one whose pieces are words. */
static void test_families(void **state) {
  (void)state;
  static const struct {
    const char *name;
    bool walks;
  } rows[] = {{"gemma", true}, {"llama2", false}, {"gpt2", false}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct fixture fixture;
    struct tokenizer_tables tables;
    struct bpe_scratch scratch = {0};
    struct error error = {0};
    fixture_open(&fixture, rows[i].name);
    assert_true(tables_open(&tables, buffer_slice(&fixture.blob), &error));
    assert_int_equal(tables.cuts != NULL, rows[i].walks);
    struct file file;
    assert_true(file_open(&file, FIXTURES "/text/gemma.cases.json", &error));
    if (rows[i].walks) assert_walk_merges(&tables, slice_make(file.data, file.size), &scratch);
    file_close(&file);
    bpe_scratch_release(&scratch);
    fixture_close(&fixture);
  }
}

/* Tokens that lead astray at every byte: the walk gives up, and the piece is merged. */
static void test_astray(void **state) {
  (void)state;
  enum { LONG = 1 << 18, DEPTH = 11 };
  struct tokenizer_spec spec;
  struct tokenizer_tables tables;
  struct buffer blob;
  struct error error = {0};
  static char whole[(1 << DEPTH) + 1], text[LONG];
  memset(whole, 'a', sizeof whole - 1);
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  spec_init(&spec);
  assert_true(spec_reserve_tokens(&spec, DEPTH + 2, &error) && spec_reserve_merges(&spec, DEPTH + 1, &error));
  for (uint32_t id = 0; id <= DEPTH; id++)
    assert_true(spec_text_token(&spec, id, slice_make(whole, (size_t)1 << id), &error));
  token_set(&spec, DEPTH + 1, "b");
  assert_true(spec_index(&spec, &error));
  for (uint32_t id = 0; id < DEPTH; id++) {
    struct slice half = slice_make(whole, (size_t)1 << id);
    assert_true(spec_merge(&spec, half, half, id, &error));
  }
  assert_true(tokenizer_blob_write(&spec, &blob, &error) && tables_open(&tables, buffer_slice(&blob), &error));
  assert_non_null(tables.cuts);
  struct bpe_scratch scratch = {0};
  for (size_t run = 1; run < LONG; run = 3 * run + 1) {
    for (size_t at = 0; at < LONG; at++) text[at] = at % (run + 1) == run ? 'b' : 'a';
    assert_walk_merges(&tables, slice_make(text, LONG), &scratch);
  }
  bpe_scratch_release(&scratch);
  spec_release(&spec);
  buffer_release(&blob);
}

/* A token of unknown characters that runs of them are fused to: twice its text is one run, and there is no walk. */
static void test_fused_text(void **state) {
  (void)state;
  static const int32_t ids[] = {0, 1, 0, 2};
  struct buffer blob;
  struct tokenizer *tokenizer =
      tokenizer_of("{\"model\":{\"type\":\"BPE\",\"unk_token\":\"xyz\",\"fuse_unk\":true,\"vocab\":"
                   "{\"a\":0,\"xyz\":1,\"xyzb\":2,\"b\":3},\"merges\":[\"xyz b\"]}}",
                   &blob);
  struct token_list found = encode_all(tokenizer, slice_text("axyzxyzaxyzxyzb"), 0);
  assert_int_equal(found.count, 4);
  assert_memory_equal(found.ids, ids, sizeof ids);
  token_list_release(&found);
  tokenizer_close(tokenizer);
  buffer_release(&blob);
}

/* Unknown characters that leave nothing join what is around them, also where the list has room for what is right only:
 * the first ids of a text are those of all. */
static void test_full(void **state) {
  (void)state;
  static const int32_t all[] = {4, 4};
  struct error error = {0};
  struct buffer blob;
  struct tokenizer *tokenizer =
      tokenizer_of("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"bc\":3,\"abc\":4},"
                   "\"merges\":[\"b c\",\"a bc\"]}}",
                   &blob);
  for (size_t most = 1; most <= 2; most++) {
    struct token_list first;
    token_list_init(&first, most);
    assert_true(tokenizer_encode_first(tokenizer, slice_text("abxcabxc"), 0, &first, &error));
    assert_int_equal(first.count, most);
    assert_memory_equal(first.ids, all, most * sizeof *all);
    assert_int_equal(first.failed, most < 2);
    token_list_release(&first);
  }
  tokenizer_close(tokenizer);
  buffer_release(&blob);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_random),     cmocka_unit_test(test_families), cmocka_unit_test(test_astray),
      cmocka_unit_test(test_fused_text), cmocka_unit_test(test_full),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
