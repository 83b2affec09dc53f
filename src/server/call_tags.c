/* One reader for each kind of tags. */
#include "server/call_tags.h"

#include "base/limits.h"
#include "server/call_text.h"
#include "server/tool_calls.h"

/* --- JSON between tags -------------------------------------------------------------------------------------------- */

/* "functions.N:0" is N. */
static struct slice kimi_name(struct slice text) {
  text = call_trimmed(text);
  if (slice_starts(text, "functions.")) text = call_rest(text, sizeof "functions." - 1);
  size_t digits = 0;
  while (digits < text.size && text.data[text.size - 1 - digits] >= '0' && text.data[text.size - 1 - digits] <= '9')
    digits++;
  bool numbered = digits > 0 && digits < text.size && text.data[text.size - 1 - digits] == ':';
  return slice_make(text.data, numbered ? text.size - digits - 1 : text.size);
}

static bool kimi_read(json_t *calls, struct slice text) {
  struct slice name, arguments;
  while (call_past(&text, "<|tool_call_begin|>"))
    if (!call_until(&text, "<|tool_call_argument_begin|>", &name) ||
        !call_until(&text, "<|tool_call_end|>", &arguments) || !call_add_json(calls, kimi_name(name), arguments))
      return false;
  return call_trimmed(text).size == 0;
}

/* --- tags with names in quotes ------------------------------------------------------------------------------------ */

struct tags {
  const char *call, *call_end, *value, *value_end;
};

static const struct tags invokes[] = {
    {"<invoke name=\"", "</invoke>", "<parameter name=\"", "</parameter>"},
    {"<｜DSML｜invoke name=\"", "</｜DSML｜invoke>", "<｜DSML｜parameter name=\"", "</｜DSML｜parameter>"},
    {"<function name=\"", "</function>", "<param name=\"", "</param>"},
};

static bool value_read(const struct tags *tags, struct slice *body, const json_t *tool, json_t *arguments) {
  static const char quote[] = "<![CDATA[";
  struct slice name, facts, value;
  if (!call_until(body, "\"", &name) || !call_until(body, ">", &facts)) return false;
  bool quoted = slice_starts(*body, quote);
  if (quoted) *body = call_rest(*body, sizeof quote - 1);
  if (!call_until(body, quoted ? "]]>" : tags->value_end, &value) || (quoted && !call_past(body, tags->value_end)))
    return false;
  bool text = quoted || memmem(facts.data, facts.size, "string=\"true\"", 13) != NULL;
  if (!text) return call_add_value(arguments, name, value, tool);
  return name.size > 0 && json_object_setn_new(arguments, (const char *)name.data, name.size,
                                               json_stringn((const char *)value.data, value.size)) == 0;
}

static bool invokes_read(const struct tags *tags, json_t *calls, struct slice text, const json_t *tools) {
  struct slice name, rest;
  while (call_past(&text, tags->call)) {
    if (!call_until(&text, "\"", &name) || !call_until(&text, ">", &rest)) return false;
    json_t *arguments = json_object();
    bool read = true;
    while (read && call_past(&text, tags->value)) read = value_read(tags, &text, tool_find(tools, name), arguments);
    if (!call_add(calls, name, arguments) || !read || !call_past(&text, tags->call_end)) return false;
  }
  return call_trimmed(text).size == 0;
}

/* --- Gemma -------------------------------------------------------------------------------------------------------- */

static const char *const quotes[] = {"<|\"|>", "<escape>"};

static json_t *gemma_value(struct slice *text, int depth);

static bool gemma_string(struct slice *text, struct slice *inner) {
  for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++)
    if (call_past(text, quotes[i])) return call_until(text, quotes[i], inner);
  return false;
}

/* Names and numbers end at one of these. */
static struct slice gemma_word(struct slice *text) {
  *text = call_trimmed(*text);
  size_t size = 0;
  while (size < text->size && text->data[size] && !strchr(":,{}[]", text->data[size])) size++;
  struct slice word = slice_make(text->data, size);
  *text = call_rest(*text, size);
  return call_trimmed(word);
}

static bool gemma_member(struct slice *text, json_t *object, int depth) {
  struct slice key;
  if (!gemma_string(text, &key)) key = gemma_word(text);
  if (key.size == 0 || !call_past(text, ":")) return false;
  json_t *value = gemma_value(text, depth);
  return value && json_object_setn_new(object, (const char *)key.data, key.size, value) == 0;
}

/* What stands between brackets, of which the first is behind. */
static json_t *gemma_many(struct slice *text, bool list, int depth) {
  json_t *many = list ? json_array() : json_object();
  const char *end = list ? "]" : "}";
  bool fine = depth < LIMIT_JSON_DEPTH;
  for (bool first = true; fine && !call_past(text, end); first = false) {
    fine = first || call_past(text, ",");
    if (fine && list) {
      json_t *value = gemma_value(text, depth);
      fine = value && json_array_append_new(many, value) == 0;
    } else if (fine) {
      fine = gemma_member(text, many, depth);
    }
  }
  if (fine) return many;
  json_decref(many);
  return NULL;
}

static json_t *gemma_value(struct slice *text, int depth) {
  struct slice inner;
  if (gemma_string(text, &inner)) return json_stringn((const char *)inner.data, inner.size);
  if (call_past(text, "{")) return gemma_many(text, false, depth + 1);
  if (call_past(text, "[")) return gemma_many(text, true, depth + 1);
  struct slice word = gemma_word(text);
  return word.size ? call_any_value(word) : NULL;
}

static bool gemma_read(json_t *calls, struct slice text) {
  struct slice name;
  while (call_past(&text, "call:")) {
    if (!call_until(&text, "{", &name)) return false;
    json_t *arguments = gemma_many(&text, false, 1);
    if (!arguments || !call_add(calls, call_trimmed(name), arguments)) return false;
  }
  return call_trimmed(text).size == 0;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

bool call_tags_begin(struct slice text) {
  bool begins = slice_starts(text, "<|tool_call_begin|>") || slice_starts(text, "call:");
  for (size_t i = 0; i < sizeof invokes / sizeof *invokes; i++) begins = begins || slice_starts(text, invokes[i].call);
  return begins;
}

bool call_tags_read(json_t *calls, struct slice text, const json_t *tools) {
  for (size_t i = 0; i < sizeof invokes / sizeof *invokes; i++)
    if (slice_starts(text, invokes[i].call)) return invokes_read(&invokes[i], calls, text, tools);
  return slice_starts(text, "call:") ? gemma_read(calls, text) : kimi_read(calls, text);
}

bool call_lines_read(json_t *calls, struct slice text, const json_t *tools) {
  struct slice name;
  bool string;
  do {
    if (!call_until(&text, "\n", &name) || !tool_find(tools, call_trimmed(name))) return false;
    text = call_trimmed(text);
    size_t size = call_extent(text, &string);
    if (size == 0 || !call_add_json(calls, name, slice_make(text.data, size))) return false;
    text = call_trimmed(call_rest(text, size));
    call_past(&text, "<|assistant|>");
    text = call_trimmed(text);
  } while (text.size > 0);
  return true;
}
