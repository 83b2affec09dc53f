/* Answers. */
#include "load/load_answer.h"

#include "base/limits.h"
#include "load/load_dialect.h"

#include <stdlib.h>
#include <strings.h>

enum { EVENTS_FIRST = 32, REFUSAL_BYTES = 300 };

void load_answer_init(struct load_answer *answer, struct load_request *request) {
  *answer = (struct load_answer){.request = request};
  sse_reader_init(&answer->reader, LIMIT_LOAD_EVENT_BYTES);
  buffer_init(&answer->refusal, REFUSAL_BYTES);
}

void load_answer_release(struct load_answer *answer) {
  sse_reader_release(&answer->reader);
  buffer_release(&answer->refusal);
}

bool load_answer_head(struct load_answer *answer, int status, const char *content_type, struct error *error) {
  answer->request->status = status;
  return status != 200 || strncasecmp(content_type, "text/event-stream", 17) == 0 ||
         error_set(error, ERROR_FORMAT, "The server answered in \"%.60s\", expected text/event-stream.", content_type);
}

/* Room is made for the tokens that were asked for at once, and doubled beyond. */
static bool event_note(struct load_request *request, uint64_t now_us) {
  if (request->n_event == request->event_room) {
    int room = request->event_room ? 2 * request->event_room : EVENTS_FIRST;
    if (room < request->output && request->output <= LIMIT_LOAD_EVENTS) room = request->output;
    uint32_t *grown = room <= LIMIT_LOAD_EVENTS ? realloc(request->event_us, (size_t)room * sizeof *grown) : NULL;
    if (!grown) return false;
    request->event_us = grown;
    request->event_room = room;
  }
  request->event_us[request->n_event++] = (uint32_t)(now_us - request->sent_us);
  return true;
}

/* An event has tokens when it has text, or a count that grew. */
static bool event_take(struct load_answer *answer, const struct load_event *event, uint64_t now_us) {
  struct load_request *request = answer->request;
  bool grew = event->generated > answer->generated;
  if (grew) answer->generated = event->generated;
  if (event->prompt_tokens >= 0) request->prompt_tokens = event->prompt_tokens;
  if (event->output_tokens >= 0) request->output_tokens = event->output_tokens;
  answer->last = answer->last || event->last;
  return !(event->has_text || grew) || event_note(request, now_us);
}

static enum load_end event_read(struct load_answer *answer, struct slice data, uint64_t now_us, struct error *error) {
  struct load_event event;
  switch (load_event_read(data, &event, error)) {
  case LOAD_READ_ERROR: return LOAD_TOLD;
  case LOAD_UNREADABLE: return LOAD_GARBAGE;
  case LOAD_READ: break;
  }
  if (event_take(answer, &event, now_us)) return LOAD_OK;
  error_set(error, ERROR_LIMIT, "An answer has more than %d events.", LIMIT_LOAD_EVENTS);
  return LOAD_GARBAGE;
}

enum load_end load_answer_body(struct load_answer *answer, struct slice bytes, uint64_t now_us, struct error *error) {
  struct slice data;
  if (answer->request->status != 200) {
    size_t room = REFUSAL_BYTES - answer->refusal.size;
    buffer_append(&answer->refusal, bytes.data, bytes.size < room ? bytes.size : room);
    return LOAD_OK;
  }
  while (sse_reader_next(&answer->reader, &bytes, &data)) {
    enum load_end end = event_read(answer, data, now_us, error);
    if (end != LOAD_OK) return end;
  }
  if (!answer->reader.data.failed) return LOAD_OK;
  error_set(error, ERROR_LIMIT, "An event of the stream is longer than the %d MiB that are read.",
            LIMIT_LOAD_EVENT_BYTES >> 20);
  return LOAD_GARBAGE;
}

/* A server that counts nothing has sent a token with each event. */
enum load_end load_answer_finish(struct load_answer *answer, struct error *error) {
  struct load_request *request = answer->request;
  struct slice told = buffer_slice(&answer->refusal);
  if (request->status != 200) {
    error_set(error, ERROR_IO, "The server answered %d: %.*s", request->status, SLICE_ARGS(told));
    return request->status == 429 || request->status == 503 ? LOAD_BUSY : LOAD_STATUS;
  }
  if (request->output_tokens < 0) request->output_tokens = answer->generated ? answer->generated : request->n_event;
  if (answer->last) return LOAD_OK;
  error_set(error, ERROR_FORMAT, "The stream ended before the answer did: no event said that it was the last.");
  return LOAD_CUT;
}
