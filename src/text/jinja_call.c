/* Calls: arguments, macros, filters, tests. What is called by name is in jinja_builtin.c. */
#include "text/jinja_rendering.h"

/* What a call is given, while it is collected. */
struct gathering {
  struct datum *items;
  struct slice *names; /* NULL: positional */
  size_t count, capacity;
};

static bool gather(struct rendering *r, struct gathering *g, struct slice name, struct datum value) {
  for (size_t i = 0; g->names && i < g->count; i++)
    if (slice_equal(g->names[i], name)) return rendering_fail(r, "the argument %.*s is given twice", SLICE_ARGS(name));
  if (g->names) g->names[g->count] = name;
  g->items[g->count++] = value;
  return rendering_charge(r, 1 + (g->names ? g->count / 16 : 0));
}

static bool gather_list(struct rendering *r, struct gathering *g, const struct datum_list *list) {
  for (size_t i = 0; i < list->count; i++)
    if (!gather(r, g, (struct slice){0}, list->items[i])) return false;
  return true;
}

static bool gather_map(struct rendering *r, struct gathering *g, const struct datum_map *map) {
  for (size_t i = 0; i < map->count; i++) {
    struct datum key = map->entries[i].key;
    if (key.kind != DATUM_TEXT) return rendering_fail(r, "** needs keys that are texts");
    if (!gather(r, g, marked_slice(key.text), map->entries[i].value)) return false;
  }
  return true;
}

/* What stands behind * or ** as a list or a map; another node is an empty one. */
static bool eval_unpacked(struct rendering *r, const struct node *node, bool named, struct datum *out) {
  struct datum_list *items;
  if (!node || node->kind != NODE_UNPACK) return named ? map_new(r, 0, out) : list_new(r, 0, out);
  if (!eval(r, node->a, out)) return false;
  if (named) return out->kind == DATUM_MAP || rendering_fail(r, "** unpacks a map, not a %s", datum_kind_name(*out));
  if (!datum_items(r, *out, &items)) return false;
  *out = (struct datum){.kind = DATUM_LIST, .list = items};
  return true;
}

/* The arguments of one sort, the last of which may be unpacked. */
static bool eval_sort(struct rendering *r, const struct node_list *nodes, bool named, struct gathering *g) {
  const struct node *last = nodes->count ? nodes->at[nodes->count - 1] : NULL;
  size_t count = nodes->count - (last && last->kind == NODE_UNPACK);
  struct datum rest;
  *g = (struct gathering){0};
  if (!nodes->count) return true;
  if (!eval_unpacked(r, last, named, &rest)) return false;
  g->capacity = count + (named ? rest.map->count : rest.list->count);
  if (!(g->items = rendering_alloc(r, g->capacity * sizeof *g->items))) return false;
  if (named && !(g->names = rendering_alloc(r, g->capacity * sizeof *g->names))) return false;
  for (size_t i = 0; i < count; i++) {
    const struct node *node = nodes->at[i];
    struct datum value;
    if (!eval(r, named ? node->a : node, &value) || !gather(r, g, node->name, value)) return false;
  }
  return named ? gather_map(r, g, rest.map) : gather_list(r, g, rest.list);
}

bool eval_arguments(struct rendering *r, const struct node *node, struct arguments *out) {
  struct gathering plain, named;
  *out = (struct arguments){0};
  if (!eval_sort(r, &node->items, false, &plain) || !eval_sort(r, &node->others, true, &named)) return false;
  *out = (struct arguments){
      .count = plain.count, .n_named = named.count, .items = plain.items, .names = named.names, .named = named.items};
  return true;
}

/* --- macros ----------------------------------------------------------------------------------------------------- */

/* What no parameter takes, a template reads as varargs and kwargs: or it is a mistake. */
static bool macro_rest(struct rendering *r, const struct macro *macro, const struct arguments *a, struct frame *frame) {
  const struct node_list *parameters = &macro->node->others;
  struct datum varargs, kwargs, name;
  if (!rendering_charge(r, a->n_named * parameters->count / 8)) return false;
  if (a->count > parameters->count && !(macro->node->uses & USES_VARARGS))
    return rendering_fail(r, "a macro takes at most %zu arguments, and is given %zu", parameters->count, a->count);
  if (!list_new(r, 0, &varargs) || !map_new(r, 0, &kwargs)) return false;
  varargs.list->form = FORM_TUPLE;
  for (size_t i = parameters->count; i < a->count; i++)
    if (!list_append(r, varargs.list, a->items[i])) return false;
  for (size_t i = 0; i < a->n_named; i++) {
    size_t at = 0;
    while (at < parameters->count && !slice_equal(parameters->at[at]->name, a->names[i])) at++;
    if (at < parameters->count && at >= a->count) continue;
    if (!(macro->node->uses & USES_KWARGS))
      return rendering_fail(r, "a macro takes no argument called %.*s", SLICE_ARGS(a->names[i]));
    if (!datum_text(r, a->names[i], &name) || !map_set(r, kwargs.map, name, a->named[i])) return false;
  }
  return frame_set(r, frame, slice_text("varargs"), varargs) && frame_set(r, frame, slice_text("kwargs"), kwargs);
}

