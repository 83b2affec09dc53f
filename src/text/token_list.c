/* Token list: doubles until its maximum. */
#include "text/token_list.h"

#include <stdlib.h>

void token_list_init(struct token_list *list, size_t max) { *list = (struct token_list){.max = max}; }

void token_list_release(struct token_list *list) {
  free(list->ids);
  token_list_init(list, list->max);
}

void token_list_clear(struct token_list *list) { token_list_cut(list, 0); }

void token_list_cut(struct token_list *list, size_t count) {
  list->count = count;
  list->failed = false;
}

bool token_list_grow(struct token_list *list) {
  size_t capacity = list->capacity ? list->capacity : 64;
  while (capacity <= list->count) capacity *= 2;
  if (capacity > list->max) capacity = list->max;
  int32_t *ids = capacity > list->count ? realloc(list->ids, capacity * sizeof *ids) : NULL;
  if (!ids) {
    list->failed = true;
    return false;
  }
  list->ids = ids;
  list->capacity = capacity;
  return true;
}
