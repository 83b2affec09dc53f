/* A machine for the few operations of Python's pickle (protocol 2) that tables of tensors are written with: dicts,
 * tuples, numbers, texts and what is remembered of them. It knows no class and no function: what a pickle names, the
 * rules make something of or refuse, so that no code of a pickle ever runs. Nothing recurses; each operation takes
 * constant time and memory, or as much as its bytes and the values that it takes off the stack. */
#ifndef SPATE_FORMAT_PICKLE_H
#define SPATE_FORMAT_PICKLE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"

enum pickle_kind {
  PICKLE_NONE,
  PICKLE_BOOL,
  PICKLE_INT,
  PICKLE_TEXT,
  PICKLE_TUPLE,
  PICKLE_DICT,
  PICKLE_GLOBAL, /* a name that the rules know */
  PICKLE_OBJECT, /* what the rules made of one */
  PICKLE_MARK,   /* on the stack only */
};

struct pickle_value {
  enum pickle_kind kind;
  union {
    int64_t number;    /* a bool, an int; of a global the rules' own */
    struct slice text; /* in the pickle's bytes */
    const struct pickle_tuple *tuple;
    struct pickle_dict *dict;
    void *object;
  };
};

struct pickle_tuple {
  size_t n;
  struct pickle_value item[];
};

struct pickle_pair {
  struct pickle_value key, value;
};

/* In the order of the file; a key may come twice. */
struct pickle_dict {
  size_t n, room;
  struct pickle_pair *pair;
};

struct pickle_rules {
  /* "torch" and "FloatStorage" to a number, or a refusal. */
  bool (*global)(struct slice module, struct slice name, int64_t *number, struct error *error);
  /* What calling it would give; an empty dict is made with pickle_dict_new. */
  bool (*call)(void *user, int64_t global, const struct pickle_tuple *arguments, struct pickle_value *out,
               struct error *error);
  /* What a persistent id stands for. */
  bool (*persistent)(void *user, const struct pickle_value *id, struct pickle_value *out, struct error *error);
  void *user;
};

/* The value that the pickle stands for; all of it lives in the arena and in the bytes. Sentences begin with the byte.
 */
bool pickle_read(struct slice bytes, const struct pickle_rules *rules, struct arena *arena, struct pickle_value *out,
                 struct error *error);

/* False: there is no memory. */
bool pickle_dict_new(struct arena *arena, struct pickle_value *out);

/* A key and its value behind each other. False: there is no memory. */
bool pickle_dict_add(struct arena *arena, struct pickle_dict *dict, const struct pickle_value *pair);

/* "a dict", for people. */
const char *pickle_kind_text(enum pickle_kind kind);

#endif
