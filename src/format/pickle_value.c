/* What a pickle's values are made with. */
#include "format/pickle.h"

const char *pickle_kind_text(enum pickle_kind kind) {
  static const char *const texts[] = {"None",   "a bool", "a number", "a text", "a tuple",
                                      "a dict", "a name", "a tensor", "a mark"};
  return texts[kind];
}

bool pickle_dict_new(struct arena *arena, struct pickle_value *out) {
  *out = (struct pickle_value){.kind = PICKLE_DICT, .dict = arena_alloc(arena, sizeof *out->dict)};
  return out->dict != NULL;
}

bool pickle_dict_add(struct arena *arena, struct pickle_dict *dict, const struct pickle_value *pair) {
  if (dict->n == dict->room) {
    size_t room = dict->room ? 2 * dict->room : 8;
    struct pickle_pair *pairs = arena_array(arena, room, sizeof *pairs);
    if (!pairs) return false;
    if (dict->n) memcpy(pairs, dict->pair, dict->n * sizeof *pairs);
    dict->pair = pairs;
    dict->room = room;
  }
  dict->pair[dict->n++] = (struct pickle_pair){pair[0], pair[1]};
  return true;
}
