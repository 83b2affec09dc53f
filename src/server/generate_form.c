/* The forms of /generate: {"text":…,"usage":{…},"finish_reason":…}, and in streams {"text":…,"finished":…,
 * "generated_tokens":…} for each piece, as server-sent events or lines. One choice. */
#include "server/answer_form.h"

#include "base/json.h"
#include "base/limits.h"
#include "http/sse.h"
#include "server/answer_logprobs.h"
#include "server/reply.h"

static void write_end(struct buffer *out, const struct choice *choice) {
  static const char *const reason[] = {[SPATE_FINISH_NONE] = "stop",
                                       [SPATE_FINISH_STOP] = "stop",
                                       [SPATE_FINISH_LENGTH] = "length",
                                       [SPATE_FINISH_CANCELLED] = "cancelled"};
  buffer_print(out,
               ",\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"prompt_tokens_details\":{\"cached_tokens\":"
               "%d}},\"finish_reason\":\"%s\"",
               choice->prompt_tokens, choice->generated_tokens, choice->cached_tokens, reason[choice->finish]);
  answer_write_stop_reason(out, choice);
}

/* The start of every object. */
static void write_text(struct buffer *out, const struct choice *choice) {
  buffer_text(out, "{\"text\":");
  json_write_string(out, buffer_slice(&choice->text));
  prompt_logprobs_write_native(out, choice);
  if (!choice->answer->facts.logprobs) return;
  buffer_text(out, ",\"logprobs\":");
  logprobs_write_native(out, choice);
}

static void whole_write(struct buffer *out, const struct answer *answer) {
  write_text(out, &answer->choice[0]);
  write_end(out, &answer->choice[0]);
  buffer_text(out, "}");
}

static void piece_object(struct buffer *out, const struct choice *choice) {
  write_text(out, choice);
  buffer_print(out, ",\"finished\":%s,\"generated_tokens\":%d", choice->ended ? "true" : "false",
               choice->generated_tokens);
  if (choice->ended) write_end(out, choice);
  buffer_text(out, "}");
}

static void failure_object(struct buffer *out, const struct answer *answer, struct slice sentence) {
  buffer_print(
      out, "{\"text\":\"\",\"finished\":true,\"generated_tokens\":%d,\"error\":", answer->choice[0].generated_tokens);
  json_write_string(out, sentence);
  buffer_text(out, "}");
}

/* Our JSON has no line ends in it, so that a line or an event holds one object. */
static void event_write(struct buffer *out, struct buffer *object) {
  sse_write_event(out, buffer_slice(object));
  if (object->failed) out->failed = true;
  buffer_release(object);
}

static void sse_piece(struct buffer *out, const struct choice *choice) {
  struct buffer object;
  buffer_init(&object, LIMIT_RESPONSE_BYTES);
  piece_object(&object, choice);
  event_write(out, &object);
}

static void sse_failure(struct buffer *out, const struct answer *answer, spate_code code, struct slice sentence) {
  struct buffer object;
  (void)code;
  buffer_init(&object, LIMIT_RESPONSE_BYTES);
  failure_object(&object, answer, sentence);
  event_write(out, &object);
}

static void line_piece(struct buffer *out, const struct choice *choice) {
  piece_object(out, choice);
  buffer_text(out, "\n");
}

static void line_failure(struct buffer *out, const struct answer *answer, spate_code code, struct slice sentence) {
  (void)code;
  failure_object(out, answer, sentence);
  buffer_text(out, "\n");
}

const struct answer_form generate_whole = {.content_type = JSON_CONTENT_TYPE, .whole = whole_write};
const struct answer_form generate_sse = {
    .content_type = SSE_CONTENT_TYPE, .streams = true, .piece = sse_piece, .failure = sse_failure};
const struct answer_form generate_ndjson = {
    .content_type = "application/x-ndjson", .streams = true, .piece = line_piece, .failure = line_failure};
