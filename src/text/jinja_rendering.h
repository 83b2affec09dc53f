/* One rendering of a template: its memory, its budget, its variables. Made by chat_template_render, used by the files
 * jinja_*.c, gone when the call returns. One thread. */
#ifndef SPATE_TEXT_JINJA_RENDERING_H
#define SPATE_TEXT_JINJA_RENDERING_H

#include "text/jinja_datum.h"
#include "text/jinja_node.h"

#include <time.h>

struct binding {
  struct slice name;
  struct datum value;
  struct binding *next;
};

/* The variables of a template, a macro's call or a loop's round; names not found are looked for in the parent. */
struct frame {
  struct frame *parent;
  struct binding *bindings; /* newest first */
  size_t n_binding;
};

enum jump { JUMP_NONE, JUMP_BREAK, JUMP_CONTINUE };

struct rendering {
  struct arena *arena;
  struct error *error;
  struct frame *frame;
  struct builder *out;   /* what statements write to */
  struct builder joined; /* the text that was joined last, and room behind it that nobody else has */
  struct datum captured; /* what a filter of a block works on */
  enum jump jump;        /* on its way to the loop */
  int line;              /* of the source, being evaluated */
  int depth;
  size_t steps;
  struct hash_key key; /* of the hashes of maps' keys, so that nobody can make many that collide */
  const struct tm *now;
};

struct macro {
  const struct node *node; /* NODE_MACRO or NODE_CALL_BLOCK */
  struct frame *frame;     /* where it was defined */
};

/* What cycler() and joiner() return: one of the items after the other; or nothing once, and then the item. */
struct turn {
  const struct datum_list *items;
  size_t at;
  bool joins;
};

struct loop_state {
  const struct node *node; /* NODE_FOR */
  struct frame *outside;   /* what its variables hide */
  const struct datum_list *items;
  size_t index;         /* from 0 */
  int depth;            /* of recursion, from 0 */
  struct datum changed; /* what loop.changed was last asked about; UNDEFINED: nothing yet */
};

/* Fail with a sentence about the line being evaluated; always false. */
bool rendering_fail(struct rendering *r, const char *format, ...) __attribute__((format(printf, 2, 3), cold));
bool rendering_no_memory(struct rendering *r);

/* Arena memory, or NULL after rendering_no_memory. */
void *rendering_alloc(struct rendering *r, size_t size);

/* Charges steps; false with a sentence when the budget is spent. */
bool rendering_charge(struct rendering *r, size_t steps);
/* A step is some 50 ns of work: 64 bytes copied or searched, or 8 looked at one by one as characters. */
static inline bool rendering_charge_bytes(struct rendering *r, size_t bytes) {
  return rendering_charge(r, 1 + bytes / 64);
}
static inline bool rendering_charge_characters(struct rendering *r, size_t bytes) {
  return rendering_charge(r, 1 + bytes / 8);
}
/* Reading and writing a number with a point, whatever its size: some µs. */
static inline bool rendering_charge_real(struct rendering *r) { return rendering_charge(r, 64); }

/* Nesting: each enter that returned true is matched by a leave. */
bool rendering_enter(struct rendering *r);
static inline void rendering_leave(struct rendering *r) { r->depth--; }

/* Variables. */
bool frame_set(struct rendering *r, struct frame *frame, struct slice name, struct datum value);
const struct datum *frame_find(const struct frame *frame, struct slice name);
bool frame_charge(struct rendering *r, const struct frame *frame); /* what finding a name costs */
struct frame *frame_new(struct rendering *r, struct frame *parent);

/* Arguments of a call, evaluated. */
struct arguments {
  size_t count, n_named;
  const struct datum *items;
  const struct slice *names;  /* [n_named] */
  const struct datum *named;  /* [n_named] */
  const struct datum *caller; /* of a call block, or NULL */
};

/* The argument at `position` or called `name` (NULL: positional only); NULL when it was not given. */
const struct datum *argument(const struct arguments *a, size_t position, const char *name);

/* The same with a fallback, and with a kind that is demanded; `what` names the callee in the sentence. */
bool argument_int(struct rendering *r, const struct arguments *a, size_t position, const char *name, const char *what,
                  int64_t *value);
bool argument_text(struct rendering *r, const struct arguments *a, size_t position, const char *name, const char *what,
                   const struct marked **value);
/* Of `length` items or characters: one from the end is negative; none, or one that is not given, leaves *value. */
bool argument_bound(struct rendering *r, const struct arguments *a, size_t position, const char *name, const char *what,
                    size_t length, size_t *value);
bool argument_truth(const struct arguments *a, size_t position, const char *name, bool fallback);

