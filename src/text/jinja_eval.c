/* Expressions evaluated. */
#include "text/jinja_rendering.h"

#include "base/limits.h"

static bool eval_name(struct rendering *r, const struct node *node, struct datum *out) {
  const struct datum *value = frame_find(r->frame, node->name);
  const struct jinja_function *function = value ? NULL : function_find(node->name);
  if (!frame_charge(r, r->frame)) return false;
  if (value)
    *out = *value;
  else if (function)
    *out = (struct datum){.kind = DATUM_FUNCTION, .function = function};
  else
    *out = datum_undefined(&node->name);
  return true;
}

static bool eval_list(struct rendering *r, const struct node *node, struct datum *out) {
  if (!list_new(r, node->items.count, out)) return false;
  out->list->form = node->kind == NODE_TUPLE ? FORM_TUPLE : FORM_LIST;
  for (size_t i = 0; i < node->items.count; i++) {
    struct datum item;
    if (!eval(r, node->items.at[i], &item) || !list_append(r, out->list, item)) return false;
  }
  return true;
}

static bool eval_dict(struct rendering *r, const struct node *node, struct datum *out) {
  if (!map_new(r, node->items.count / 2, out)) return false;
  for (size_t i = 0; i < node->items.count; i += 2) {
    struct datum key, value;
    if (!eval(r, node->items.at[i], &key) || !eval(r, node->items.at[i + 1], &value)) return false;
    if (!map_set(r, out->map, key, value)) return false;
  }
  return true;
}

static bool all_constant(struct rendering *r, const struct node_list *list);

/* Nothing of it is known at run time alone. What and, or and if leave out has not been gone through yet: it is charged,
 * and what nests too deep is none. */
static bool is_constant(struct rendering *r, const struct node *node) {
  if (!node || node->kind == NODE_CONSTANT) return true;
  if (node->kind == NODE_NAME || node->kind == NODE_CALL || r->depth > LIMIT_TEMPLATE_DEPTH) return false;
  r->depth++;
  bool constant = rendering_charge(r, 1) && is_constant(r, node->a) && is_constant(r, node->b) &&
                  is_constant(r, node->c) && all_constant(r, &node->items) && all_constant(r, &node->others);
  r->depth--;
  return constant;
}

static bool all_constant(struct rendering *r, const struct node_list *list) {
  for (size_t i = 0; i < list->count; i++)
    if (!rendering_charge(r, 1) || !is_constant(r, list->at[i])) return false;
  return true;
}

static bool has_slices(struct datum d) { return d.kind == DATUM_TEXT || d.kind == DATUM_LIST; }

static bool eval_bounds(struct rendering *r, const struct node *node, struct datum *out) {
  struct datum object, bounds[3];
  if (!eval(r, node->a, &object)) return false;
  for (size_t i = 0; i < 3; i++) {
    bounds[i] = datum_none();
    if (node->items.at[i] && !eval(r, node->items.at[i], &bounds[i])) return false;
  }
  bool slices = has_slices(object) || !is_constant(r, node->a);
  if (r->steps > LIMIT_TEMPLATE_STEPS) return false; /* which is_constant does not tell from a value that is none */
  if (slices) return eval_slice(r, object, bounds, out);
  *out = datum_undefined(NULL); /* jinja2 looks for it before it runs, where nothing that is not found fails */
  return true;
}

static bool eval_big_sign(struct rendering *r, struct datum d, bool negates, struct datum *out) {
  struct builder b = {0};
  struct datum digits;
  bool below = d.text->bytes[0] == '-';
  *out = d;
  if (!negates) return true;
  if (!below && !builder_text(r, &b, slice_text("-"))) return false;
  return builder_marked(r, &b, marked_part(*d.text, below, d.text->size)) && builder_take(r, &b, &digits) &&
         datum_digits(r, marked_slice(digits.text), out);
}

