/* Steps through text, and what becomes of it. */
#include "server/call_text.h"

#include "base/limits.h"
#include "server/call_json.h"

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

bool call_value(struct slice *text, const char *begin, const char *end, struct slice *value) {
  return call_until(text, end, value) && (value->size == 0 || !memmem(value->data, value->size, begin, strlen(begin)));
}

bool call_past(struct slice *text, const char *mark) {
  struct slice rest = call_trimmed(*text);
  if (!slice_starts(rest, mark)) return false;
  *text = call_rest(rest, strlen(mark));
  return true;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

static bool object_add(json_t *calls, struct slice name, struct slice object) {
  bool fits = name.size > 0 && json_array_size(calls) < LIMIT_TOOL_CALLS && object.size > 0 && object.data[0] == '{' &&
              call_json_value(object) == object.size;
  json_t *call =
      fits ? json_pack("{s:s%,s:s%}", "name", name.data, name.size, "arguments", object.data, object.size) : NULL;
  return call && json_array_append_new(calls, call) == 0;
}

bool call_add(json_t *calls, struct slice name, struct slice arguments) {
  arguments = call_trimmed(arguments);
  json_t *string = arguments.size > 0 && arguments.data[0] == '"' ? call_json_string(arguments) : NULL;
  if (string) arguments = call_trimmed(json_slice(string));
  bool none = arguments.size == 0 || slice_is(arguments, "null");
  bool added = object_add(calls, call_trimmed(name), none ? slice_text("{}") : arguments);
  json_decref(string);
  return added;
}

bool call_add_next(json_t *calls, struct slice name, struct slice *text) {
  struct slice rest = call_trimmed(*text);
  size_t size = call_json_value(rest);
  if (size == 0 || !call_add(calls, name, slice_make(rest.data, size))) return false;
  *text = call_rest(rest, size);
  return true;
}

/* --- arguments one by one ----------------------------------------------------------------------------------------- */

void call_arguments_begin(struct buffer *arguments) {
  buffer_init(arguments, 6 * LIMIT_TOOL_CALL_BYTES); /* all of it escaped */
  buffer_text(arguments, "{");
}

bool call_arguments_name(struct buffer *arguments, struct slice name) {
  if (arguments->size > 0 && arguments->data[arguments->size - 1] != '{') buffer_text(arguments, ", ");
  return name.size > 0 && json_write_string(arguments, name) && buffer_text(arguments, ": ");
}

bool call_arguments_end(json_t *calls, struct slice name, struct buffer *arguments, bool fine) {
  fine = fine && buffer_text(arguments, "}") && call_add(calls, name, buffer_slice(arguments));
  buffer_release(arguments);
  return fine;
}

bool call_any_value(struct buffer *out, struct slice text) {
  text = call_trimmed(text);
  if (slice_is(text, "True")) return buffer_text(out, "true");
  if (slice_is(text, "False")) return buffer_text(out, "false");
  if (slice_is(text, "None")) return buffer_text(out, "null");
  return text.size > 0 && call_json_value(text) == text.size && buffer_append(out, text.data, text.size);
}

bool call_add_value(struct buffer *arguments, struct slice name, struct slice value, const json_t *tool) {
  const json_t *properties = json_object_get(json_object_get(tool, "parameters"), "properties");
  const json_t *type = json_object_get(json_object_getn(properties, (const char *)name.data, name.size), "type");
  bool string = json_is_string(type) && slice_is(json_slice(type), "string");
  return call_arguments_name(arguments, name) &&
         ((!string && call_any_value(arguments, value)) || json_write_string(arguments, value));
}
