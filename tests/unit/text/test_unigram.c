/* A trie that is deeper than tokens are long, as one of a spoiled blob may be: walks end where tokens must. */
#include "text_support.h"

#include "text/token_trie.h"
#include "text/unigram.h"

static void deep_check(size_t depth, int32_t expected) {
  static struct trie_node nodes[LIMIT_TOKEN_BYTES + 2]; /* a chain of "a" */
  static uint8_t text[LIMIT_TOKEN_BYTES + 1];
  static const double score = -1;
  struct blob_header header = {.n_token = 1, .unk = 7, .score_least = -1};
  struct tokenizer_tables tables = {.header = &header, .scores = &score, .trie = nodes};
  struct unigram_scratch scratch = {0};
  struct token_list ids;
  memset(text, 'a', depth);
  for (size_t i = 0; i <= depth; i++)
    nodes[i] = (struct trie_node){(uint32_t)i + 1, i == depth ? 0 : TOKEN_NONE, i < depth, 'a', 0};
  assert_true(token_trie_check(nodes, depth + 1, 1));
  token_list_init(&ids, 10);
  assert_true(unigram_encode(&tables, slice_make(text, depth), &scratch, &ids));
  assert_int_equal(ids.count, 1);
  assert_int_equal(ids.ids[0], expected);
  token_list_release(&ids);
  unigram_scratch_release(&scratch);
}

static void test_deep(void **state) {
  (void)state;
  deep_check(LIMIT_TOKEN_BYTES, 0);
  deep_check(LIMIT_TOKEN_BYTES + 1, 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_deep)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
