/* A growing list of token ids with a declared maximum. Appending past it (or out of memory) marks the list failed and
 * leaves what was there. One owner; no locks. */
#ifndef SPATE_TEXT_TOKEN_LIST_H
#define SPATE_TEXT_TOKEN_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct token_list {
  int32_t *ids; /* owned */
  size_t count, capacity, max;
  bool failed;
};

void token_list_init(struct token_list *list, size_t max);
void token_list_release(struct token_list *list);
void token_list_clear(struct token_list *list); /* count 0, failed false, memory kept */
bool token_list_grow(struct token_list *list);  /* makes room for one more id, or marks the list failed */

/* Back to the first count ids of those there are; that an append behind them failed is forgotten. */
void token_list_cut(struct token_list *list, size_t count);

static inline bool token_list_append(struct token_list *list, int32_t id) {
  if (list->count == list->capacity && !token_list_grow(list)) return false;
  list->ids[list->count++] = id;
  return true;
}

#endif
