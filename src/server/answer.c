/* From events to responses. A stream begins with its first event, so that a request that fails before it gets the
 * status of its failure. */
#include "server/answer.h"

#include "base/limits.h"
#include "server/answer_logprobs.h"
#include "server/reply.h"

#include <stdio.h>
#include <stdlib.h>

static const char too_slow[] = "The client took its answer too slowly and the request was cancelled.";

struct answer *answer_new(enum answer_form form, uint64_t http_id) {
  struct answer *answer = calloc(1, sizeof *answer);
  if (!answer) return NULL;
  answer->form = form;
  answer->http_id = http_id;
  buffer_init(&answer->text, LIMIT_RESPONSE_BYTES);
  buffer_init(&answer->logprobs, LIMIT_RESPONSE_BYTES);
  return answer;
}

void answer_free(struct answer *answer) {
  if (!answer) return;
  buffer_release(&answer->text);
  buffer_release(&answer->logprobs);
  free(answer);
}

void answer_want_logprobs(struct answer *answer, const spate_engine *engine) { answer->engine = engine; }

/* With the text, all log-probabilities that wait. */
static struct answer_part part_make(const struct answer *answer, struct slice text) {
  return (struct answer_part){
      .text = text, .has_logprobs = answer->engine != NULL, .logprobs = buffer_slice(&answer->logprobs)};
}

/* --- streams ----------------------------------------------------------------------------------------------------- */

static void stream_begin(struct answer *answer, struct http_request *request) {
  if (!answer->begun) reply_stream(request, answer_content_type(answer->form));
  answer->begun = true;
}

/* Sends frame and notes whether the client keeps up. */
static void stream_send(struct answer *answer, struct http_request *request, struct buffer *frame) {
  stream_begin(answer, request);
  if (http_stream_write(request, buffer_slice(frame)) == HTTP_STOP) answer->stopped = true;
  buffer_release(frame);
}

static void stream_send_text(struct answer *answer, struct http_request *request, struct slice text) {
  struct buffer frame;
  buffer_init(&frame, LIMIT_RESPONSE_BYTES);
  struct answer_part part = part_make(answer, text);
  answer_write_piece(&frame, answer->form, &part, answer->end.generated_tokens);
  buffer_clear(&answer->logprobs);
  stream_send(answer, request, &frame);
}

static enum answer_progress stream_finish(struct answer *answer, struct http_request *request, struct slice text) {
  struct buffer frame;
  struct answer_part part = part_make(answer, text);
  buffer_init(&frame, LIMIT_RESPONSE_BYTES);
  if (answer->overflowed)
    answer_write_failure(&frame, answer->form, slice_text(too_slow), answer->end.generated_tokens);
  else
    answer_write_last(&frame, answer->form, &part, &answer->end);
  stream_send(answer, request, &frame);
  http_stream_end(request);
  return ANSWER_OVER;
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static enum answer_progress text_keep(struct answer *answer, struct slice text) {
  if (answer->overflowed) return ANSWER_GOES_ON;
  if (buffer_append(&answer->text, text.data, text.size) && !answer->logprobs.failed) return ANSWER_GOES_ON;
  answer->overflowed = true;
  return ANSWER_TOO_SLOW;
}

static enum answer_progress take_text(struct answer *answer, struct http_request *request, struct slice text) {
  if (answer->form == ANSWER_WHOLE || answer->stopped) return text_keep(answer, text);
  stream_send_text(answer, request, text);
  return ANSWER_GOES_ON;
}

static enum answer_progress whole_finish(struct answer *answer, struct http_request *request) {
  struct buffer body;
  buffer_init(&body, LIMIT_RESPONSE_BYTES);
  struct answer_part part = part_make(answer, buffer_slice(&answer->text));
  bool cancelled = answer->end.finish == SPATE_FINISH_CANCELLED;
  if (answer->overflowed || !answer_write_whole(&body, &part, &answer->end))
    reply_engine_error(request, SPATE_LIMIT, "The answer is larger than one response may be: stream it.");
  else if (cancelled)
    reply_engine_error(request, SPATE_CANCELLED, "The request was cancelled because the server is stopping.");
  else
    reply(request, 200, JSON_CONTENT_TYPE, NULL, buffer_slice(&body));
  buffer_release(&body);
  return ANSWER_OVER;
}

static enum answer_progress take_done(struct answer *answer, struct http_request *request, const spate_event *event) {
  struct slice text = slice_make(event->text, event->text_size);
  answer->ended = true;
  answer->end.finish = event->finish;
  answer->end.prompt_tokens = event->prompt_tokens;
  if (answer->form == ANSWER_WHOLE || answer->stopped) text_keep(answer, text);
  if (answer->form == ANSWER_WHOLE) return whole_finish(answer, request);
  return answer->stopped ? ANSWER_GOES_ON : stream_finish(answer, request, text);
}

static enum answer_progress take_failure(struct answer *answer, struct http_request *request,
                                         const spate_event *event) {
  answer->ended = true;
  if (answer->begun) {
    struct buffer frame;
    buffer_init(&frame, LIMIT_RESPONSE_BYTES);
    struct slice sentence = slice_make(event->text, event->text_size);
    answer_write_failure(&frame, answer->form, sentence, answer->end.generated_tokens);
    stream_send(answer, request, &frame);
    http_stream_end(request);
  } else {
    char sentence[512];
    snprintf(sentence, sizeof sentence, "%.*s", (int)event->text_size, event->text);
    reply_engine_error(request, event->code, sentence);
  }
  return ANSWER_OVER;
}

enum answer_progress answer_take(struct answer *answer, struct http_request *request, const spate_event *event) {
  answer->end.generated_tokens = event->generated_tokens;
  if (answer->engine) answer_logprobs_write(&answer->logprobs, answer->engine, event);
  switch (event->kind) {
  case SPATE_TEXT: return take_text(answer, request, slice_make(event->text, event->text_size));
  case SPATE_DONE: return take_done(answer, request, event);
  case SPATE_FAILED: break;
  }
  return take_failure(answer, request, event);
}

enum answer_progress answer_drain(struct answer *answer, struct http_request *request) {
  answer->stopped = false;
  struct buffer waited = answer->text;
  buffer_init(&answer->text, LIMIT_RESPONSE_BYTES);
  enum answer_progress progress = ANSWER_GOES_ON;
  if (answer->ended)
    progress = stream_finish(answer, request, buffer_slice(&waited));
  else if (waited.size || answer->logprobs.size)
    stream_send_text(answer, request, buffer_slice(&waited));
  buffer_release(&waited);
  return progress;
}
