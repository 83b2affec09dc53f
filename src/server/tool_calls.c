/* One reader for each form, chosen by how the text begins. */
#include "server/tool_calls.h"

#include "base/limits.h"
#include "server/python_literal.h"

/* --- text --------------------------------------------------------------------------------------------------------- */

static struct slice trimmed(struct slice text) {
  while (text.size > 0 && json_is_space(text.data[0])) text = slice_make(text.data + 1, text.size - 1);
  while (text.size > 0 && json_is_space(text.data[text.size - 1])) text.size--;
  return text;
}

static struct slice rest_from(struct slice text, size_t at) { return slice_make(text.data + at, text.size - at); }

/* What stands before the mark; the text goes on after it. False: it is not there. */
static bool until(struct slice *text, const char *mark, struct slice *before) {
  size_t size = strlen(mark);
  const uint8_t *found = text->size ? memmem(text->data, text->size, mark, size) : NULL;
  if (!found) return false;
  *before = slice_make(text->data, (size_t)(found - text->data));
  *text = rest_from(*text, before->size + size);
  return true;
}

/* Past a mark that the text begins with, after spaces. */
static bool past(struct slice *text, const char *mark) {
  struct slice rest = trimmed(*text);
  if (!slice_starts(rest, mark)) return false;
  *text = rest_from(rest, strlen(mark));
  return true;
}

/* Bytes of the object or list that the text begins with: to the bracket that closes it; 0: none does. *string: it ends
 * within a string. */