static bool macro_parameters(struct rendering *r, const struct macro *macro, const struct arguments *a,
                             struct frame *frame) {
  const struct node_list *parameters = &macro->node->others;
  if (!rendering_charge(r, a->n_named * parameters->count / 8)) return false;
  for (size_t i = 0; i < parameters->count; i++) {
    const struct node *parameter = parameters->at[i];
    struct datum value = datum_undefined(&parameter->name);
    const struct datum *given = i < a->count ? &a->items[i] : NULL;
    for (size_t n = 0; !given && n < a->n_named; n++)
      if (slice_equal(a->names[n], parameter->name)) given = &a->named[n];
    if (given)
      value = *given;
    else if (parameter->a && !eval(r, parameter->a, &value))
      return false;
    if (!frame_set(r, frame, parameter->name, value)) return false;
  }
  return true;
}

static bool call_macro(struct rendering *r, const struct macro *macro, const struct arguments *a, struct datum *out) {
  static const struct slice caller = {(const uint8_t *)"caller", 6};
  struct frame *frame = frame_new(r, macro->frame), *outside = r->frame;
  if (a->caller && !(macro->node->uses & (USES_CALLER | USES_KWARGS)))
    return rendering_fail(r, "{%% call %%} calls a macro that does not ask for its caller");
  if (!frame || !macro_rest(r, macro, a, frame)) return false;
  const struct datum none = datum_undefined(&caller), *given = a->caller ? a->caller : &none;
  if (macro->node->kind == NODE_MACRO && !frame_set(r, frame, caller, *given)) return false;
  r->frame = frame; /* defaults may use the parameters before them */
  bool done = macro_parameters(r, macro, a, frame);
  r->frame = outside;
  return done && exec_captured(r, &macro->node->items, frame, out);
}

static bool call_loop(struct rendering *r, const struct loop_state *loop, const struct arguments *a,
                      struct datum *out) {
  if (!loop->node->value.truth) return rendering_fail(r, "a loop that is called needs the word recursive");
  if (a->count != 1 || a->n_named) return rendering_fail(r, "a loop is called with what it is to go over");
  return exec_loop_again(r, loop, a->items[0], out);
}

/* Nothing the first time, then what joins. */
static bool call_joiner(struct rendering *r, struct turn *turn, const struct arguments *a, struct datum *out) {
  if (a->count || a->n_named) return rendering_fail(r, "a joiner takes no arguments");
  if (turn->at++) {
    *out = turn->items->items[0];
    return true;
  }
  return datum_text(r, slice_text(""), out);
}

bool call_datum(struct rendering *r, struct datum callee, const struct arguments *a, struct datum *out) {
  switch (callee.kind) {
  case DATUM_FUNCTION: return function_call(r, callee.function, a, out);
  case DATUM_METHOD: return method_call(r, callee.method, a, out);
  case DATUM_MACRO: return call_macro(r, callee.macro, a, out);
  case DATUM_LOOP: return call_loop(r, callee.loop, a, out);
  case DATUM_TURN:
    if (callee.turn->joins) return call_joiner(r, callee.turn, a, out);
    return rendering_fail(r, "a cycler is not called: its next() is");
  case DATUM_UNDEFINED:
    if (callee.missing) return rendering_fail(r, "'%.*s' is undefined", SLICE_ARGS(*callee.missing));
    return rendering_fail(r, "an undefined value is called");
  default: return rendering_fail(r, "a %s cannot be called", datum_kind_name(callee));
  }
}

bool eval_call(struct rendering *r, const struct node *node, const struct datum *caller, struct datum *out) {
  struct datum callee;
  struct arguments arguments;
  if (!eval(r, node->a, &callee) || !eval_arguments(r, node, &arguments)) return false;
  r->line = node->line;
  arguments.caller = caller;
  return call_datum(r, callee, &arguments, out);
}

/* --- filters and tests ------------------------------------------------------------------------------------------ */

bool eval_filter(struct rendering *r, const struct node *node, struct datum *out) {
  struct datum d = r->captured;
  struct arguments arguments;
  if (node->a && !eval(r, node->a, &d)) return false;
  if (!eval_arguments(r, node, &arguments)) return false;
  r->line = node->line;
  return filter_apply(r, node->name, d, &arguments, out);
}

bool eval_test(struct rendering *r, const struct node *node, struct datum *out) {
  struct datum d;
  struct arguments arguments;
  bool result;
  if (!eval(r, node->a, &d) || !eval_arguments(r, node, &arguments)) return false;
  r->line = node->line;
  if (!test_apply(r, node->name, d, &arguments, &result)) return false;
  *out = datum_bool(result);
  return true;
}
