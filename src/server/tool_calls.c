/* One reader for each form: it adds a call and moves the text behind it. Which one is tried, the text's beginning says.
 */
#include "server/tool_calls.h"

#include "base/limits.h"
#include "server/call_json.h"
#include "server/call_tags.h"
#include "server/call_text.h"
#include "server/python_literal.h"

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

/* What an object has to say of a call; values as they stand there. */
struct called {
  struct slice name, tool_name, function, arguments, parameters;
  struct slice only; /* the name of its one member */
  int n_member;
};

static struct called object_read(struct slice object) {
  struct called called = {0};
  struct slice name, value, body = call_rest(object, 1);
  for (; call_json_member(&body, &name, &value); called.n_member++) {
    called.only = name;
    if (slice_is(name, "\"name\"")) called.name = value;
    if (slice_is(name, "\"tool_name\"")) called.tool_name = value;
    if (slice_is(name, "\"function\"")) called.function = value;
    if (slice_is(name, "\"arguments\"")) called.arguments = value;
    if (slice_is(name, "\"parameters\"")) called.parameters = value;
  }
  return called;
}

static bool is_object(struct slice value) { return value.size > 0 && value.data[0] == '{'; }

/* The name is in quotes. */
static bool quoted_add(json_t *calls, struct slice name, struct slice arguments) {
  json_t *string = name.size > 0 && name.data[0] == '"' ? call_json_string(name) : NULL;
  bool added = string && call_add(calls, json_slice(string), arguments);
  json_decref(string);
  return added;
}

static bool object_add(json_t *calls, struct slice object) {
  if (!is_object(object)) return false;
  struct called called = object_read(object);
  if (is_object(called.function)) {
    object = called.function;
    called = object_read(object);
  }
  struct slice name = called.name.size ? called.name : called.tool_name.size ? called.tool_name : called.function;
  struct slice arguments = called.arguments.size ? called.arguments : called.parameters, key, value;
  if (name.size > 0 || arguments.size > 0 || called.n_member != 1) return quoted_add(calls, name, arguments);
  object = call_rest(object, 1);
  return call_json_member(&object, &key, &value) && is_object(value) && quoted_add(calls, key, value); /* {N: {…}} */
}

/* An object, or a list of them. */
static bool value_read(json_t *calls, struct slice *text) {
  size_t size = call_json_value(*text);
  if (size == 0) return false;
  struct slice value = slice_make(text->data, size);
  *text = call_rest(*text, size);
  if (value.data[0] != '[') return object_add(calls, value);
  struct slice list = call_rest(value, 1), element;
  while (call_json_element(&list, &element))
    if (!object_add(calls, element)) return false;
  return true;
}

/* --- tags --------------------------------------------------------------------------------------------------------- */

/* Without the line ends that stand around a value. */
static struct slice line_ends_off(struct slice value) {
  if (value.size > 0 && value.data[0] == '\n') value = call_rest(value, 1);
  if (value.size > 0 && value.data[value.size - 1] == '\n') value.size--;
  return value;
}

static bool function_read(json_t *calls, struct slice *text, const json_t *tools) {
  struct slice name, parameter, value;
  struct buffer arguments;
  if (!call_past(text, "<function=") || !call_until(text, ">", &name)) return false;
  if (is_object(call_trimmed(*text))) /* JSON in place of parameters */
    return call_add_next(calls, name, text) && call_past(text, "</function>");
  const json_t *tool = tool_find(tools, call_trimmed(name));
  bool read = true;
  call_arguments_begin(&arguments);
  while (read && call_past(text, "<parameter="))
    read = call_until(text, ">", &parameter) && call_value(text, "<parameter=", "</parameter>", &value) &&
           call_add_value(&arguments, parameter, line_ends_off(value), tool);
  return call_arguments_end(calls, name, &arguments, read && call_past(text, "</function>"));
}

/* GLM's: the name, then keys and values. */
static bool keys_read(json_t *calls, struct slice *text, const json_t *tools) {
  struct slice name = *text, key, value;
  struct buffer arguments;
  const uint8_t *first = memmem(text->data, text->size, "<arg_key>", 9);
  if (first) name.size = (size_t)(first - text->data);
  *text = call_rest(*text, name.size);
  name = call_trimmed(name);
  const json_t *tool = tool_find(tools, name);
  if (!first && !tool) return false; /* any word would be a call without arguments */
  bool read = true;
  call_arguments_begin(&arguments);
  while (read && call_past(text, "<arg_key>"))
    read = call_until(text, "</arg_key>", &key) && call_past(text, "<arg_value>") &&
           call_value(text, "<arg_value>", "</arg_value>", &value) &&
           call_add_value(&arguments, call_trimmed(key), value, tool);
  return call_arguments_end(calls, name, &arguments, read);
}

/* --- names before JSON -------------------------------------------------------------------------------------------- */

enum { HEAD_BYTES = 4 * LIMIT_TOOL_NAME_BYTES }; /* within which Mistral's name, and its number, come to an end */