static bool eval_sign(struct rendering *r, const struct node *node, struct datum *out) {
  struct datum d;
  if (!eval(r, node->a, &d)) return false;
  if (d.kind == DATUM_FLOAT) { /* 0 - 0.0 has lost its sign */
    *out = datum_float(node->kind == NODE_NEGATE ? -d.number : d.number);
    return true;
  }
  if (d.kind == DATUM_BIG) return eval_big_sign(r, d, node->kind == NODE_NEGATE, out);
  return eval_binary(r, node->kind == NODE_NEGATE ? OPERATOR_SUBTRACT : OPERATOR_ADD, datum_int(0), d, out);
}

static bool eval_logic(struct rendering *r, const struct node *node, struct datum *out) {
  if (!eval(r, node->a, out)) return false;
  return datum_truth(*out) == (node->kind == NODE_OR) || eval(r, node->b, out);
}

/* a < b < c: each pair in turn, until one is not so. */
static bool eval_comparison(struct rendering *r, const struct node *node, struct datum *out) {
  struct datum left, right;
  bool holds = true;
  if (!eval(r, node->a, &left)) return false;
  for (size_t i = 0; i < node->items.count && holds; i++, left = right)
    if (!eval(r, node->items.at[i]->a, &right) || !eval_compare(r, node->items.at[i]->op, left, right, &holds))
      return false;
  *out = datum_bool(holds);
  return true;
}

static bool eval_choice(struct rendering *r, const struct node *node, struct datum *out) {
  struct datum condition;
  if (!eval(r, node->b, &condition)) return false;
  if (datum_truth(condition)) return eval(r, node->a, out);
  *out = datum_undefined(NULL);
  return !node->c || eval(r, node->c, out);
}

static bool eval_two(struct rendering *r, const struct node *node, struct datum *out) {
  struct datum a, b;
  if (!eval(r, node->a, &a) || !eval(r, node->b, &b)) return false;
  return node->kind == NODE_ITEM ? eval_item(r, a, b, out) : eval_binary(r, node->op, a, b, out);
}

static bool eval_not(struct rendering *r, const struct node *node, struct datum *out) {
  if (!eval(r, node->a, out)) return false;
  *out = datum_bool(!datum_truth(*out));
  return true;
}

static bool eval_dot(struct rendering *r, const struct node *node, struct datum *out) {
  struct datum object;
  return eval(r, node->a, &object) && eval_attribute(r, object, &node->name, out);
}

static bool eval_node(struct rendering *r, const struct node *node, struct datum *out) {
  switch (node->kind) {
  case NODE_CONSTANT: *out = node->value; return true;
  case NODE_NAME: return eval_name(r, node, out);
  case NODE_LIST:
  case NODE_TUPLE: return eval_list(r, node, out);
  case NODE_DICT: return eval_dict(r, node, out);
  case NODE_ATTRIBUTE: return eval_dot(r, node, out);
  case NODE_ITEM:
  case NODE_BINARY: return eval_two(r, node, out);
  case NODE_SLICE: return eval_bounds(r, node, out);
  case NODE_CALL: return eval_call(r, node, NULL, out);
  case NODE_FILTER: return eval_filter(r, node, out);
  case NODE_TEST: return eval_test(r, node, out);
  case NODE_NOT: return eval_not(r, node, out);
  case NODE_NEGATE:
  case NODE_POSITIVE: return eval_sign(r, node, out);
  case NODE_AND:
  case NODE_OR: return eval_logic(r, node, out);
  case NODE_COMPARE: return eval_comparison(r, node, out);
  case NODE_CHOICE: return eval_choice(r, node, out);
  default: return rendering_fail(r, "a statement stands where a value is expected");
  }
}

bool eval(struct rendering *r, const struct node *node, struct datum *out) {
  r->line = node->line;
  *out = datum_unset();
  if (!rendering_charge(r, 1) || !rendering_enter(r) || !eval_node(r, node, out)) return false;
  rendering_leave(r);
  return true;
}
