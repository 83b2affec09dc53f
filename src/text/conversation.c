/* Members of the object, and contents in parts. */
#include "text/conversation.h"

#include "base/limits.h"

/* --- members ----------------------------------------------------------------------------------------------------- */

/* An optional member of the kind that `is` says; null is as good as absent. */
static bool member_read(const json_t *root, const char *name, bool (*is)(const json_t *), const char *kind,
                        const json_t **member, struct error *error) {
  *member = json_object_get(root, name);
  if (json_is_null(*member)) *member = NULL;
  return !*member || is(*member) || error_set(error, ERROR_INVALID, "%s must be %s.", name, kind);
}

static bool is_array(const json_t *json) { return json_is_array(json); }
static bool is_object(const json_t *json) { return json_is_object(json); }
static bool is_boolean(const json_t *json) { return json_is_boolean(json); }

static bool members_read(const json_t *root, struct chat_input *input, struct error *error) {
  const json_t *prompts;
  time_t now = time(NULL);
  if (!json_is_object(root)) return error_set(error, ERROR_INVALID, "A conversation must be a JSON object.");
  if (!member_read(root, "messages", is_array, "an array", &input->messages, error) ||
      !member_read(root, "tools", is_array, "an array", &input->tools, error) ||
      !member_read(root, "chat_template_kwargs", is_object, "an object", &input->variables, error) ||
      !member_read(root, "add_generation_prompt", is_boolean, "true or false", &prompts, error))
    return false;
  const json_t *choice = json_object_get(root, "tool_choice");
  if (json_is_string(choice) && slice_is(json_slice(choice), "none")) input->tools = NULL;
  input->add_generation_prompt = !prompts || json_is_true(prompts);
  return localtime_r(&now, &input->now) || error_set(error, ERROR_INTERNAL, "The system has no local time.");
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

/* Arguments that are JSON in a string, as OpenAI's clients send them, become what they are: what templates expect. */
static bool call_open(json_t *call) {
  struct error error;
  json_t *function = json_object_get(call, "function"), *arguments = json_object_get(function, "arguments");
  json_t *object = json_is_string(arguments) ? json_parse(json_slice(arguments), &error) : NULL;
  if (json_is_object(object)) return json_object_set_new(function, "arguments", object) == 0;
  json_decref(object);
  return true;
}

static bool calls_open(json_t *root, struct error *error) {
  json_t *messages = json_object_get(root, "messages");
  for (size_t i = 0; i < json_array_size(messages); i++) {
    json_t *calls = json_object_get(json_array_get(messages, i), "tool_calls");
    for (size_t n = 0; n < json_array_size(calls); n++)
      if (!call_open(json_array_get(calls, n))) return error_set(error, ERROR_MEMORY, "Out of memory for a message.");
  }
  return true;
}

/* --- contents in parts ------------------------------------------------------------------------------------------- */

/* Where a part is, for sentences. */
struct part_place {
  size_t message, part;
};

static bool part_append(const json_t *part, struct part_place at, struct buffer *text, struct error *error) {
  const json_t *type = json_object_get(part, "type"), *content = json_object_get(part, "text");
  if (!json_is_string(type))
    return error_set(error, ERROR_INVALID, "messages[%zu].content[%zu] has no type.", at.message, at.part);
  if (!slice_is(json_slice(type), "text"))
    return error_set(error, ERROR_UNSUPPORTED, "messages[%zu].content[%zu] is of type \"%.40s\"; only text exists yet.",
                     at.message, at.part, json_string_value(type));
  if (!json_is_string(content))
    return error_set(error, ERROR_INVALID, "messages[%zu].content[%zu].text must be a string.", at.message, at.part);
  if (at.part > 0) buffer_text(text, "\n");
  struct slice bytes = json_slice(content);
  return buffer_append(text, bytes.data, bytes.size) || error_set(error, ERROR_MEMORY, "Out of memory for a message.");
}

/* Puts the text of the parts in the place of the list. */
static bool content_join(json_t *message, size_t index, struct error *error) {
  const json_t *content = json_object_get(message, "content");
  if (!json_is_array(content)) return true;
  struct buffer text;
  buffer_init(&text, LIMIT_TEMPLATE_OUTPUT_BYTES);
  bool joined = true;
  for (size_t i = 0; joined && i < json_array_size(content); i++)
    joined = part_append(json_array_get(content, i), (struct part_place){index, i}, &text, error);
  json_t *string = joined ? json_stringn(text.data ? text.data : "", text.size) : NULL;
  buffer_release(&text);
  if (!joined) return false;
  return json_object_set_new(message, "content", string) == 0 ||
         error_set(error, ERROR_MEMORY, "Out of memory for a message.");
}

static bool contents_join(json_t *root, struct error *error) {
  json_t *messages = json_object_get(root, "messages");
  if (!json_is_array(messages)) return true; /* members_read tells */
  for (size_t i = 0; i < json_array_size(messages); i++)
    if (!content_join(json_array_get(messages, i), i, error)) return false;
  return true;
}

bool conversation_encode(const struct chat_template *template, struct slice json, const struct tokenizer *tokenizer,
                         struct token_list *out, struct error *error) {
  struct chat_input input = {0};
  json_t *root = json_parse(json, error);
  bool done = root && contents_join(root, error) && calls_open(root, error) && members_read(root, &input, error) &&
              chat_template_encode(template, &input, tokenizer, out, error);
  json_decref(root);
  return done;
}