static size_t extent(struct slice text, bool *string) {
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

bool tool_calls_unfinished(struct slice text) {
  bool string;
  const uint8_t *object = text.size ? memchr(text.data, '{', text.size) : NULL;
  return object && extent(rest_from(text, (size_t)(object - text.data)), &string) == 0 && string;
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

/* Takes the arguments over: an object, or a string that holds one; NULL stands for none. */
static bool call_add(json_t *calls, struct slice name, json_t *arguments) {
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

static bool json_add(json_t *calls, struct slice name, struct slice arguments) {
  struct error error;
  json_t *object = json_parse(trimmed(arguments), &error);
  return object && call_add(calls, trimmed(name), object);
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
  text = trimmed(text);
  if (text.size > 1 && (text.data[0] == ';' || text.data[0] == ',')) text = trimmed(rest_from(text, 1));
  while (past(&text, "</tool_call>") || past(&text, "<tool_call>")) text = trimmed(text);
  return text;
}

/* Values one after another. */
static bool values_read(json_t *calls, struct slice text) {
  while (text.size > 0) {
    struct error error;
    bool string;
    size_t size = extent(text, &string);
    json_t *value = size ? json_parse(slice_make(text.data, size), &error) : NULL;
    bool added = value && value_add(calls, value);
    json_decref(value);
    if (!added) return false;
    text = between_off(rest_from(text, size));
  }
  return true;
}

/* --- values without quotes ---------------------------------------------------------------------------------------- */

/* JSON, or the words that Python has for JSON's. */
static json_t *any_parse(struct slice text) {
  struct error error;
  if (slice_is(text, "True")) return json_true();
  if (slice_is(text, "False")) return json_false();
  if (slice_is(text, "None")) return json_null();
  struct slice bare = trimmed(text);
  bool nests = bare.size > 0 && (bare.data[0] == '{' || bare.data[0] == '['); /* json_parse knows how deep */
  return nests ? json_parse(text, &error) : json_loadb((const char *)text.data, text.size, JSON_DECODE_ANY, NULL);
}

/* A value is a string where the tool says so, or where it is nothing else. */
static json_t *untyped_read(struct slice value, const json_t *tool, struct slice name) {
  const json_t *properties = json_object_get(json_object_get(tool, "parameters"), "properties");
  const json_t *type = json_object_get(json_object_getn(properties, (const char *)name.data, name.size), "type");
  json_t *typed = json_is_string(type) && slice_is(json_slice(type), "string") ? NULL : any_parse(value);
  return typed ? typed : json_stringn((const char *)value.data, value.size);
}

static bool untyped_add(json_t *arguments, struct slice name, struct slice value, const json_t *tool) {
  return name.size > 0 &&
         json_object_setn_new(arguments, (const char *)name.data, name.size, untyped_read(value, tool, name)) == 0;
}

/* Without the line ends that stand around a value. */
static struct slice line_ends_off(struct slice value) {
  if (value.size > 0 && value.data[0] == '\n') value = rest_from(value, 1);
  if (value.size > 0 && value.data[value.size - 1] == '\n') value.size--;
  return value;
}

static bool parameters_read(struct slice body, json_t *arguments, const json_t *tool) {
  struct slice name, value;
  while (past(&body, "<parameter="))
    if (!until(&body, ">", &name) || !until(&body, "</parameter>", &value) ||
        !untyped_add(arguments, name, line_ends_off(value), tool))
      return false;
  return trimmed(body).size == 0;
}

static bool functions_read(json_t *calls, struct slice text, const json_t *tools) {
  struct slice name, body;
  while (past(&text, "<function=")) {
    if (!until(&text, ">", &name) || !until(&text, "</function>", &body)) return false;
    json_t *arguments = json_object();
    bool read = parameters_read(body, arguments, tool_find(tools, name));
    if (!call_add(calls, name, arguments) || !read) return false;
  }
  return trimmed(text).size == 0;
}

/* GLM's: the name, then keys and values. */
static bool keys_read(json_t *calls, struct slice text, const json_t *tools) {
  struct slice name = text, key, value;
  const uint8_t *first = memmem(text.data, text.size, "<arg_key>", 9);
  if (first) name.size = (size_t)(first - text.data);
  struct slice rest = rest_from(text, name.size);
  name = trimmed(name);
  const json_t *tool = tool_find(tools, name);
  if (!first && !tool) return false; /* any word would be a call without arguments */
  json_t *arguments = json_object();
  bool read = true;
  while (read && past(&rest, "<arg_key>"))
    read = until(&rest, "</arg_key>", &key) && past(&rest, "<arg_value>") && until(&rest, "</arg_value>", &value) &&
           untyped_add(arguments, trimmed(key), value, tool);
  return call_add(calls, name, arguments) && read && trimmed(rest).size == 0;
}

/* --- names before JSON -------------------------------------------------------------------------------------------- */

/* Mistral's; the numbers of calls are the server's own. */
static bool named_read(json_t *calls, struct slice text) {
  static const char mark[] = "[TOOL_CALLS]";
  struct slice name, id;
  do {
    if (!until(&text, "[ARGS]", &name)) return false;
    struct slice rest = name;
    if (until(&rest, "[CALL_ID]", &id)) name = id;
    bool string;
    text = trimmed(text);
    size_t size = extent(text, &string);
    if (size == 0 || !json_add(calls, name, slice_make(text.data, size))) return false;
    text = rest_from(text, size);
  } while (past(&text, mark));
  return trimmed(text).size == 0;
}

static bool deepseek_read(json_t *calls, struct slice text) {
  struct slice call, name;
  while (past(&text, "<｜tool▁call▁begin｜>")) {
    if (!until(&text, "<｜tool▁call▁end｜>", &call) || !until(&call, "<｜tool▁sep｜>", &name)) return false;
    bool string, fenced = slice_is(trimmed(name), "function") && until(&call, "```json", &name);
    call = trimmed(call);
    if (fenced) call.size = extent(call, &string); /* what fences it in may be part of an argument */
    if (!json_add(calls, name, call)) return false;
  }
  return trimmed(text).size == 0;
}

static bool text_read(json_t *calls, struct slice text, const json_t *tools) {
  if (slice_starts(text, "<function=")) return functions_read(calls, text, tools);
  if (slice_starts(text, "<｜tool▁call▁begin｜>")) return deepseek_read(calls, text);
  if (text.size > 0 && (text.data[0] == '{' || text.data[0] == '[')) return values_read(calls, text);
  return text.size > 0 && (named_read(calls, text) || keys_read(calls, text, tools));
}

json_t *tool_calls_read(struct slice text, const json_t *tools) {
  json_t *calls = json_array();
  text = trimmed(text);
  if (calls && text_read(calls, text, tools) && json_array_size(calls) > 0) return calls;
  json_decref(calls);
  return text.size > 0 && text.data[0] == '[' ? python_calls_read(text) : NULL;
}