/* Evaluating and executing (jinja_eval.c, jinja_exec.c, jinja_call.c). */
bool eval(struct rendering *r, const struct node *node, struct datum *out);
bool eval_binary(struct rendering *r, enum operator_kind op, struct datum a, struct datum b, struct datum *out);
bool eval_compare(struct rendering *r, enum operator_kind op, struct datum a, struct datum b, bool *result);
bool eval_attribute(struct rendering *r, struct datum object, const struct slice *name, struct datum *out);
bool eval_item(struct rendering *r, struct datum object, struct datum key, struct datum *out);
bool eval_slice(struct rendering *r, struct datum object, const struct datum bounds[3], struct datum *out);
bool eval_filter(struct rendering *r, const struct node *node, struct datum *out);
bool eval_test(struct rendering *r, const struct node *node, struct datum *out);
bool eval_call(struct rendering *r, const struct node *node, const struct datum *caller, struct datum *out);
bool eval_arguments(struct rendering *r, const struct node *node, struct arguments *out);
bool call_datum(struct rendering *r, struct datum callee, const struct arguments *arguments, struct datum *out);
bool exec_body(struct rendering *r, const struct node_list *body);
/* loop(items): the body of a recursive loop for the items, one level deeper; out: what it writes. */
bool exec_loop_again(struct rendering *r, const struct loop_state *loop, struct datum items, struct datum *out);
bool exec_captured(struct rendering *r, const struct node_list *body, struct frame *frame, struct datum *out);
bool namespace_takes(struct rendering *r, struct datum name); /* transformers reserves those that begin with _ */
bool assign(struct rendering *r, const struct node *target, struct datum value);

/* The items of anything that a loop may go over: lists, the characters of a text, the keys of a map. */
bool datum_items(struct rendering *r, struct datum d, struct datum_list **items);

/* str(d), repr(d) and json.dumps(d), appended. */
bool print_datum(struct rendering *r, struct builder *b, struct datum d);
bool print_repr(struct rendering *r, struct builder *b, struct datum d);

struct json_style {
  bool ascii, sort_keys;
  const struct marked *indent; /* NULL: on one line */
  const struct marked *item_separator, *key_separator;
};
bool print_json(struct rendering *r, struct builder *b, struct datum d, const struct json_style *style);

/* str(d) as a text that is no HTML; repr(d), or ascii(d). */
bool datum_plain(struct rendering *r, struct datum d, struct datum *out);
bool datum_string(struct rendering *r, struct datum d, const struct marked **out);
bool datum_repr(struct rendering *r, struct datum d, bool ascii, struct datum *out);

/* --- what templates call by name -------------------------------------------------------------------------------- */

/* What each takes, in words: "old new count?". '?': may be left out; those before a "/" are given by position alone;
 * "*" takes any number by position, "**" any name. Checked before the callee runs, which sees no others. */
struct jinja_function {
  const char *name, *takes;
  bool (*call)(struct rendering *r, const struct arguments *a, struct datum *out);
};
struct jinja_filter {
  const char *name, *takes;
  bool (*apply)(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
};
struct jinja_method {
  enum datum_kind kind; /* of the object */
  const char *name, *takes;
  bool (*call)(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
};
struct bound_method {
  const struct jinja_method *method;
  struct datum self;
};

struct jinja_test {
  const char *name, *takes;
  bool (*is)(struct datum d); /* a test of the kind alone; else NULL, and */
  bool (*apply)(struct rendering *r, struct datum d, const struct arguments *a, bool *result);
};

/* The tables, each ended by a row without a name. */
extern const struct jinja_function global_functions[]; /* jinja_functions.c */
extern const struct jinja_filter value_filters[], number_filters[], select_filters[], sort_filters[], text_filters[],
    html_filters[], web_filters[], link_filters[], wrap_filters[], pprint_filters[]; /* in their files */
extern const struct jinja_filter *const filter_tables[];                             /* all of them, and a NULL */
extern const struct jinja_method object_methods[], text_methods[], html_methods[];
extern const struct jinja_test value_tests[]; /* jinja_tests.c */

/* jinja_builtin.c: NULL when there is none of that name. */
const struct jinja_function *function_find(struct slice name);
const struct jinja_filter *filter_find(struct slice name);
const struct jinja_method *method_find(struct datum self, struct slice name);
const struct jinja_test *test_find(struct slice name);

/* Names for which there is no method: what Python has and a template is not given here, which is refused where a name
 * that is unknown is undefined; and what would change a map, which is undefined even where there is a key of that name.
 */
bool object_lacks(struct datum self, struct slice name);
bool object_forbids(struct slice name);

/* By name; one that there is not, and arguments that it does not take, fail with a sentence. */
bool function_call(struct rendering *r, const struct jinja_function *function, const struct arguments *a,
                   struct datum *out);
bool method_call(struct rendering *r, const struct bound_method *bound, const struct arguments *a, struct datum *out);
bool filter_apply(struct rendering *r, struct slice name, struct datum d, const struct arguments *a, struct datum *out);
bool test_apply(struct rendering *r, struct slice name, struct datum d, const struct arguments *a, bool *result);

#endif
