/* Requests and events. One reader for all servers: what an event's fields mean does not depend on who sent it. */
#include "load/load_dialect.h"

#include "base/json.h"
#include "base/limits.h"

static const struct {
  const char *name, *path;
} apis[] = {[LOAD_GENERATE] = {"generate", "/generate"},
            [LOAD_COMPLETIONS] = {"completions", "/v1/completions"},
            [LOAD_CHAT] = {"chat", "/v1/chat/completions"}};
enum { APIS = sizeof apis / sizeof *apis };

bool load_api_parse(const char *name, enum load_api *api) {
  for (int i = 0; i < APIS; i++) {
    if (strcmp(name, apis[i].name) != 0) continue;
    *api = (enum load_api)i;
    return true;
  }
  return false;
}

const char *load_api_path(enum load_api api) { return apis[api].path; }

bool load_question_write(const struct load_question *question, struct buffer *out) {
  bool chat = question->api == LOAD_CHAT;
  buffer_text(out, chat ? "{\"messages\":[{\"role\":\"user\",\"content\":" : "{\"prompt\":");
  json_write_string(out, question->prompt);
  buffer_print(out, "%s,\"max_tokens\":%d,\"temperature\":0", chat ? "}]" : "", question->max_tokens);
  if (!question->allow_eos) buffer_text(out, ",\"ignore_eos\":true");
  if (question->model) {
    buffer_text(out, ",\"model\":");
    json_write_string(out, slice_text(question->model));
  }
  return buffer_text(out, question->api == LOAD_GENERATE
                              ? ",\"streaming\":true}"
                              : ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
}

/* --- events ------------------------------------------------------------------------------------------------------- */

static bool text_there(const json_t *object, const char *name) {
  return json_string_length(json_object_get(object, name)) > 0;
}

/* Null and absent are not told. */
static bool count_take(const json_t *object, const char *name, int *count) {
  const json_t *given = json_object_get(object, name);
  if (!given || json_is_null(given)) return true;
  json_int_t number = json_integer_value(given);
  if (!json_is_integer(given) || number < 0 || number > INT32_MAX) return false;
  *count = (int)number;
  return true;
}

/* Of several choices the first counts: one is asked for. */
static void choice_take(const json_t *choice, struct load_event *event) {
  const json_t *delta = json_object_get(choice, "delta"), *why = json_object_get(choice, "finish_reason");
  event->has_text = text_there(choice, "text") || text_there(delta, "content") ||
                    text_there(delta, "reasoning_content") || text_there(delta, "reasoning");
  event->last = why && !json_is_null(why);
}

static enum load_reading reported(const json_t *told, struct error *error) {
  const json_t *message = json_object_get(told, "message");
  const char *text = json_string_value(message ? message : told);
  error_set(error, ERROR_IO, "The server broke an answer off: %.300s", text ? text : "it does not say why.");
  return LOAD_READ_ERROR;
}

static enum load_reading object_take(const json_t *root, struct load_event *event, struct error *error) {
  const json_t *choices = json_object_get(root, "choices"), *usage = json_object_get(root, "usage");
  const json_t *told = json_object_get(root, "error"), *finished = json_object_get(root, "finished");
  if (told && !json_is_null(told)) return reported(told, error);
  if (choices) {
    choice_take(json_array_get(choices, 0), event);
  } else {
    event->has_text = text_there(root, "text");
    event->last = json_is_true(finished);
  }
  if (!(choices || finished || usage) || !count_take(root, "generated_tokens", &event->generated) ||
      !count_take(usage, "prompt_tokens", &event->prompt_tokens) ||
      !count_take(usage, "completion_tokens", &event->output_tokens)) {
    error_set(error, ERROR_FORMAT, "An event of the stream is neither /generate's nor OpenAI's.");
    return LOAD_UNREADABLE;
  }
  return LOAD_READ;
}

enum load_reading load_event_read(struct slice data, struct load_event *event, struct error *error) {
  *event = (struct load_event){.generated = -1, .prompt_tokens = -1, .output_tokens = -1};
  if (slice_is(data, "[DONE]")) {
    event->last = true;
    return LOAD_READ;
  }
  json_t *root = json_parse(data, error);
  if (!root) {
    error_prefix(error, "An event of the stream cannot be read: ");
    return LOAD_UNREADABLE;
  }
  enum load_reading reading = object_take(root, event, error);
  json_decref(root);
  return reading;
}
