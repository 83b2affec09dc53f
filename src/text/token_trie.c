/* The trie is built level by level from the sorted tokens: a node is a range of them that agree on their first bytes.
 */
#include "text/token_trie.h"

#include <stdlib.h>

struct range {
  uint32_t low, high, depth;
};

static int compare_bytes(const void *left, const void *right, void *context) {
  const struct tokenizer_spec *spec = context;
  struct slice a = spec->tokens[*(const uint32_t *)left].bytes, b = spec->tokens[*(const uint32_t *)right].bytes;
  int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
  return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* ids: those that the index has, sorted; *bytes: how many they have together. */
static size_t tokens_sort(struct tokenizer_spec *spec, uint32_t *ids, size_t *bytes) {
  size_t count = 0;
  *bytes = 0;
  for (uint32_t id = 0; id < spec->n_token; id++) {
    const struct token_spec *token = &spec->tokens[id];
    if (!(token->flags & TOKEN_TEXT) || spec_find(spec, token->bytes) != id) continue;
    ids[count++] = id;
    *bytes += token->bytes.size;
  }
  qsort_r(ids, count, sizeof *ids, compare_bytes, spec);
  return count;
}

/* The children of a node: one for each byte that follows in its range. */
static void children_add(const struct tokenizer_spec *spec, const uint32_t *ids, struct token_trie *trie,
                         struct range *ranges, size_t at) {
  struct trie_node *node = &trie->nodes[at];
  struct range range = ranges[at];
  node->first = (uint32_t)trie->count;
  node->token = TOKEN_NONE;
  for (uint32_t low = range.low, high; low < range.high; low = high) {
    struct slice bytes = spec->tokens[ids[low]].bytes;
    high = low + 1;
    if (bytes.size == range.depth) { /* the only one, and the first */
      node->token = ids[low];
      continue;
    }
    uint8_t byte = bytes.data[range.depth];
    while (high < range.high && spec->tokens[ids[high]].bytes.data[range.depth] == byte) high++;
    ranges[trie->count] = (struct range){low, high, range.depth + 1};
    trie->nodes[trie->count++] = (struct trie_node){.byte = byte};
    node->count++;
  }
}

/* The likeliest cut is found by looking at all tokens that begin at each byte: as many as the longest has bytes. */
static bool check_lengths(const struct tokenizer_spec *spec, struct error *error) {
  for (uint32_t id = 0; id < spec->n_token && spec->model == MODEL_UNIGRAM; id++)
    if (spec->tokens[id].flags & TOKEN_TEXT && spec->tokens[id].bytes.size > LIMIT_UNIGRAM_TOKEN_BYTES)
      return error_set(error, ERROR_LIMIT,
                       "Token %u of the Unigram model has %zu bytes, more than the %d allowed: a text would take time "
                       "in proportion.",
                       id, spec->tokens[id].bytes.size, LIMIT_UNIGRAM_TOKEN_BYTES);
  return true;
}

bool token_trie_build(struct tokenizer_spec *spec, struct token_trie *trie, struct error *error) {
  if (!check_lengths(spec, error)) return false;
  uint32_t *ids = malloc(spec->n_token * sizeof *ids);
  size_t bytes = 0, count = ids ? tokens_sort(spec, ids, &bytes) : 0;
  struct range *ranges = ids ? malloc((bytes + 1) * sizeof *ranges) : NULL;
  trie->nodes = ranges ? arena_array(&spec->arena, bytes + 1, sizeof *trie->nodes) : NULL;
  if (trie->nodes) {
    ranges[0] = (struct range){0, (uint32_t)count, 0};
    trie->count = 1;
    for (size_t at = 0; at < trie->count; at++) children_add(spec, ids, trie, ranges, at);
  }
  free(ranges);
  free(ids);
  return trie->nodes || spec_out_of_memory(error);
}

bool token_trie_check(const struct trie_node *nodes, size_t count, size_t n_token) {
  for (size_t at = 0; at < count; at++) {
    const struct trie_node *node = &nodes[at];
    if (node->count > 0 && (node->first <= at || node->first > count || count - node->first < node->count))
      return false;
    if (node->token != TOKEN_NONE && node->token >= n_token) return false;
  }
  return count > 0;
}
