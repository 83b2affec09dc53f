/* Statements executed: what they write goes to the rendering's builder. */
#include "text/jinja_rendering.h"

/* --- assigning -------------------------------------------------------------------------------------------------- */

static bool assign_namespace(struct rendering *r, const struct node *target, struct datum value) {
  const struct datum *space = frame_find(r->frame, target->a->name);
  struct datum name;
  if (!frame_charge(r, r->frame)) return false;
  if (!space || space->kind != DATUM_NAMESPACE)
    return rendering_fail(r, "only a namespace's attributes can be set, and '%.*s' is none",
                          SLICE_ARGS(target->a->name));
  return datum_text(r, target->name, &name) && namespace_takes(r, name) && map_set(r, space->map, name, value);
}

bool assign(struct rendering *r, const struct node *target, struct datum value) {
  if (target->kind == NODE_NAME) return frame_set(r, r->frame, target->name, value);
  if (target->kind == NODE_ATTRIBUTE) return assign_namespace(r, target, value);
  struct datum_list *items;
  if (!datum_items(r, value, &items)) return false;
  if (items->count != target->items.count)
    return rendering_fail(r, "%zu values are assigned to %zu names", items->count, target->items.count);
  for (size_t i = 0; i < items->count; i++)
    if (!assign(r, target->items.at[i], items->items[i])) return false;
  return true;
}

/* --- bodies whose output is a value ----------------------------------------------------------------------------- */

bool exec_captured(struct rendering *r, const struct node_list *body, struct frame *frame, struct datum *out) {
  struct builder b = {0}, *outer = r->out;
  struct frame *outside = r->frame;
  r->out = &b;
  r->frame = frame;
  bool done = exec_body(r, body) && builder_take(r, &b, out);
  r->out = outer;
  r->frame = outside;
  return done;
}

/* The body in a scope of its own, then through the filters. */
static bool exec_filtered(struct rendering *r, const struct node *node, struct datum *out) {
  struct frame *frame = frame_new(r, r->frame);
  if (!frame || !exec_captured(r, &node->items, frame, out)) return false;
  if (!node->b) return true;
  struct datum outer = r->captured;
  r->captured = *out;
  bool done = eval(r, node->b, out);
  r->captured = outer;
  return done;
}

static bool exec_set_block(struct rendering *r, const struct node *node) {
  struct datum value;
  return exec_filtered(r, node, &value) && assign(r, node->a, value);
}

static bool exec_filter_block(struct rendering *r, const struct node *node) {
  struct datum value;
  return exec_filtered(r, node, &value) && print_datum(r, r->out, value);
}

static bool macro_new(struct rendering *r, const struct node *node, struct datum *out) {
  struct macro *macro = rendering_alloc(r, sizeof *macro);
  if (!macro) return false;
  *macro = (struct macro){node, r->frame};
  *out = (struct datum){.kind = DATUM_MACRO, .macro = macro};
  return true;
}

static bool exec_macro(struct rendering *r, const struct node *node) {
  struct datum macro;
  return macro_new(r, node, &macro) && frame_set(r, r->frame, node->name, macro);
}

static bool exec_call_block(struct rendering *r, const struct node *node) {
  struct datum caller, value;
  return macro_new(r, node, &caller) && eval_call(r, node->a, &caller, &value) && print_datum(r, r->out, value);
}

/* --- loops ------------------------------------------------------------------------------------------------------ */

/* The items that the loop's condition keeps. */
static bool filter_items(struct rendering *r, const struct node *node, struct datum_list **items) {
  struct datum kept;
  struct frame *outside = r->frame;
  bool done = list_new(r, 0, &kept);
  for (size_t i = 0; done && i < (*items)->count; i++) {
    struct datum condition;
    r->frame = frame_new(r, outside);
    done = r->frame && assign(r, node->a, (*items)->items[i]) && eval(r, node->c, &condition) &&
           (!datum_truth(condition) || list_append(r, kept.list, (*items)->items[i]));
  }
  r->frame = outside;
  *items = kept.list;
  return done;
}

/* One round, in a scope of its own; *stop: a break ended it. */
static bool exec_round(struct rendering *r, const struct node *node, struct loop_state *loop, bool *stop) {
  struct datum variable = {.kind = DATUM_LOOP, .loop = loop};
  if (!frame_set(r, r->frame, slice_text("loop"), variable)) return false;
  if (!assign(r, node->a, loop->items->items[loop->index]) || !exec_body(r, &node->items)) return false;
  *stop = r->jump == JUMP_BREAK;
  r->jump = JUMP_NONE;
  return true;
}

