/* The forms of /v1/chat/completions. */
#include "base/json.h"
#include "base/limits.h"
#include "http/sse.h"
#include "server/answer_logprobs.h"
#include "server/openai_text.h"
#include "server/reply.h"

static const char chunk_name[] = "chat.completion.chunk";

static void logprobs_write(struct buffer *out, const struct choice *choice) {
  buffer_text(out, ",\"logprobs\":");
  if (choice->answer->facts.logprobs)
    logprobs_write_chat(out, choice);
  else
    buffer_text(out, "null");
  buffer_text(out, ",");
}

static void message_write(struct buffer *out, const struct choice *choice) {
  buffer_print(out, "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":", choice->index);
  json_write_string(out, buffer_slice(&choice->text));
  buffer_text(out, ",\"refusal\":null}");
  logprobs_write(out, choice);
  openai_write_finish(out, choice);
  buffer_text(out, "}");
}

static void whole_write(struct buffer *out, const struct answer *answer) {
  openai_write_head(out, answer, "chat.completion");
  buffer_text(out, ",\"choices\":[");
  for (int i = 0; i < answer->n_choice; i++) {
    if (i) buffer_text(out, ",");
    message_write(out, &answer->choice[i]);
  }
  buffer_text(out, "]");
  prompt_logprobs_write(out, &answer->choice[0]);
  buffer_text(out, ",");
  openai_write_usage(out, answer);
  buffer_text(out, "}");
}

/* The first piece of a choice says who speaks. */
static void piece_write(struct buffer *out, const struct choice *choice) {
  struct buffer object;
  buffer_init(&object, LIMIT_RESPONSE_BYTES);
  openai_write_head(&object, choice->answer, chunk_name);
  buffer_print(&object, ",\"choices\":[{\"index\":%d,\"delta\":{%s\"content\":", choice->index,
               choice->begun ? "" : "\"role\":\"assistant\",");
  json_write_string(&object, buffer_slice(&choice->text));
  buffer_text(&object, "}");
  logprobs_write(&object, choice);
  openai_write_finish(&object, choice);
  buffer_text(&object, "}]");
  prompt_logprobs_write(&object, choice);
  openai_frame(out, choice->answer, &object);
}

static void close_write(struct buffer *out, const struct answer *answer) { openai_close(out, answer, chunk_name); }

const struct answer_form chat_whole = {.content_type = JSON_CONTENT_TYPE, .whole = whole_write};
const struct answer_form chat_stream = {.content_type = SSE_CONTENT_TYPE,
                                        .streams = true,
                                        .piece = piece_write,
                                        .failure = openai_failure,
                                        .close = close_write};
