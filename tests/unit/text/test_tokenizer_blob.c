/* A corrupt blob is refused or gives wrong tokens; it never makes the tokenizer read or write outside its memory (which
 * the address sanitizer's build of this test would show), loop or crash. */
#include "text_support.h"

#include "text/tokenizer_blob.h"

#include <stdlib.h>

static void use(const struct tokenizer *tokenizer) {
  static const char text[] =
      "The quick  brown \xF0\x9F\xA6\x99 fox <|im_end|></s>\n\n12345 it's \xC3\xA9 aaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
  struct token_list ids;
  token_list_init(&ids, 4096);
  tokenizer_encode(tokenizer, slice_text(text), ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, &ids, NULL);
  struct buffer out;
  buffer_init(&out, 1 << 20);
  detokenize(tokenizer, ids.ids, ids.count, DETOKENIZE_START, &out);
  buffer_release(&out);
  token_list_release(&ids);
}

/* Copies the blob to memory of exactly its size, lets change spoil it, and uses it if it still opens. */
static bool opens_spoiled(struct slice blob, size_t size, size_t at, uint8_t flip) {
  uint8_t *copy = malloc(size);
  assert_non_null(copy);
  memcpy(copy, blob.data, size);
  if (at < size) copy[at] ^= flip;
  struct error error = {0};
  struct tokenizer *tokenizer = tokenizer_open(slice_make(copy, size), &error);
  assert_true(tokenizer || error.code != ERROR_NONE);
  if (tokenizer) use(tokenizer);
  tokenizer_close(tokenizer);
  free(copy);
  return tokenizer;
}

static void test_truncated(void **state) {
  (void)state;
  struct fixture fixture;
  fixture_open(&fixture, "added");
  struct slice blob = buffer_slice(&fixture.blob);
  for (size_t size = 1; size < blob.size; size += size < 1024 ? 7 : 997)
    assert_false(opens_spoiled(blob, size, size, 0));
  assert_true(opens_spoiled(blob, blob.size, blob.size, 0));
  fixture_close(&fixture);
}

static void test_flipped(void **state) {
  (void)state;
  static const char *const names[] = {"added", "gemma", "llama2", "metaspace", "bert", "xlmr", "wordlevel"};
  srand(1);
  for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
    struct fixture fixture;
    fixture_open(&fixture, names[n]);
    struct slice blob = buffer_slice(&fixture.blob);
    for (size_t at = 0; at < sizeof(struct blob_header); at++) opens_spoiled(blob, blob.size, at, 0xFF);
    for (int i = 0; i < 1000; i++)
      opens_spoiled(blob, blob.size, (size_t)rand() % blob.size, (uint8_t)(1 + rand() % 255));
    for (int i = 0; i < 300; i++) /* steps and texts are at the end */
      opens_spoiled(blob, blob.size, blob.size - 1 - (size_t)i, (uint8_t)(1 + rand() % 255));
    fixture_close(&fixture);
  }
}

static void test_sentences(void **state) {
  (void)state;
  struct fixture fixture;
  fixture_open(&fixture, "gpt2");
  struct tokenizer_tables tables;
  struct error error;
  struct slice blob = buffer_slice(&fixture.blob);
  struct blob_header *header = (struct blob_header *)fixture.blob.data;
  assert_false(tables_open(&tables, slice_make(blob.data, 10), &error));
  assert_string_equal(error.text, "The compiled tokenizer is corrupt: it does not start with the magic bytes of one; "
                                  "build the engine again.");
  assert_false(tables_open(&tables, slice_make(blob.data, blob.size - 8), &error));
  assert_string_equal(error.text, "The compiled tokenizer is corrupt: its size is not the one in its header; build the "
                                  "engine again.");
  header->version = 99;
  assert_false(tables_open(&tables, blob, &error));
  assert_string_equal(error.text,
                      "The compiled tokenizer has format version 99, this program reads 4; build the engine "
                      "again.");
  header->version = BLOB_VERSION;
  uint32_t flags = header->flags;
  header->flags |= MODEL_BARE_START | MODEL_SHOWS_LAST;
  assert_false(tables_open(&tables, blob, &error));
  assert_string_equal(error.text,
                      "The compiled tokenizer is corrupt: it drops spaces at both ends; build the engine again.");
  header->flags = flags;
  struct merge_slot *merges = (struct merge_slot *)(fixture.blob.data + header->sections[SECTION_MERGES].offset);
  for (size_t i = 0; i <= 4096; i++) merges[i] = (struct merge_slot){0};
  assert_false(tables_open(&tables, blob, &error));
  assert_string_equal(error.text, "The compiled tokenizer is corrupt: its merges crowd one place of their index; build "
                                  "the engine again.");
  header->eos = 1 << 24;
  assert_false(tables_open(&tables, blob, &error));
  assert_string_equal(error.text,
                      "The compiled tokenizer is corrupt: a special id is out of range; build the engine again.");
  fixture_close(&fixture);
}

/* A trie where none belongs, whose root leads out of the table. */
static void test_stray_trie(void **state) {
  (void)state;
  struct fixture fixture;
  struct tokenizer_tables tables;
  struct error error;
  fixture_open(&fixture, "gpt2");
  const struct trie_node root = {.first = 1 << 30, .count = 9};
  size_t at = (fixture.blob.size + 7) / 8 * 8, size = at + sizeof root;
  uint8_t *copy = calloc(1, size);
  assert_non_null(copy);
  memcpy(copy, fixture.blob.data, fixture.blob.size);
  memcpy(copy + at, &root, sizeof root);
  struct blob_header *header = (struct blob_header *)copy;
  assert_int_equal(header->sections[SECTION_TRIE].size, 0);
  header->sections[SECTION_TRIE] = (struct blob_range){(uint32_t)at, sizeof root};
  header->size = size;
  assert_false(tables_open(&tables, slice_make(copy, size), &error));
  assert_string_equal(error.text,
                      "The compiled tokenizer is corrupt: its trie leads out of itself; build the engine again.");
  free(copy);
  fixture_close(&fixture);
}

/* Pairs that were chosen to have one hash. */
static void test_crowded(void **state) {
  (void)state;
  enum { TOKENS = 2048, MERGES = 1100, SLOTS = 2048 };
  struct tokenizer_spec spec;
  struct buffer blob;
  struct error error = {0};
  spec_init(&spec);
  buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
  assert_true(spec_reserve_tokens(&spec, TOKENS, &error) && spec_reserve_merges(&spec, MERGES, &error));
  for (uint32_t id = 0; id < TOKENS; id++) {
    char text[8];
    snprintf(text, sizeof text, "%u", id);
    assert_true(spec_text_token(&spec, id, slice_text(text), &error));
  }
  for (uint32_t pair = 0; spec.n_merge < MERGES; pair++)
    if (merge_hash(pair / TOKENS, pair % TOKENS) % SLOTS == 7)
      spec.merges[spec.n_merge++] = (struct merge_spec){pair / TOKENS, pair % TOKENS, 0, pair};
  assert_true(spec_index(&spec, &error));
  assert_false(tokenizer_blob_write(&spec, &blob, &error));
  assert_string_equal(error.text,
                      "More than 1024 merges of the tokenizer fall on one place of their index, which makes "
                      "every text slow; merges that were learned do not.");
  buffer_release(&blob);
  spec_release(&spec);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_truncated),  cmocka_unit_test(test_flipped), cmocka_unit_test(test_sentences),
      cmocka_unit_test(test_stray_trie), cmocka_unit_test(test_crowded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
