/* Objects and frames of answers. */
#include "server/answer_text.h"

#include "base/json.h"
#include "base/limits.h"
#include "http/sse.h"

const char *answer_content_type(enum answer_form form) {
  static const char *const type[] = {
      [ANSWER_WHOLE] = "application/json", [ANSWER_SSE] = SSE_CONTENT_TYPE, [ANSWER_NDJSON] = "application/x-ndjson"};
  return type[form];
}

static void write_end(struct buffer *out, const struct answer_end *end) {
  static const char *const reason[] = {[SPATE_FINISH_NONE] = "stop",
                                       [SPATE_FINISH_STOP] = "stop",
                                       [SPATE_FINISH_LENGTH] = "length",
                                       [SPATE_FINISH_CANCELLED] = "cancelled"};
  buffer_print(out, ",\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d},\"finish_reason\":\"%s\"",
               end->prompt_tokens, end->generated_tokens, reason[end->finish]);
}

/* The start of every object. */
static void write_part(struct buffer *out, const struct answer_part *part) {
  buffer_text(out, "{\"text\":");
  json_write_string(out, part->text);
  if (!part->has_logprobs) return;
  buffer_text(out, ",\"logprobs\":[");
  buffer_append(out, part->logprobs.data, part->logprobs.size);
  buffer_text(out, "]");
}

bool answer_write_whole(struct buffer *out, const struct answer_part *part, const struct answer_end *end) {
  write_part(out, part);
  write_end(out, end);
  return buffer_text(out, "}");
}

/* The start that all objects of a stream share. */
static void write_object(struct buffer *out, const struct answer_part *part, bool finished, int generated_tokens) {
  write_part(out, part);
  buffer_print(out, ",\"finished\":%s,\"generated_tokens\":%d", finished ? "true" : "false", generated_tokens);
}

/* Our JSON has no line ends in it, so that a line or an event holds one object. */
static bool write_framed(struct buffer *out, enum answer_form form, struct buffer *object) {
  bool written = buffer_text(object, "}");
  if (written && form == ANSWER_SSE) written = sse_write_event(out, buffer_slice(object));
  if (written && form == ANSWER_NDJSON)
    written = buffer_append(out, object->data, object->size) && buffer_text(out, "\n");
  buffer_release(object);
  return written;
}

bool answer_write_piece(struct buffer *out, enum answer_form form, const struct answer_part *part,
                        int generated_tokens) {
  struct buffer object;
  buffer_init(&object, LIMIT_RESPONSE_BYTES);
  write_object(&object, part, false, generated_tokens);
  return write_framed(out, form, &object);
}

bool answer_write_last(struct buffer *out, enum answer_form form, const struct answer_part *part,
                       const struct answer_end *end) {
  struct buffer object;
  buffer_init(&object, LIMIT_RESPONSE_BYTES);
  write_object(&object, part, true, end->generated_tokens);
  write_end(&object, end);
  return write_framed(out, form, &object);
}

bool answer_write_failure(struct buffer *out, enum answer_form form, struct slice sentence, int generated_tokens) {
  struct buffer object;
  buffer_init(&object, LIMIT_RESPONSE_BYTES);
  const struct answer_part nothing = {.text = slice_text("")};
  write_object(&object, &nothing, true, generated_tokens);
  buffer_text(&object, ",\"error\":");
  json_write_string(&object, sentence);
  return write_framed(out, form, &object);
}
