/* The forms of /v1/completions. */
#include "base/json.h"
#include "base/limits.h"
#include "http/sse.h"
#include "server/answer_logprobs.h"
#include "server/openai_text.h"
#include "server/reply.h"

static const char object_name[] = "text_completion";

static void choice_write(struct buffer *out, const struct choice *choice) {
  buffer_print(out, "{\"index\":%d,\"text\":", choice->index);
  json_write_string(out, buffer_slice(&choice->text));
  buffer_text(out, ",\"logprobs\":");
  if (choice->answer->facts.logprobs)
    logprobs_write_completion(out, choice);
  else
    buffer_text(out, "null");
  prompt_logprobs_write(out, choice);
  buffer_text(out, ",");
  openai_write_finish(out, choice);
  buffer_text(out, "}");
}

static void whole_write(struct buffer *out, const struct answer *answer) {
  openai_write_head(out, answer, object_name);
  buffer_text(out, ",\"choices\":[");
  for (int i = 0; i < answer->n_choice; i++) {
    if (i) buffer_text(out, ",");
    choice_write(out, &answer->choice[i]);
  }
  buffer_text(out, "],");
  openai_write_usage(out, answer);
  buffer_text(out, "}");
}

static void piece_write(struct buffer *out, const struct choice *choice) {
  struct buffer object;
  buffer_init(&object, LIMIT_RESPONSE_BYTES);
  openai_write_head(&object, choice->answer, object_name);
  buffer_text(&object, ",\"choices\":[");
  choice_write(&object, choice);
  buffer_text(&object, "]");
  openai_frame(out, choice->answer, &object);
}

static void close_write(struct buffer *out, const struct answer *answer) { openai_close(out, answer, object_name); }

const struct answer_form completion_whole = {.content_type = JSON_CONTENT_TYPE, .whole = whole_write};
const struct answer_form completion_stream = {.content_type = SSE_CONTENT_TYPE,
                                              .streams = true,
                                              .piece = piece_write,
                                              .failure = openai_failure,
                                              .close = close_write};
