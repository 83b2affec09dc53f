/* The budget, the variables and the arguments of a rendering. */
#include "text/jinja_rendering.h"

#include "base/limits.h"

#include <stdarg.h>
#include <stdio.h>

bool rendering_fail(struct rendering *r, const char *format, ...) {
  char text[ERROR_TEXT_MAX];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return error_set(r->error, ERROR_INVALID, "The chat template failed on these messages, at its line %d: %s.", r->line,
                   text);
}

bool rendering_no_memory(struct rendering *r) {
  if (r->arena->starved) return error_set(r->error, ERROR_MEMORY, "No memory to render these messages.");
  return error_set(r->error, ERROR_LIMIT,
                   "The chat template needs more than %d MiB for these messages, at its line %d; send fewer.",
                   LIMIT_TEMPLATE_MEMORY >> 20, r->line);
}

void *rendering_alloc(struct rendering *r, size_t size) {
  void *memory = arena_alloc(r->arena, size);
  if (!memory) rendering_no_memory(r);
  return memory;
}

bool rendering_charge(struct rendering *r, size_t steps) {
  r->steps += steps;
  return r->steps <= LIMIT_TEMPLATE_STEPS ||
         error_set(r->error, ERROR_LIMIT,
                   "The chat template takes more than %d steps for these messages, at its line %d; send fewer.",
                   LIMIT_TEMPLATE_STEPS, r->line);
}

bool rendering_enter(struct rendering *r) {
  if (++r->depth <= LIMIT_TEMPLATE_DEPTH) return true;
  return rendering_fail(r, "it nests deeper than %d levels", LIMIT_TEMPLATE_DEPTH);
}

/* --- variables -------------------------------------------------------------------------------------------------- */

static struct binding *binding_find(const struct frame *frame, struct slice name) {
  for (struct binding *b = frame->bindings; b; b = b->next)
    if (slice_equal(b->name, name)) return b;
  return NULL;
}

bool frame_set(struct rendering *r, struct frame *frame, struct slice name, struct datum value) {
  struct binding *binding = binding_find(frame, name);
  if (!binding) {
    if (!(binding = rendering_alloc(r, sizeof *binding))) return false;
    *binding = (struct binding){.name = name, .next = frame->bindings};
    frame->bindings = binding;
    frame->n_binding++;
  }
  binding->value = value;
  return rendering_charge(r, frame->n_binding / 8);
}

bool frame_charge(struct rendering *r, const struct frame *frame) {
  size_t known = 0;
  for (; frame; frame = frame->parent) known += 1 + frame->n_binding;
  return rendering_charge(r, known / 8);
}

const struct datum *frame_find(const struct frame *frame, struct slice name) {
  for (; frame; frame = frame->parent) {
    const struct binding *binding = binding_find(frame, name);
    if (binding) return &binding->value;
  }
  return NULL;
}

struct frame *frame_new(struct rendering *r, struct frame *parent) {
  struct frame *frame = rendering_alloc(r, sizeof *frame);
  if (frame) *frame = (struct frame){.parent = parent};
  return frame;
}

/* --- arguments -------------------------------------------------------------------------------------------------- */

const struct datum *argument(const struct arguments *a, size_t position, const char *name) {
  if (position < a->count) return &a->items[position];
  for (size_t i = 0; name && i < a->n_named; i++)
    if (slice_is(a->names[i], name)) return &a->named[i];
  return NULL;
}

bool argument_int(struct rendering *r, const struct arguments *a, size_t position, const char *name, const char *what,
                  int64_t *value) {
  const struct datum *given = argument(a, position, name);
  if (!given) return true;
  if (given->kind == DATUM_INT)
    *value = given->integer;
  else if (given->kind == DATUM_BOOL)
    *value = given->truth;
  else
    return rendering_fail(r, "%s needs a whole number for %s, not a %s", what, name, datum_kind_name(*given));
  return true;
}

bool argument_text(struct rendering *r, const struct arguments *a, size_t position, const char *name, const char *what,
                   const struct marked **value) {
  const struct datum *given = argument(a, position, name);
  if (!given) return true;
  if (given->kind != DATUM_TEXT)
    return rendering_fail(r, "%s needs a text for %s, not a %s", what, name, datum_kind_name(*given));
  *value = given->text;
  return true;
}

bool argument_bound(struct rendering *r, const struct arguments *a, size_t position, const char *name, const char *what,
                    size_t length, size_t *value) {
  const struct datum *given = argument(a, position, NULL);
  int64_t bound = 0;
  if (!given || given->kind == DATUM_NONE) return true;
  if (!argument_int(r, a, position, name, what, &bound)) return false;
  if (bound < 0) bound = bound < -(int64_t)length ? 0 : bound + (int64_t)length;
  *value = (uint64_t)bound < SIZE_MAX ? (size_t)bound : SIZE_MAX - 1;
  return true;
}

bool argument_truth(const struct arguments *a, size_t position, const char *name, bool fallback) {
  const struct datum *given = argument(a, position, name);
  return given ? datum_truth(*given) : fallback;
}
