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

/* A string, and not a number that stands in one. */
static bool is_text(const json_t *json) {
  struct slice number;
  return json_is_string(json) && !json_is_wide(json, &number);
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
  if (is_text(choice) && slice_is(json_slice(choice), "none")) input->tools = NULL;
  input->add_generation_prompt = !prompts || json_is_true(prompts);
  return localtime_r(&now, &input->now) || error_set(error, ERROR_INTERNAL, "The system has no local time.");
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

/* Arguments that are JSON in a string, as OpenAI's clients send them, become what they are: what templates expect. */
static bool call_open(json_t *call) {
  struct error error;
  json_t *function = json_object_get(call, "function"), *arguments = json_object_get(function, "arguments");
  bool text = is_text(arguments);
  json_t *object = !text                           ? NULL
                   : json_string_length(arguments) ? json_parse_client(json_slice(arguments), true, &error)
                                                   : json_object();
  if (json_is_object(object)) return json_object_set_new(function, "arguments", object) == 0;
  json_decref(object);
  return true;
}

/* Templates do not agree on what messages with calls are: arguments are text to some (DeepSeek's), and a content of
 * null, as it was answered, is nothing that others can handle (Qwen's, Granite's, gpt-oss's). Tried in order: null
 * stays as long as it may, since a template that asks for it passes over the calls of other messages. */
static const struct call_form {
  bool text_arguments, text_content;
} call_forms[] = {{false, false}, {true, false}, {false, true}, {true, true}};

static bool message_write(json_t *message, struct call_form form) {
  json_t *calls = json_object_get(message, "tool_calls");
  bool written = true;
  for (size_t n = 0; written && !form.text_arguments && n < json_array_size(calls); n++)
    written = call_open(json_array_get(calls, n));
  if (written && form.text_content && calls && json_is_null(json_object_get(message, "content")))
    written = json_object_set_new(message, "content", json_string("")) == 0;
  return written;
}

static bool messages_write(json_t *root, struct call_form form, struct error *error) {
  json_t *messages = json_object_get(root, "messages");
  for (size_t i = 0; i < json_array_size(messages); i++)
    if (!message_write(json_array_get(messages, i), form))
      return error_set(error, ERROR_MEMORY, "Out of memory for a message.");
  return true;
}

static bool has_calls(const json_t *root) {
  const json_t *messages = json_object_get(root, "messages");
  for (size_t i = 0; i < json_array_size(messages); i++)
    if (json_array_size(json_object_get(json_array_get(messages, i), "tool_calls")) > 0) return true;
  return false;
}

/* --- contents in parts ------------------------------------------------------------------------------------------- */

/* Where a part is, for sentences. */
struct part_place {
  size_t message, part;
};

static bool part_is_image(const json_t *type) {
  return slice_is(json_slice(type), "image_url") || slice_is(json_slice(type), "input_image");
}

/* sees: the model, if not its template. */
static bool part_append(const json_t *part, struct part_place at, bool sees, struct buffer *text, struct error *error) {
  const json_t *type = json_object_get(part, "type"), *content = json_object_get(part, "text");
  if (!is_text(type))
    return error_set(error, ERROR_INVALID, "messages[%zu].content[%zu] has no type.", at.message, at.part);
  if (part_is_image(type))
    return error_set(error, ERROR_UNSUPPORTED, "messages[%zu].content[%zu] is an image, and %s.", at.message, at.part,
                     sees ? "the model's chat template has no place for one: send it as image_data to /generate"
                          : "this model sees none: send text alone");
  if (!slice_is(json_slice(type), "text"))
    return error_set(error, ERROR_UNSUPPORTED,
                     "messages[%zu].content[%zu] is of type \"%.40s\"; there are only text and image_url.", at.message,
                     at.part, json_string_value(type));
  if (!is_text(content))
    return error_set(error, ERROR_INVALID, "messages[%zu].content[%zu].text must be a string.", at.message, at.part);
  if (at.part > 0) buffer_text(text, "\n");
  struct slice bytes = json_slice(content);
  return buffer_append(text, bytes.data, bytes.size) || error_set(error, ERROR_MEMORY, "Out of memory for a message.");
}

/* Puts the text of the parts in the place of the list. */
static bool content_join(json_t *message, size_t index, bool sees, struct error *error) {
  const json_t *content = json_object_get(message, "content");
  if (!json_is_array(content)) return true;
  struct buffer text;
  buffer_init(&text, LIMIT_TEMPLATE_OUTPUT_BYTES);
  bool joined = true;
  for (size_t i = 0; joined && i < json_array_size(content); i++)
    joined = part_append(json_array_get(content, i), (struct part_place){index, i}, sees, &text, error);
  json_t *string = joined ? json_stringn(text.data ? text.data : "", text.size) : NULL;
  buffer_release(&text);
  if (!joined) return false;
  return json_object_set_new(message, "content", string) == 0 ||
         error_set(error, ERROR_MEMORY, "Out of memory for a message.");
}

/* --- contents with images ---------------------------------------------------------------------------------------- */

/* "low" and "high" are taken and change nothing: the model's own processor says how much of a picture it sees. */
static bool detail_check(const json_t *detail, struct part_place at, struct error *error) {
  if (!detail || json_is_null(detail)) return true;
  if (is_text(detail) && (slice_is(json_slice(detail), "auto") || slice_is(json_slice(detail), "low") ||
                          slice_is(json_slice(detail), "high")))
    return true;
  return error_set(error, ERROR_INVALID, "messages[%zu].content[%zu]: detail must be \"auto\", \"low\" or \"high\".",
                   at.message, at.part);
}

/* {"image_url": {"url": TEXT, "detail": …}} or {"image_url": TEXT}: its place in the list is an image's. */
static bool image_take(json_t *content, struct part_place at, const struct conversation_images *images,
                       struct error *error) {
  const json_t *part = json_array_get(content, at.part), *url = json_object_get(part, "image_url");
  const json_t *detail = json_object_get(json_is_object(url) ? url : part, "detail");
  if (json_is_object(url)) url = json_object_get(url, "url");
  if (!is_text(url))
    return error_set(error, ERROR_INVALID,
                     "messages[%zu].content[%zu].image_url.url must be a string: data:image/png;base64,...", at.message,
                     at.part);
  if (!detail_check(detail, at, error) || !images->take(images->user, json_slice(url), error)) return false;
  return json_array_set_new(content, at.part, json_pack("{s:s}", "type", "image")) == 0 ||
         error_set(error, ERROR_MEMORY, "Out of memory for a message.");
}

static bool part_keep(json_t *content, struct part_place at, const struct conversation_images *images,
                      struct error *error) {
  const json_t *part = json_array_get(content, at.part), *type = json_object_get(part, "type");
  if (!is_text(type))
    return error_set(error, ERROR_INVALID, "messages[%zu].content[%zu] has no type.", at.message, at.part);
  if (part_is_image(type)) return image_take(content, at, images, error);
  if (!slice_is(json_slice(type), "text"))
    return error_set(error, ERROR_UNSUPPORTED,
                     "messages[%zu].content[%zu] is of type \"%.40s\"; there are only text and image_url.", at.message,
                     at.part, json_string_value(type));
  return is_text(json_object_get(part, "text")) ||
         error_set(error, ERROR_INVALID, "messages[%zu].content[%zu].text must be a string.", at.message, at.part);
}

/* Lists stay lists; a string becomes one where the template knows nothing else. */
static bool content_keep(const struct chat_template *template, json_t *message, size_t index,
                         const struct conversation_images *images, struct error *error) {
  json_t *content = json_object_get(message, "content");
  if (is_text(content) && !chat_template_takes_strings(template)) {
    json_t *parts = json_pack("[{s:s,s:O}]", "type", "text", "text", content);
    return (parts && json_object_set_new(message, "content", parts) == 0) ||
           error_set(error, ERROR_MEMORY, "Out of memory for a message.");
  }
  for (size_t i = 0; i < json_array_size(content); i++)
    if (!part_keep(content, (struct part_place){index, i}, images, error)) return false;
  return true;
}

/* As the template wants them. */
static bool contents_settle(const struct chat_template *template, json_t *root,
                            const struct conversation_images *images, struct error *error) {
  json_t *messages = json_object_get(root, "messages");
  bool places = images && chat_template_places_images(template);
  if (!json_is_array(messages)) return true; /* members_read tells */
  for (size_t i = 0; i < json_array_size(messages); i++) {
    json_t *message = json_array_get(messages, i);
    if (places ? !content_keep(template, message, i, images, error) : !content_join(message, i, images, error))
      return false;
  }
  return true;
}

/* OpenAI's name for a variable of templates (gpt-oss's), which those that were asked for by name win over. */
static bool effort_settle(json_t *root, struct error *error) {
  static const char name[] = "reasoning_effort", among[] = "chat_template_kwargs";
  json_t *effort = json_object_get(root, name), *variables = json_object_get(root, among);
  bool made = json_is_object(root) && is_text(effort) && (!variables || json_is_null(variables));
  if (made && (!(variables = json_object()) || json_object_set_new(root, among, variables) != 0))
    return error_set(error, ERROR_MEMORY, "Out of memory for a conversation.");
  if (!is_text(effort) || !json_is_object(variables) || json_object_get(variables, name)) return true;
  return json_object_set(variables, name, effort) == 0 ||
         error_set(error, ERROR_MEMORY, "Out of memory for a conversation.");
}

static bool form_write(const struct chat_template *template, const json_t *root, struct call_form form,
                       const struct tokenizer *tokenizer, struct chat_text *out, struct error *error) {
  struct chat_input input = {0};
  json_t *copy = has_calls(root) ? json_deep_copy(root) : json_incref((json_t *)(uintptr_t)root);
  bool done = (copy || error_set(error, ERROR_MEMORY, "Out of memory for a conversation.")) &&
              messages_write(copy, form, error) && members_read(copy, &input, error) &&
              chat_template_write(template, &input, tokenizer, out, error);
  json_decref(copy);
  return done;
}

bool conversation_write(const struct chat_template *template, struct slice json,
                        const struct conversation_images *images, const struct tokenizer *tokenizer,
                        struct chat_text *out, struct error *error) {
  json_t *root = json_parse_client(json, true, error);
  bool settled = root && contents_settle(template, root, images, error) && effort_settle(root, error);
  struct error first = {0}, other; /* the first one is told, where no form is right */
  bool done = settled && form_write(template, root, call_forms[0], tokenizer, out, &first);
  for (size_t i = 1;
       settled && !done && first.code == ERROR_INVALID && has_calls(root) && i < sizeof call_forms / sizeof *call_forms;
       i++) {
    done = form_write(template, root, call_forms[i], tokenizer, out, &other);
    if (!done && other.code == ERROR_MEMORY) first = other; /* it may have been the right one */
  }
  if (settled && !done) error_set(error, first.code, "%s", first.text);
  json_decref(root);
  return done;
}

bool conversation_encode(const struct chat_template *template, struct slice json,
                         const struct conversation_images *images, const struct tokenizer *tokenizer,
                         struct token_list *out, struct error *error) {
  struct chat_text text;
  chat_text_init(&text);
  bool done = conversation_write(template, json, images, tokenizer, &text, error) &&
              chat_text_encode(&text, tokenizer, out, error);
  chat_text_release(&text);
  return done;
}
