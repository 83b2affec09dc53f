/* Steps through text, and what becomes of it. */
#include "server/call_text.h"

#include "base/limits.h"

/* --- text --------------------------------------------------------------------------------------------------------- */

struct slice call_trimmed(struct slice text) {
  while (text.size > 0 && json_is_space(text.data[0])) text = slice_make(text.data + 1, text.size - 1);
  while (text.size > 0 && json_is_space(text.data[text.size - 1])) text.size--;
  return text;
}

struct slice call_rest(struct slice text, size_t at) {
  return slice_make(text.data + at, text.size - at);
}

bool call_until(struct slice *text, const char *mark, struct slice *before) {
  size_t size = strlen(mark);
  const uint8_t *found = text->size ? memmem(text->data, text->size, mark, size) : NULL;
  if (!found) return false;
  *before = slice_make(text->data, (size_t)(found - text->data));
  *text = call_rest(*text, before->size + size);
  return true;
}

bool call_past(struct slice *text, const char *mark) {
  struct slice rest = call_trimmed(*text);
  if (!slice_starts(rest, mark)) return false;
  *text = call_rest(rest, strlen(mark));
  return true;
}

size_t call_extent(struct slice text, bool *string) {
  int depth = 0;
  *string = false;
  for (size_t i = 0; i < text.size; i++) {
    uint8_t c = text.data[i];
    if (c == '"') *string = !*string;
    if (*string && c == '\n') { /* which no string of JSON has */
      *string = false;
      return 0;
    }
    if (*string) {
      i += c == '\\';
      continue;
    }
    depth += c == '{' || c == '[';
    depth -= c == '}' || c == ']';
    if (depth == 0) return i + 1;
  }
  return 0;
}

bool call_add(json_t *calls, struct slice name, json_t *arguments) {
  struct error error;
  if (json_is_string(arguments)) {
    struct slice text = json_slice(arguments);
    json_t *inner = text.size ? json_parse(text, &error) : json_object();
    json_decref(arguments);
    arguments = inner ? inner : json_null();
  } else if (!arguments) {
    arguments = json_object();
  }
  bool fits = name.size > 0 && json_is_object(arguments) && json_array_size(calls) < LIMIT_TOOL_CALLS;
  json_t *call = fits ? json_pack("{s:s%,s:O}", "name", name.data, name.size, "arguments", arguments) : NULL;
  json_decref(arguments);
  return call && json_array_append_new(calls, call) == 0;
}

bool call_add_json(json_t *calls, struct slice name, struct slice arguments) {
  struct error error;
  json_t *object = json_parse(call_trimmed(arguments), &error);
  return object && call_add(calls, call_trimmed(name), object);
}

/* --- values without quotes ---------------------------------------------------------------------------------------- */

json_t *call_any_value(struct slice text) {
  struct error error;
  if (slice_is(text, "True")) return json_true();
  if (slice_is(text, "False")) return json_false();
  if (slice_is(text, "None")) return json_null();
  struct slice bare = call_trimmed(text);
  bool nests = bare.size > 0 && (bare.data[0] == '{' || bare.data[0] == '['); /* json_parse knows how deep */
  return nests ? json_parse(text, &error) : json_loadb((const char *)text.data, text.size, JSON_DECODE_ANY, NULL);
}

static json_t *untyped_read(struct slice value, const json_t *tool, struct slice name) {
  const json_t *properties = json_object_get(json_object_get(tool, "parameters"), "properties");
  const json_t *type = json_object_get(json_object_getn(properties, (const char *)name.data, name.size), "type");
  json_t *typed = json_is_string(type) && slice_is(json_slice(type), "string") ? NULL : call_any_value(value);
  return typed ? typed : json_stringn((const char *)value.data, value.size);
}

bool call_add_value(json_t *arguments, struct slice name, struct slice value, const json_t *tool) {
  return name.size > 0 &&
         json_object_setn_new(arguments, (const char *)name.data, name.size, untyped_read(value, tool, name)) == 0;
}
