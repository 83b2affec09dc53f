/* Tokens that would take time: one that is too long is refused, and walks of a trie end where tokens must, however deep
 * it is, as one of a spoiled blob may be. */
#include "text_support.h"

#include "text/token_trie.h"
#include "text/unigram.h"

static void deep_check(size_t depth, int32_t expected) {
  static struct trie_node nodes[LIMIT_UNIGRAM_TOKEN_BYTES + 2]; /* a chain of "a" */
  static uint8_t text[LIMIT_UNIGRAM_TOKEN_BYTES + 1];
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
  deep_check(LIMIT_UNIGRAM_TOKEN_BYTES, 0);
  deep_check(LIMIT_UNIGRAM_TOKEN_BYTES + 1, 7);
}

static void test_long_token(void **state) {
  (void)state;
  for (int more = 0; more < 2; more++) {
    char token[LIMIT_UNIGRAM_TOKEN_BYTES + 2] = {0}, json[1024];
    memset(token, 'a', LIMIT_UNIGRAM_TOKEN_BYTES + (size_t)more);
    snprintf(json, sizeof json, "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",0],[\"%s\",-1]]}}",
             token);
    struct error error = {0};
    struct buffer blob;
    buffer_init(&blob, LIMIT_TOKENIZER_BYTES);
    assert_int_equal(tokenizer_compile_json(slice_text(json), slice_make("", 0), &blob, &error), !more);
    if (more)
      assert_string_equal(error.text, "Token 1 of the Unigram model has 513 bytes, more than the 512 allowed: a text "
                                      "would take time in proportion.");
    buffer_release(&blob);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_deep), cmocka_unit_test(test_long_token)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