static bool run_loop(struct rendering *r, const struct node *node, struct datum iterable, int depth) {
  struct datum_list *items;
  struct frame *outside = r->frame;
  if (!datum_items(r, iterable, &items) || (node->c && !filter_items(r, node, &items))) return false;
  struct loop_state *loop = rendering_alloc(r, sizeof *loop);
  if (!loop) return false;
  *loop = (struct loop_state){.node = node, .outside = outside, .items = items, .depth = depth};
  bool done = true, stop = false;
  for (; done && !stop && loop->index < items->count; loop->index++) {
    r->frame = frame_new(r, outside);
    done = r->frame && rendering_charge(r, 1) && exec_round(r, node, loop, &stop);
  }
  r->frame = outside;
  return done && (items->count > 0 || exec_body(r, &node->others));
}

static bool exec_for(struct rendering *r, const struct node *node) {
  struct datum iterable;
  return eval(r, node->b, &iterable) && run_loop(r, node, iterable, 0);
}

bool exec_loop_again(struct rendering *r, const struct loop_state *loop, struct datum items, struct datum *out) {
  struct builder b = {0}, *outer = r->out;
  struct frame *inside = r->frame;
  if (!rendering_enter(r)) return false;
  r->out = &b;
  r->frame = loop->outside;
  bool done = run_loop(r, loop->node, items, loop->depth + 1) && builder_take(r, &b, out);
  r->out = outer;
  r->frame = inside;
  rendering_leave(r);
  return done;
}

/* --- the rest --------------------------------------------------------------------------------------------------- */

static bool exec_print(struct rendering *r, const struct node *node) {
  struct datum value;
  return eval(r, node->a, &value) && print_datum(r, r->out, value);
}

static bool exec_if(struct rendering *r, const struct node *node) {
  for (size_t i = 0; i < node->items.count; i++) {
    const struct node *arm = node->items.at[i];
    struct datum condition = datum_bool(true);
    if (arm->a && !eval(r, arm->a, &condition)) return false;
    if (datum_truth(condition)) return exec_body(r, &arm->items);
  }
  return true;
}

static bool exec_set(struct rendering *r, const struct node *node) {
  struct datum value;
  return eval(r, node->b, &value) && assign(r, node->a, value);
}

static bool exec_with(struct rendering *r, const struct node *node) {
  struct frame *outside = r->frame, *frame = frame_new(r, outside);
  bool done = frame != NULL;
  for (size_t i = 0; done && i < node->others.count; i++) { /* the values do not see each other */
    struct datum value;
    done = eval(r, node->others.at[i]->a, &value) && frame_set(r, frame, node->others.at[i]->name, value);
  }
  r->frame = frame;
  done = done && exec_body(r, &node->items);
  r->frame = outside;
  return done;
}

/* Where it stands, but for the variables of what is around it. */
static bool exec_block(struct rendering *r, const struct node *node) {
  struct frame *outside = r->frame, *seen = outside;
  while (!node->value.truth && seen->parent && seen->parent->parent) seen = seen->parent;
  r->frame = frame_new(r, seen);
  bool done = r->frame && exec_body(r, &node->items);
  r->frame = outside;
  return done;
}

static bool exec_autoescape(struct rendering *r, const struct node *node) {
  struct datum escapes;
  if (!eval(r, node->a, &escapes)) return false;
  if (datum_truth(escapes)) return rendering_fail(r, "texts are not escaped by themselves: autoescape must be false");
  return exec_with(r, node);
}

static bool exec_node(struct rendering *r, const struct node *node) {
  switch (node->kind) {
  case NODE_OUTPUT: return builder_marked(r, r->out, *node->value.text);
  case NODE_PRINT: return exec_print(r, node);
  case NODE_IF: return exec_if(r, node);
  case NODE_FOR: return exec_for(r, node);
  case NODE_SET: return exec_set(r, node);
  case NODE_SET_BLOCK: return exec_set_block(r, node);
  case NODE_MACRO: return exec_macro(r, node);
  case NODE_CALL_BLOCK: return exec_call_block(r, node);
  case NODE_FILTER_BLOCK: return exec_filter_block(r, node);
  case NODE_BLOCK: return exec_block(r, node);
  case NODE_AUTOESCAPE: return exec_autoescape(r, node);
  case NODE_WITH:
  case NODE_GENERATION: return exec_with(r, node);
  case NODE_BREAK: r->jump = JUMP_BREAK; return true;
  case NODE_CONTINUE: r->jump = JUMP_CONTINUE; return true;
  default: return rendering_fail(r, "a value stands where a statement is expected");
  }
}

bool exec_body(struct rendering *r, const struct node_list *body) {
  if (!rendering_enter(r)) return false;
  for (size_t i = 0; i < body->count && r->jump == JUMP_NONE; i++) {
    r->line = body->at[i]->line;
    if (!rendering_charge(r, 1) || !exec_node(r, body->at[i])) return false;
  }
  rendering_leave(r);
  return true;
}
