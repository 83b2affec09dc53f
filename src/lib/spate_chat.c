/* spate.h: conversations to token ids. Any thread: an engine's template and tokenizer never change. */
#include "lib/spate_state.h"

#include <stdlib.h>
#include <time.h>

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

static bool conversation_read(const json_t *root, struct chat_input *input, struct error *error) {
  const json_t *prompts;
  time_t now = time(NULL);
  if (!json_is_object(root)) return error_set(error, ERROR_INVALID, "A conversation must be a JSON object.");
  if (!member_read(root, "messages", is_array, "an array", &input->messages, error) ||
      !member_read(root, "tools", is_array, "an array", &input->tools, error) ||
      !member_read(root, "chat_template_kwargs", is_object, "an object", &input->variables, error) ||
      !member_read(root, "add_generation_prompt", is_boolean, "true or false", &prompts, error))
    return false;
  input->add_generation_prompt = !prompts || json_is_true(prompts);
  return localtime_r(&now, &input->now) || error_set(error, ERROR_INTERNAL, "The system has no local time.");
}

static bool chat_encode(const spate_engine *engine, const json_t *root, struct token_list *list, struct error *error) {
  struct chat_input input = {0};
  return conversation_read(root, &input, error) &&
         chat_template_encode(engine->chat, &input, engine->tokenizer, list, error);
}

bool spate_chat_tokens(const spate_engine *engine, const char *json, size_t size, spate_tokens *tokens,
                       spate_error *error) {
  struct error detail = engine->chat_problem;
  struct token_list list;
  *tokens = (spate_tokens){0};
  if (!engine->chat) return error_export(&detail, error);
  json_t *root = json_parse(slice_make(json, size), &detail);
  token_list_init(&list, (size_t)engine->loaded->file.facts->config.max_input_len);
  bool done = root && chat_encode(engine, root, &list, &detail);
  json_decref(root);
  if (!done) {
    token_list_release(&list);
    return error_export(&detail, error);
  }
  *tokens = (spate_tokens){list.ids, list.count};
  return true;
}

void spate_tokens_free(spate_tokens *tokens) {
  free(tokens->ids);
  *tokens = (spate_tokens){0};
}