/* Mistral's; the numbers of calls are the server's own. */
static bool named_read(json_t *calls, struct slice *text, const json_t *tools) {
  struct slice name, id;
  call_past(text, "[TOOL_CALLS]");
  struct slice head = slice_make(text->data, text->size < HEAD_BYTES ? text->size : HEAD_BYTES), rest = head;
  if (call_until(&rest, "{", &name) && tool_find(tools, call_trimmed(name))) { /* the mark was forgotten */
    *text = call_rest(*text, name.size);
    return call_add_next(calls, call_trimmed(name), text);
  }
  rest = head;
  if (!call_until(&rest, "[ARGS]", &name)) return false;
  *text = call_rest(*text, head.size - rest.size);
  rest = name;
  if (call_until(&rest, "[CALL_ID]", &id)) name = id;
  name = call_trimmed(name);
  for (size_t i = 0; i < name.size; i++)
    if (json_is_space(name.data[i]) || name.data[i] == '[') return false; /* a text, and another call */
  return call_add_next(calls, name, text);
}

static bool deepseek_read(json_t *calls, struct slice *text) {
  struct slice name;
  if (!call_past(text, "<｜tool▁call▁begin｜>") || !call_until(text, "<｜tool▁sep｜>", &name)) return false;
  bool fenced = slice_is(call_trimmed(name), "function") && call_until(text, "```json", &name);
  if (!call_add_next(calls, name, text)) return false;
  if (fenced) call_past(text, "```");
  return call_past(text, "<｜tool▁call▁end｜>") || call_trimmed(*text).size == 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* How the next call is written, all of those after it are. */
enum call_kind { FUNCTION, DEEPSEEK, VALUE, TAGS, PYTHON_LIST, PYTHON_LINE, NAMED, LINE, KEYS, N_KIND };

static bool one_read(enum call_kind kind, json_t *calls, struct slice *text, const json_t *tools) {
  switch (kind) {
  case FUNCTION: return function_read(calls, text, tools);
  case DEEPSEEK: return deepseek_read(calls, text);
  case VALUE: return value_read(calls, text);
  case TAGS: return call_tags_begin(*text) && call_tags_read(calls, text, tools);
  case PYTHON_LIST: return python_list_read(calls, text);
  case PYTHON_LINE: return python_call_read(calls, text, tools);
  case NAMED: return named_read(calls, text, tools);
  case LINE: return call_line_read(calls, text, tools);
  default: return keys_read(calls, text, tools);
  }
}

/* What may stand between two of them, or behind the last: a comma or a semicolon, marks that were not closed. */
static struct slice between_off(enum call_kind kind, struct slice text) {
  text = call_trimmed(text);
  bool values = kind == VALUE || kind == PYTHON_LINE;
  if (values && text.size > 1 && (text.data[0] == ';' || text.data[0] == ',')) text = call_trimmed(call_rest(text, 1));
  while (kind == VALUE && (call_past(&text, "</tool_call>") || call_past(&text, "<tool_call>")))
    text = call_trimmed(text);
  return text;
}

/* All of one kind that the text begins with; answers where the last ends. What is added and then is no call is taken
 * back. */
static struct slice kind_read(enum call_kind kind, json_t *calls, struct slice text, const json_t *tools) {
  struct slice rest = text, last = text;
  while (rest.size > 0) {
    size_t n_before = json_array_size(calls);
    if (!one_read(kind, calls, &rest, tools)) {
      while (json_array_size(calls) > n_before) json_array_remove(calls, json_array_size(calls) - 1);
      break;
    }
    last = rest;
    if (kind == VALUE) call_past(&last, "</tool_call>");
    rest = between_off(kind, rest);
    if (rest.size == 0) last = rest;
  }
  return last;
}

static bool may_begin(enum call_kind kind, struct slice text) {
  switch (kind) {
  case FUNCTION: return slice_starts(text, "<function=");
  case DEEPSEEK: return slice_starts(text, "<｜tool▁call▁begin｜>");
  case VALUE: return text.data[0] == '{' || text.data[0] == '[';
  case TAGS: return call_tags_begin(text);
  case PYTHON_LIST: return text.data[0] == '[';
  default: return text.data[0] != '{' && text.data[0] != '[';
  }
}

/* Command's word for calling nothing. */
static void no_call_off(json_t *calls, const json_t *tools) {
  for (size_t i = json_array_size(calls); i-- > 0;) {
    struct slice name = json_slice(json_object_get(json_array_get(calls, i), "name"));
    bool none = slice_is(name, "directly_answer") || slice_is(name, "directly-answer");
    if (none && !tool_find(tools, name)) json_array_remove(calls, i);
  }
}

json_t *tool_calls_read(struct slice text, const json_t *tools, bool ended, size_t *read) {
  json_t *calls = json_array();
  const uint8_t *begin = text.data;
  text = call_trimmed(text);
  if (slice_starts(text, "functools")) text = call_rest(text, sizeof "functools" - 1);
  for (enum call_kind kind = 0; calls && text.size > 0 && kind < N_KIND; kind++) {
    if (!may_begin(kind, text) || (kind == KEYS && !ended)) continue;
    struct slice rest = kind_read(kind, calls, text, tools);
    if (json_array_size(calls) > 0 && (read || rest.size == 0)) {
      if (read) *read = (size_t)(rest.data - begin);
      no_call_off(calls, tools);
      return calls;
    }
    json_array_clear(calls); /* what one reader found before it failed is no call of the next one's */
  }
  json_decref(calls);
  return NULL;
}

json_t *tool_call_named(struct slice name, struct slice arguments) {
  json_t *calls = json_array();
  if (calls && call_add(calls, name, arguments)) return calls;
  json_decref(calls);
  return NULL;
}
