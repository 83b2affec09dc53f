/* What a chat template computes with: none, booleans, numbers, texts, lists, maps, callables, undefined.
 *
 * Every text remembers, byte by byte, what the user wrote. Concatenation, slices, filters and JSON carry the marks
 * along, so that the output says which of its bytes may be read as special tokens and which never. Everything is in the
 * arena of one rendering (constants: of the template), immutable once made, except namespaces. One thread. */
#ifndef SPATE_TEXT_JINJA_DATUM_H
#define SPATE_TEXT_JINJA_DATUM_H

#include "base/arena.h"
#include "base/error.h"
#include "base/keyed_hash.h"
#include "base/slice.h"

#include <stdint.h>

struct rendering; /* jinja_rendering.h */

struct marked {
  const uint8_t *bytes; /* valid UTF-8 */
  const uint8_t *user;  /* [size] 1: written by the user; NULL: nothing of it is */
  size_t size;
};

enum datum_kind {
  DATUM_UNDEFINED,
  DATUM_NONE,
  DATUM_BOOL,
  DATUM_INT,
  DATUM_FLOAT,
  DATUM_BIG, /* a whole number beyond 64 bits: printed and compared, nothing else */
  DATUM_TEXT,
  DATUM_LIST,
  DATUM_MAP,
  DATUM_NAMESPACE,
  DATUM_LOOP,     /* the variable `loop` */
  DATUM_FUNCTION, /* a global function */
  DATUM_METHOD,   /* of a text, list or map, bound to it */
  DATUM_MACRO,
  DATUM_TURN,  /* a cycler or a joiner */
  DATUM_UNSET, /* no value: what a result is before its callee sets it */
  DATUM_KINDS,
};

struct datum {
  enum datum_kind kind;
  bool html; /* TEXT: marked as HTML (jinja2's Markup): a plain text that comes to it is escaped */
  union {
    const struct slice *missing; /* UNDEFINED: the name that was looked for, or NULL */
    bool truth;
    int64_t integer;
    double number;
    const struct marked *text; /* TEXT; BIG: its digits, perhaps a minus before them, a NUL behind them */
    struct datum_list *list;
    struct datum_map *map; /* MAP, NAMESPACE */
    struct loop_state *loop;
    struct turn *turn;
    const struct jinja_function *function;
    const struct bound_method *method;
    const struct macro *macro;
  };
};

enum list_form {
  FORM_LIST,
  FORM_TUPLE,
  FORM_RANGE,     /* what range() returns */
  FORM_VIEW,      /* what keys(), values() and items() return: has a length and no indices */
  FORM_GENERATOR, /* what lazy filters return: true, and without a length */
};

/* How much there is to walk over. Bounded where lists and maps are made, so that walks need no bound of their own. */
struct extent {
  int depth;     /* of nesting: 1 for a list of plain values */
  size_t weight; /* values in it, shared ones as often as they appear, texts by 64 bytes */
};

struct datum_list {
  enum list_form form;
  bool is_group;     /* a tuple of groupby, whose items have names */
  const char *shown; /* how str() has it: all of a RANGE, what stands before a VIEW; NULL: it is a part of one */
  struct extent extent;
  size_t count, capacity;
  struct datum *items;
};

struct map_entry {
  struct datum key, value;
};

struct datum_map {
  struct extent extent;
  size_t count, capacity;
  struct map_entry *entries; /* in the order of insertion */
  uint32_t *slots;           /* [n_slot] by the hash of the key: 1 + the entry's index, or 0; NULL: few entries */
  size_t n_slot;
  struct rendering *rendering; /* whose key the hashes have, and who pays for looking */
};

static inline struct datum datum_undefined(const struct slice *name) {
  return (struct datum){.kind = DATUM_UNDEFINED, .missing = name};
}
static inline struct datum datum_unset(void) { return (struct datum){.kind = DATUM_UNSET}; }
static inline struct datum datum_none(void) { return (struct datum){.kind = DATUM_NONE}; }
static inline struct datum datum_bool(bool truth) { return (struct datum){.kind = DATUM_BOOL, .truth = truth}; }
static inline struct datum datum_int(int64_t integer) { return (struct datum){.kind = DATUM_INT, .integer = integer}; }
static inline struct datum datum_float(double number) { return (struct datum){.kind = DATUM_FLOAT, .number = number}; }
static inline struct slice marked_slice(const struct marked *text) { return slice_make(text->bytes, text->size); }

