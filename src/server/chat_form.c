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

/* The next member of an object. */
static void member_begin(struct buffer *out, const char *name) {
  bool first = out->size > 0 && out->data[out->size - 1] == '{';
  buffer_print(out, "%s\"%s\":", first ? "" : ",", name);
}

/* Under both names that clients know. */
static void thought_write(struct buffer *out, const struct choice *choice) {
  if (choice->thought.size == 0) return;
  member_begin(out, "reasoning");
  json_write_string(out, buffer_slice(&choice->thought));
  member_begin(out, "reasoning_content");
  json_write_string(out, buffer_slice(&choice->thought));
}

static void calls_write(struct buffer *out, const struct choice *choice) {
  if (choice->calls.size == 0) return;
  member_begin(out, "tool_calls");
  buffer_text(out, "[");
  buffer_append(out, choice->calls.data, choice->calls.size);
  buffer_text(out, "]");
}

static void message_write(struct buffer *out, const struct choice *choice) {
  buffer_print(out, "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":", choice->index);
  if (choice->text.size == 0 && choice->n_call > 0)
    buffer_text(out, "null");
  else
    json_write_string(out, buffer_slice(&choice->text));
  thought_write(out, choice);
  calls_write(out, choice);
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

/* What is new; the first piece of a choice says who speaks. */
static void delta_write(struct buffer *out, const struct choice *choice) {
  buffer_text(out, "{");
  if (!choice->begun) buffer_text(out, "\"role\":\"assistant\"");
  if (choice->text.size > 0 || choice->thought.size + choice->calls.size == 0) {
    member_begin(out, "content");
    json_write_string(out, buffer_slice(&choice->text));
  }
  thought_write(out, choice);
  calls_write(out, choice);
  buffer_text(out, "}");
}

static void piece_write(struct buffer *out, const struct choice *choice) {
  struct buffer object;
  buffer_init(&object, LIMIT_RESPONSE_BYTES);
  openai_write_head(&object, choice->answer, chunk_name);
  buffer_print(&object, ",\"choices\":[{\"index\":%d,\"delta\":", choice->index);
  delta_write(&object, choice);
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
