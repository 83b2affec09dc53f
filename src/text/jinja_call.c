/* Calls: arguments, macros, filters, tests. */
#include "text/jinja_rendering.h"

static bool eval_items(struct rendering *r, const struct node_list *nodes, struct datum *items) {
  for (size_t i = 0; i < nodes->count; i++) {
    const struct node *node = nodes->at[i];
    if (!eval(r, node->kind == NODE_KEYWORD ? node->a : node, &items[i])) return false;
  }
  return true;
}

bool eval_arguments(struct rendering *r, const struct node *node, struct arguments *out) {
  size_t count = node->items.count, n_named = node->others.count;
  *out = (struct arguments){.count = count, .n_named = n_named};
  if (count + n_named == 0) return true;
  struct datum *items = rendering_alloc(r, (count + n_named) * sizeof *items);
  struct slice *names = rendering_alloc(r, n_named * sizeof *names);
  if (!items || !names || !eval_items(r, &node->items, items)) return false;
  if (!eval_items(r, &node->others, items + count)) return false;
  for (size_t i = 0; i < n_named; i++) names[i] = node->others.at[i]->name;
  out->items = items;
  out->named = items + count;
  out->names = names;
  return true;
}

/* --- macros ----------------------------------------------------------------------------------------------------- */

/* What no parameter takes, a template can read as varargs and kwargs. */
static bool macro_rest(struct rendering *r, const struct macro *macro, const struct arguments *a, struct frame *frame) {
  const struct node_list *parameters = &macro->node->others;
  struct datum varargs, kwargs, name;
  if (!list_new(r, 0, &varargs) || !map_new(r, 0, &kwargs)) return false;
  varargs.list->form = FORM_TUPLE;
  for (size_t i = parameters->count; i < a->count; i++)
    if (!list_append(r, varargs.list, a->items[i])) return false;
  for (size_t i = 0; i < a->n_named; i++) {
    bool taken = false;
    for (size_t p = 0; p < parameters->count && !taken; p++) taken = slice_equal(parameters->at[p]->name, a->names[i]);
    if (!taken && (!datum_text(r, a->names[i], &name) || !map_set(r, kwargs.map, name, a->named[i]))) return false;
  }
  return frame_set(r, frame, slice_text("varargs"), varargs) && frame_set(r, frame, slice_text("kwargs"), kwargs);
}

static bool macro_parameters(struct rendering *r, const struct macro *macro, const struct arguments *a,
                             struct frame *frame) {
  const struct node_list *parameters = &macro->node->others;
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
  if (!frame || !macro_rest(r, macro, a, frame)) return false;
  const struct datum none = datum_undefined(&caller), *given = a->caller ? a->caller : &none;
  if (macro->node->kind == NODE_MACRO && !frame_set(r, frame, caller, *given)) return false;
  r->frame = frame; /* defaults may use the parameters before them */
  bool done = macro_parameters(r, macro, a, frame);
  r->frame = outside;
  return done && exec_captured(r, &macro->node->items, frame, out);
}

bool call_datum(struct rendering *r, struct datum callee, const struct arguments *a, struct datum *out) {
  switch (callee.kind) {
  case DATUM_FUNCTION: return callee.function->call(r, a, out);
  case DATUM_METHOD: return callee.method->method->call(r, callee.method->self, a, out);
  case DATUM_MACRO: return call_macro(r, callee.macro, a, out);
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

bool filter_apply(struct rendering *r, struct slice name, struct datum d, const struct arguments *a,
                  struct datum *out) {
  const struct jinja_filter *filter = filter_find(name);
  return filter ? filter->apply(r, d, a, out) : rendering_fail(r, "the filter %.*s is unknown", SLICE_ARGS(name));
}

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