static inline bool datum_is_text(struct datum d, const char *text) {
  return d.kind == DATUM_TEXT && slice_is(marked_slice(d.text), text);
}

/* Python's name of the kind, for sentences. */
const char *datum_kind_name(struct datum d);

bool datum_truth(struct datum d);

/* Python's ==: numbers by value whatever their kind, texts without their marks. */
bool datum_equal(struct datum a, struct datum b);

/* The same as keys and as what lists and maps hold, where Python takes a NaN for equal to itself. */
bool datum_same(struct datum a, struct datum b);

/* What comparing or searching d costs, in steps. */
size_t datum_weight(struct datum d);

static inline bool datum_is_number(struct datum d) {
  return d.kind == DATUM_BOOL || d.kind == DATUM_INT || d.kind == DATUM_FLOAT || d.kind == DATUM_BIG;
}

/* Orders two numbers, two texts or two lists: *order is below, at or above 0. Other pairs fail with a sentence. */
bool datum_order(struct rendering *r, struct datum a, struct datum b, int *order);

/* True with the number when d is one that can be reckoned with; a boolean counts as 0 or 1. */
bool datum_number(struct datum d, double *number);

/* Of digits (a minus may stand before them): an INT, or a BIG where they are too many. */
bool datum_digits(struct rendering *r, struct slice digits, struct datum *out);
double big_number(const struct marked *digits); /* the nearest there is */
bool big_equal(struct datum a, struct datum b); /* one of them is a BIG, both are numbers */
int big_order(struct datum a, struct datum b);  /* the same; none is NaN */

/* Texts. The functions that make one charge the rendering for its bytes and fail over its limits. */
bool datum_text(struct rendering *r, struct slice template_text, struct datum *out); /* bytes are borrowed */
bool datum_marked(struct rendering *r, struct marked text, struct datum *out);       /* bytes and marks are borrowed */
struct marked marked_part(struct marked text, size_t start, size_t end);
size_t marked_length(struct marked text);                            /* characters */
size_t marked_offset(struct marked text, size_t from, size_t count); /* bytes of count characters from byte `from` */

/* Lists and maps. */
bool list_new(struct rendering *r, size_t capacity, struct datum *out);
bool list_append(struct rendering *r, struct datum_list *list, struct datum item);
bool list_pair(struct rendering *r, struct datum first, struct datum second, struct datum *out); /* a tuple */
/* What lists and maps share: room for one more item of `size` bytes, and how much there is then to walk. */
bool collection_grow(struct rendering *r, void **items, size_t count, size_t *capacity, size_t size);
bool collection_extend(struct rendering *r, struct extent *extent, struct datum inner);

bool map_new(struct rendering *r, size_t capacity, struct datum *out);
bool map_append(struct rendering *r, struct datum_map *map, struct datum key, struct datum value); /* a new key */
bool map_set(struct rendering *r, struct datum_map *map, struct datum key, struct datum value);
bool datum_is_key(struct datum d);                      /* it may be one: no list or map, nor has one in it */
bool map_charge(struct rendering *r, struct datum key); /* what finding a key costs; one that is none fails */
/* NULL: none, or the budget is spent, and the next charge fails. */
const struct datum *map_find(const struct datum_map *map, struct datum key);
/* A copy of the entries in the order of their keys, all of which must be texts. */
bool map_sorted(struct rendering *r, const struct datum_map *map, struct map_entry **entries);
const struct datum *map_find_name(const struct datum_map *map, struct slice name);

/* A text that grows in the rendering's arena. */
struct builder {
  uint8_t *bytes, *user;
  size_t size, capacity;
  bool marked; /* some byte is the user's */
};

bool builder_marked(struct rendering *r, struct builder *b, struct marked text);
bool builder_text(struct rendering *r, struct builder *b, struct slice template_text);
bool builder_byte(struct rendering *r, struct builder *b, uint8_t byte, uint8_t user);
bool builder_character(struct rendering *r, struct builder *b, uint32_t code, uint8_t user);
bool builder_take(struct rendering *r, const struct builder *b, struct datum *out);

#endif
