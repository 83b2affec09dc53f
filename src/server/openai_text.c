/* Heads, ends, usage and errors of OpenAI's objects. */
#include "server/openai_text.h"

#include "base/json.h"
#include "base/limits.h"
#include "http/sse.h"
#include "server/reply.h"

void openai_write_head(struct buffer *out, const struct answer *answer, const char *object) {
  const struct answer_facts *facts = &answer->facts;
  buffer_print(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", facts->id, object,
               (long long)facts->created);
  json_write_string(out, slice_text(facts->model));
  buffer_print(out, ",\"system_fingerprint\":\"spate-%s\"", spate_version());
}

void openai_write_finish(struct buffer *out, const struct choice *choice) {
  static const char *const reason[] = {[SPATE_FINISH_NONE] = "stop",
                                       [SPATE_FINISH_STOP] = "stop",
                                       [SPATE_FINISH_LENGTH] = "length",
                                       [SPATE_FINISH_CANCELLED] = "abort"};
  if (!choice->ended) {
    buffer_text(out, "\"finish_reason\":null");
    return;
  }
  bool calls = choice->n_call > 0 && choice->finish == SPATE_FINISH_STOP;
  buffer_print(out, "\"finish_reason\":\"%s\"", calls ? "tool_calls" : reason[choice->finish]);
  answer_write_stop_reason(out, choice);
}

void openai_write_usage(struct buffer *out, const struct answer *answer) {
  struct answer_usage usage = answer_usage_of(answer);
  buffer_print(out,
               "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%d}}",
               usage.prompt_tokens, usage.generated_tokens, usage.prompt_tokens + usage.generated_tokens,
               usage.cached_tokens);
}

static void event_write(struct buffer *out, struct buffer *object) {
  sse_write_event(out, buffer_slice(object));
  if (object->failed) out->failed = true;
  buffer_release(object);
}

void openai_frame(struct buffer *out, const struct answer *answer, struct buffer *object) {
  buffer_text(object, answer->facts.include_usage ? ",\"usage\":null}" : "}");
  event_write(out, object);
}

void openai_close(struct buffer *out, const struct answer *answer, const char *object) {
  if (answer->facts.include_usage) {
    struct buffer last;
    buffer_init(&last, LIMIT_RESPONSE_BYTES);
    openai_write_head(&last, answer, object);
    buffer_text(&last, ",\"choices\":[],");
    openai_write_usage(&last, answer);
    buffer_text(&last, "}");
    event_write(out, &last);
  }
  buffer_text(out, "data: [DONE]\n\n");
}

void openai_failure(struct buffer *out, const struct answer *answer, spate_code code, struct slice sentence) {
  struct buffer object;
  (void)answer;
  buffer_init(&object, LIMIT_RESPONSE_BYTES);
  openai_write_error(&object, reply_status(code), NULL, sentence);
  event_write(out, &object);
  buffer_text(out, "data: [DONE]\n\n");
}

static const char *error_type(int status) {
  static const struct {
    int status;
    const char *type;
  } types[] = {{401, "AuthenticationError"}, {404, "NotFoundError"},           {429, "RateLimitError"},
               {501, "NotImplementedError"}, {503, "ServiceUnavailableError"}, {504, "TimeoutError"}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].status == status) return types[i].type;
  return status < 500 ? "BadRequestError" : "InternalServerError";
}

void openai_write_error(struct buffer *out, int status, const char *param, struct slice sentence) {
  buffer_text(out, "{\"error\":{\"message\":");
  json_write_string(out, sentence);
  buffer_print(out, ",\"type\":\"%s\",\"param\":", error_type(status));
  if (param)
    json_write_string(out, slice_text(param));
  else
    buffer_text(out, "null");
  buffer_print(out, ",\"code\":%d}}", status);
}
