/* Global functions of chat templates. To add one: a function and a row of the table at the end. */
#include "text/jinja_rendering.h"

#include "base/limits.h"
#include "base/utf8.h"

#include <stdio.h>

/* The template's own refusal of a conversation. */
static bool call_raise_exception(struct rendering *r, const struct arguments *a, struct datum *out) {
  const struct datum *given = argument(a, 0, "message");
  const struct marked *text = NULL;
  (void)out;
  if (given && !datum_string(r, *given, &text)) return false;
  struct slice message = text ? marked_slice(text) : slice_make("", 0);
  if (message.size > 300) message.size = utf8_complete(slice_make(message.data, 300));
  return error_set(r->error, ERROR_INVALID, "The model's chat template refuses these messages: %.*s", (int)message.size,
                   (const char *)message.data);
}

static bool call_strftime_now(struct rendering *r, const struct arguments *a, struct datum *out) {
  const struct marked *format = NULL;
  char layout[256];
  char *text = rendering_alloc(r, 1024);
  if (!text || !argument_text(r, a, 0, "format", "strftime_now", &format)) return false;
  if (!format || format->size >= sizeof layout) return rendering_fail(r, "strftime_now needs a format below 256 bytes");
  memcpy(layout, format->bytes, format->size);
  layout[format->size] = '\0';
  if (!rendering_charge(r, 64 * (1 + format->size))) return false; /* it asks the system for the time zone */
  size_t size = strftime(text, 1024, layout, r->now);
  struct slice bytes = slice_make(text, size);
  if (!utf8_valid(bytes)) return rendering_fail(r, "strftime_now cannot use its format");
  if (!format->user) return datum_text(r, bytes, out);
  uint8_t *user = rendering_alloc(r, size);
  if (user) memset(user, 1, size);
  return user && datum_marked(r, (struct marked){bytes.data, user, size}, out);
}

static bool set_named(struct rendering *r, const struct arguments *a, struct datum_map *map) {
  for (size_t i = 0; i < a->n_named; i++) {
    struct datum name;
    if (!datum_text(r, a->names[i], &name) || !map_set(r, map, name, a->named[i])) return false;
  }
  return true;
}

/* A list of pairs, as maps are made of. */
static bool set_pairs(struct rendering *r, struct datum from, struct datum_map *map) {
  struct datum_list *pairs, *pair;
  if (!datum_items(r, from, &pairs)) return false;
  for (size_t i = 0; i < pairs->count; i++) {
    if (!rendering_charge(r, 1) || !datum_items(r, pairs->items[i], &pair)) return false;
    if (pair->count != 2) return rendering_fail(r, "a map is made of pairs");
    if (!map_set(r, map, pair->items[0], pair->items[1])) return false;
  }
  return true;
}

static bool call_dict(struct rendering *r, const struct arguments *a, struct datum *out) {
  const struct datum *from = argument(a, 0, NULL);
  if (!map_new(r, a->n_named, out)) return false;
  if (from && from->kind == DATUM_MAP) {
    for (size_t i = 0; i < from->map->count; i++)
      if (!map_append(r, out->map, from->map->entries[i].key, from->map->entries[i].value)) return false;
  } else if (from && !set_pairs(r, *from, out->map)) {
    return false;
  }
  return set_named(r, a, out->map);
}

bool namespace_takes(struct rendering *r, struct datum name) {
  return name.kind != DATUM_TEXT || name.text->size == 0 || name.text->bytes[0] != '_' ||
         rendering_fail(r, "a namespace takes no attribute that begins with _");
}

static bool call_namespace(struct rendering *r, const struct arguments *a, struct datum *out) {
  if (!call_dict(r, a, out)) return false;
  out->kind = DATUM_NAMESPACE;
  for (size_t i = 0; i < out->map->count; i++)
    if (!namespace_takes(r, out->map->entries[i].key)) return false;
  return true;
}

static bool call_range(struct rendering *r, const struct arguments *a, struct datum *out) {
  int64_t values[3] = {0, 0, 1};
  for (size_t i = 0; i < 3; i++)
    if (!argument_int(r, a, i, "its bounds", "range", &values[i])) return false;
  int64_t start = a->count == 1 ? 0 : values[0], end = a->count == 1 ? values[0] : values[1], step = values[2];
  if (step == 0) return rendering_fail(r, "the step of a range is 0");
  if (!list_new(r, 0, out)) return false;
  out->list->form = FORM_RANGE;
  char *shown = rendering_alloc(r, 80);
  if (!shown) return false;
  size_t used = (size_t)snprintf(shown, 80, "range(%lld, %lld", (long long)start, (long long)end);
  snprintf(shown + used, 80 - used, step == 1 ? ")" : ", %lld)", (long long)step);
  out->list->shown = shown;
  for (int64_t at = start; step > 0 ? at < end : at > end;) {
    if (!list_append(r, out->list, datum_int(at))) return false;
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return true;
}

static bool turn_new(struct rendering *r, struct datum items, bool joins, struct datum *out) {
  struct turn *turn = rendering_alloc(r, sizeof *turn);
  if (!turn) return false;
  *turn = (struct turn){.items = items.list, .joins = joins};
  *out = (struct datum){.kind = DATUM_TURN, .turn = turn};
  return true;
}

static bool call_cycler(struct rendering *r, const struct arguments *a, struct datum *out) {
  struct datum items;
  if (!list_new(r, a->count, &items)) return false;
  for (size_t i = 0; i < a->count; i++)
    if (!list_append(r, items.list, a->items[i])) return false;
  if (a->count == 0) return rendering_fail(r, "cycler needs at least one item");
  return turn_new(r, items, false, out);
}

static bool call_joiner(struct rendering *r, const struct arguments *a, struct datum *out) {
  const struct datum *given = argument(a, 0, "sep");
  struct datum items, separator;
  if (!list_new(r, 1, &items) || !datum_text(r, slice_text(", "), &separator)) return false;
  return list_append(r, items.list, given ? *given : separator) && turn_new(r, items, true, out);
}

static bool call_lipsum(struct rendering *r, const struct arguments *a, struct datum *out) {
  (void)a, (void)out;
  return rendering_fail(r, "lipsum would give the same messages other prompts");
}

const struct jinja_function global_functions[] = {
    {"raise_exception", "message", call_raise_exception},
    {"strftime_now", "format", call_strftime_now},
    {"namespace", "mapping?/ **", call_namespace},
    {"dict", "mapping?/ **", call_dict},
    {"cycler", "*", call_cycler},
    {"joiner", "sep?", call_joiner},
    {"lipsum", "n? html? min? max?", call_lipsum},
    {"range", "start stop? step?/", call_range},
    {NULL, NULL, NULL},
};
