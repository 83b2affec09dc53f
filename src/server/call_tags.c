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

static bool kimi_read(json_t *calls, struct slice *text) {
  struct slice name;
  return call_past(text, "<|tool_call_begin|>") && call_until(text, "<|tool_call_argument_begin|>", &name) &&
         call_add_next(calls, kimi_name(name), text) &&
         (call_past(text, "<|tool_call_end|>") || call_trimmed(*text).size == 0);
}

/* --- tags with names in quotes ------------------------------------------------------------------------------------ */

struct tags {
  const char *call, *call_end, *value, *value_end;
  const char *all, *all_end; /* around the arguments as JSON, in place of values; NULL: they are not so written */
};

static const struct tags invokes[] = {
    {"<invoke name=\"", "</invoke>", "<parameter name=\"", "</parameter>", NULL, NULL},
    {"<｜DSML｜invoke name=\"", "</｜DSML｜invoke>", "<｜DSML｜parameter name=\"", "</｜DSML｜parameter>", NULL, NULL},
    {"<function name=\"", "</function>", "<param name=\"", "</param>", NULL, NULL},
    {"<|open|>call tool=\"", "<|close|>call<|sep|>", "<|open|>argument key=\"", "<|close|>argument<|sep|>",
     "<|open|>json", "<|close|>json<|sep|>"},
};

static bool value_read(const struct tags *tags, struct slice *body, const json_t *tool, struct buffer *arguments) {
  static const char quote[] = "<![CDATA[";
  struct slice name, facts, value;
  if (!call_until(body, "\"", &name) || !call_until(body, ">", &facts)) return false;
  bool quoted = slice_starts(*body, quote);
  if (quoted) *body = call_rest(*body, sizeof quote - 1);
  if (quoted ? !call_until(body, "]]>", &value) || !call_past(body, tags->value_end)
             : !call_value(body, tags->value, tags->value_end, &value))
    return false;
  bool text = quoted || memmem(facts.data, facts.size, "string=\"true\"", 13) ||
              memmem(facts.data, facts.size, "type=\"string\"", 13);
  if (!text) return call_add_value(arguments, name, value, tool);
  return call_arguments_name(arguments, name) && json_write_string(arguments, value);
}

static bool invoke_read(const struct tags *tags, json_t *calls, struct slice *text, const json_t *tools) {
  struct slice name, facts;
  struct buffer arguments;
  if (!call_past(text, tags->call) || !call_until(text, "\"", &name) || !call_until(text, ">", &facts)) return false;
  if (tags->all && call_past(text, tags->all))
    return call_until(text, ">", &facts) && call_add_next(calls, name, text) && call_past(text, tags->all_end) &&
           call_past(text, tags->call_end);
  const json_t *tool = tool_find(tools, name);
  bool read = true;
  call_arguments_begin(&arguments);
  while (read && call_past(text, tags->value)) read = value_read(tags, text, tool, &arguments);
  return call_arguments_end(calls, name, &arguments, read && call_past(text, tags->call_end));
}

/* --- Gemma -------------------------------------------------------------------------------------------------------- */

static const char *const quotes[] = {"<|\"|>", "<escape>"};

static bool gemma_value(struct buffer *out, struct slice *text, int depth);

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

static bool gemma_member(struct buffer *out, struct slice *text, int depth) {
  struct slice key;
  if (!gemma_string(text, &key)) key = gemma_word(text);
  return call_arguments_name(out, key) && call_past(text, ":") && gemma_value(out, text, depth);
}

/* What stands between brackets, of which the first is behind and the last is none of what is appended. */
static bool gemma_many(struct buffer *out, struct slice *text, bool list, int depth) {
  const char *end = list ? "]" : "}";
  if (depth >= LIMIT_JSON_DEPTH) return false;
  for (bool first = true; !call_past(text, end); first = false) {
    if (!first && !call_past(text, ",")) return false;
    if (list && !first) buffer_text(out, ", ");
    if (list ? !gemma_value(out, text, depth) : !gemma_member(out, text, depth)) return false;
  }
  return true;
}

static bool gemma_value(struct buffer *out, struct slice *text, int depth) {
  struct slice inner;
  if (gemma_string(text, &inner)) return json_write_string(out, inner);
  if (call_past(text, "{"))
    return buffer_text(out, "{") && gemma_many(out, text, false, depth + 1) && buffer_text(out, "}");
  if (call_past(text, "["))
    return buffer_text(out, "[") && gemma_many(out, text, true, depth + 1) && buffer_text(out, "]");
  return call_any_value(out, gemma_word(text));
}

static bool gemma_read(json_t *calls, struct slice *text) {
  struct slice name;
  struct buffer arguments;
  if (!call_past(text, "call:") || !call_until(text, "{", &name)) return false;
  call_arguments_begin(&arguments);
  bool read = gemma_many(&arguments, text, false, 1);
  return call_arguments_end(calls, name, &arguments, read);
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

bool call_tags_begin(struct slice text) {
  bool begins = slice_starts(text, "<|tool_call_begin|>") || slice_starts(text, "call:");
  for (size_t i = 0; i < sizeof invokes / sizeof *invokes; i++) begins = begins || slice_starts(text, invokes[i].call);
  return begins;
}

bool call_tags_read(json_t *calls, struct slice *text, const json_t *tools) {
  for (size_t i = 0; i < sizeof invokes / sizeof *invokes; i++)
    if (slice_starts(*text, invokes[i].call)) return invoke_read(&invokes[i], calls, text, tools);
  return slice_starts(*text, "call:") ? gemma_read(calls, text) : kimi_read(calls, text);
}

bool call_line_read(json_t *calls, struct slice *text, const json_t *tools) {
  call_past(text, "<|assistant|>");
  struct slice line = *text;
  if (line.size > LIMIT_TOOL_NAME_BYTES + 1) line.size = LIMIT_TOOL_NAME_BYTES + 1;
  const uint8_t *end = line.size ? memchr(line.data, '\n', line.size) : NULL;
  if (!end) return false;
  line.size = (size_t)(end - line.data);
  *text = call_rest(*text, line.size + 1);
  return tool_find(tools, call_trimmed(line)) && call_add_next(calls, line, text);
}
