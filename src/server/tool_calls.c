/* One reader for each form, chosen by how the text begins. */
#include "server/tool_calls.h"

#include "server/call_tags.h"
#include "server/call_text.h"
#include "server/python_literal.h"

bool tool_calls_unfinished(struct slice text) {
  bool string;
  const uint8_t *object = text.size ? memchr(text.data, '{', text.size) : NULL;
  return object && call_extent(call_rest(text, (size_t)(object - text.data)), &string) == 0 && string;
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

const json_t *tool_find(const json_t *tools, struct slice name) {
  for (size_t i = 0; i < json_array_size(tools); i++) {
    const json_t *function = json_object_get(json_array_get(tools, i), "function");
    const json_t *known = json_object_get(function, "name");
    if (json_is_string(known) && slice_equal(json_slice(known), name)) return function;
  }
  return NULL;
}

enum { TOOL_BYTES = 1024, PARAMETER_BYTES = 128 }; /* what each takes beside its name, more or less */

/* All of them share the one value. */
static json_t *strings_brief(const json_t *function, json_t *string, size_t *bytes) {
  json_t *properties = json_object_get(json_object_get(function, "parameters"), "properties"), *brief = json_object();
  for (void *at = json_object_iter(properties); at; at = json_object_iter_next(properties, at)) {
    const json_t *type = json_object_get(json_object_iter_value(at), "type");
    if (!json_is_string(type) || !slice_is(json_slice(type), "string")) continue;
    json_object_setn(brief, json_object_iter_key(at), json_object_iter_key_len(at), string);
    *bytes += PARAMETER_BYTES + json_object_iter_key_len(at);
  }
  return brief;
}

json_t *tools_brief(const json_t *tools, size_t *bytes) {
  json_t *brief = json_array(), *string = json_pack("{s:s}", "type", "string");
  for (size_t i = 0; i < json_array_size(tools); i++) {
    const json_t *function = json_object_get(json_array_get(tools, i), "function");
    *bytes += TOOL_BYTES;
    json_array_append_new(brief, json_pack("{s:{s:O,s:{s:o}}}", "function", "name", json_object_get(function, "name"),
                                           "parameters", "properties", strings_brief(function, string, bytes)));
  }
  json_decref(string);
  return brief;
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static bool object_add(json_t *calls, const json_t *object) {
  const json_t *inner = json_object_get(object, "function");
  if (json_is_object(inner)) object = inner;
  const json_t *name = json_object_get(object, "name");
  if (!name) name = json_object_get(object, "tool_name");
  if (!name) name = inner;
  json_t *arguments = json_object_get(object, "arguments");
  if (!arguments) arguments = json_object_get(object, "parameters");
  void *only = !arguments && json_object_size(object) == 1 ? json_object_iter((json_t *)object) : NULL;
  if (only && json_is_object(json_object_iter_value(only))) /* {N: {…}} */
    return call_add(calls, slice_make(json_object_iter_key(only), json_object_iter_key_len(only)),
                    json_incref(json_object_iter_value(only)));
  return json_is_string(name) && call_add(calls, json_slice(name), json_incref(arguments));
}

static bool value_add(json_t *calls, const json_t *value) {
  if (!json_is_array(value)) return object_add(calls, value);
  for (size_t i = 0; i < json_array_size(value); i++)
    if (!object_add(calls, json_array_get(value, i))) return false;
  return true;
}

/* What may stand between two values, or behind the last: a comma or a semicolon, marks that were not closed. */
static struct slice between_off(struct slice text) {
  text = call_trimmed(text);
  if (text.size > 1 && (text.data[0] == ';' || text.data[0] == ',')) text = call_trimmed(call_rest(text, 1));
  while (call_past(&text, "</tool_call>") || call_past(&text, "<tool_call>")) text = call_trimmed(text);
  return text;
}

/* Values one after another. */
static bool values_read(json_t *calls, struct slice text) {
  while (text.size > 0) {
    struct error error;
    bool string;
    size_t size = call_extent(text, &string);
    json_t *value = size ? json_parse(slice_make(text.data, size), &error) : NULL;
    bool added = value && value_add(calls, value);
    json_decref(value);
    if (!added) return false;
    text = between_off(call_rest(text, size));
  }
  return true;
}

/* Without the line ends that stand around a value. */
static struct slice line_ends_off(struct slice value) {
  if (value.size > 0 && value.data[0] == '\n') value = call_rest(value, 1);
  if (value.size > 0 && value.data[value.size - 1] == '\n') value.size--;
  return value;
}

static bool parameters_read(struct slice body, json_t *arguments, const json_t *tool) {
  struct slice name, value;
  while (call_past(&body, "<parameter="))
    if (!call_until(&body, ">", &name) || !call_until(&body, "</parameter>", &value) ||
        !call_add_value(arguments, name, line_ends_off(value), tool))
      return false;
  return call_trimmed(body).size == 0;
}

static bool functions_read(json_t *calls, struct slice text, const json_t *tools) {
  struct slice name, body;
  while (call_past(&text, "<function=")) {
    if (!call_until(&text, ">", &name)) return false;
    struct slice json = call_trimmed(text);
    bool string;
    size_t size = json.size > 0 && json.data[0] == '{' ? call_extent(json, &string) : 0;
    if (size > 0) { /* JSON in place of parameters */
      text = call_rest(json, size);
      if (!call_add_json(calls, name, slice_make(json.data, size)) || !call_past(&text, "</function>")) return false;
      continue;
    }
    if (!call_until(&text, "</function>", &body)) return false;
    json_t *arguments = json_object();
    bool read = parameters_read(body, arguments, tool_find(tools, name));
    if (!call_add(calls, name, arguments) || !read) return false;
  }
  return call_trimmed(text).size == 0;
}

/* GLM's: the name, then keys and values. */
static bool keys_read(json_t *calls, struct slice text, const json_t *tools) {
  struct slice name = text, key, value;
  const uint8_t *first = memmem(text.data, text.size, "<arg_key>", 9);
  if (first) name.size = (size_t)(first - text.data);
  struct slice rest = call_rest(text, name.size);
  name = call_trimmed(name);
  const json_t *tool = tool_find(tools, name);
  if (!first && !tool) return false; /* any word would be a call without arguments */
  json_t *arguments = json_object();
  bool read = true;
  while (read && call_past(&rest, "<arg_key>"))
    read = call_until(&rest, "</arg_key>", &key) && call_past(&rest, "<arg_value>") &&
           call_until(&rest, "</arg_value>", &value) && call_add_value(arguments, call_trimmed(key), value, tool);
  return call_add(calls, name, arguments) && read && call_trimmed(rest).size == 0;
}

/* --- names before JSON -------------------------------------------------------------------------------------------- */

/* Mistral's; the numbers of calls are the server's own. */
static bool named_read(json_t *calls, struct slice text) {
  static const char mark[] = "[TOOL_CALLS]";
  struct slice name, id;
  do {
    if (!call_until(&text, "[ARGS]", &name)) return false;
    struct slice rest = name;
    if (call_until(&rest, "[CALL_ID]", &id)) name = id;
    bool string;
    text = call_trimmed(text);
    size_t size = call_extent(text, &string);
    if (size == 0 || !call_add_json(calls, name, slice_make(text.data, size))) return false;
    text = call_rest(text, size);
  } while (call_past(&text, mark));
  return call_trimmed(text).size == 0;
}

static bool deepseek_read(json_t *calls, struct slice text) {
  struct slice call, name;
  while (call_past(&text, "<｜tool▁call▁begin｜>")) {
    if (!call_until(&text, "<｜tool▁call▁end｜>", &call) || !call_until(&call, "<｜tool▁sep｜>", &name)) return false;
    bool string, fenced = slice_is(call_trimmed(name), "function") && call_until(&call, "```json", &name);
    call = call_trimmed(call);
    if (fenced) call.size = call_extent(call, &string); /* what fences it in may be part of an argument */
    if (!call_add_json(calls, name, call)) return false;
  }
  return call_trimmed(text).size == 0;
}

/* Names before what they are called with. What one reader added before it failed is no call of the next one's. */
static bool untagged_read(json_t *calls, struct slice text, const json_t *tools) {
  if (named_read(calls, text)) return true;
  json_array_clear(calls);
  if (call_lines_read(calls, text, tools)) return true;
  json_array_clear(calls);
  return keys_read(calls, text, tools);
}

static bool text_read(json_t *calls, struct slice text, const json_t *tools) {
  if (slice_starts(text, "<function=")) return functions_read(calls, text, tools);
  if (slice_starts(text, "<｜tool▁call▁begin｜>")) return deepseek_read(calls, text);
  if (slice_starts(text, "functools")) text = call_rest(text, sizeof "functools" - 1);
  if (text.size > 0 && (text.data[0] == '{' || text.data[0] == '[')) return values_read(calls, text);
  if (call_tags_begin(text)) return call_tags_read(calls, text, tools);
  return text.size > 0 && untagged_read(calls, text, tools);
}

/* Command's word for calling nothing. */
static void no_call_off(json_t *calls, const json_t *tools) {
  for (size_t i = json_array_size(calls); i-- > 0;) {
    struct slice name = json_slice(json_object_get(json_array_get(calls, i), "name"));
    bool none = slice_is(name, "directly_answer") || slice_is(name, "directly-answer");
    if (none && !tool_find(tools, name)) json_array_remove(calls, i);
  }
}

json_t *tool_calls_read(struct slice text, const json_t *tools) {
  json_t *calls = json_array();
  text = call_trimmed(text);
  if (calls && text_read(calls, text, tools) && json_array_size(calls) > 0) {
    no_call_off(calls, tools);
    return calls;
  }
  json_decref(calls);
  return text.size > 0 && text.data[0] == '[' ? python_calls_read(text) : NULL;
}
