/* Request ids, and the log of requests. */
#include "server/request_log.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/head_gate.h"
#include "server/routes.h"

#include <stdio.h>
#include <stdlib.h>

enum { REQUEST_ID_MAX = 128, CLIENT_LEFT = 499 };

struct note {
  uint64_t begun_us, first_us; /* of the submission and the first token; 0: none came */
  const char *finish;          /* NULL: not over */
  struct answer_usage usage;
};

/* --- ids ---------------------------------------------------------------------------------------------------------- */

/* What may be echoed into a header: nothing that could end it. */
static bool id_is_sound(struct slice id) {
  if (id.size < 1 || id.size > REQUEST_ID_MAX) return false;
  for (size_t i = 0; i < id.size; i++)
    if (!head_gate_is_token(id.data[i])) return false;
  return true;
}

static struct slice id_of(const struct server *server, const struct http_request *request,
                          char text[REQUEST_ID_MAX + 1]) {
  struct slice id = http_request_header(request, "x-request-id");
  if (id_is_sound(id)) return id;
  snprintf(text, REQUEST_ID_MAX, "req-%08x%016llx", server->nonce, (unsigned long long)request->id);
  return slice_text(text);
}

void request_id_write(const struct server *server, const struct http_request *request, struct buffer *out) {
  char text[REQUEST_ID_MAX + 1];
  struct slice id = id_of(server, request, text);
  buffer_print(out, "X-Request-ID: %.*s\r\n", SLICE_ARGS(id));
}

/* --- notes -------------------------------------------------------------------------------------------------------- */

void request_note_begin(struct http_request *request) {
  struct note *note = calloc(1, sizeof *note);
  if (note) note->begun_us = clock_us();
  request->note = note; /* without memory the log knows less */
}

void request_note_event(struct http_request *request, const spate_event *event) {
  struct note *note = request->note;
  if (note && note->first_us == 0 && event->generated_tokens > 0) note->first_us = clock_us();
}

/* Of several choices, the one that ended least as it should. */
static const char *finish_of(const struct answer *answer, const char *otherwise) {
  static const char *const names[] = {
      [SPATE_FINISH_STOP] = "stop", [SPATE_FINISH_LENGTH] = "length", [SPATE_FINISH_CANCELLED] = "cancelled"};
  spate_finish worst = SPATE_FINISH_STOP;
  for (int i = 0; i < answer->n_choice; i++) {
    spate_finish finish = answer->choice[i].finish;
    if (finish == SPATE_FINISH_NONE) return otherwise;
    if (finish > worst) worst = finish;
  }
  return names[worst];
}

void request_note_end(struct http_request *request, const struct answer *answer, const char *otherwise) {
  struct note *note = request->note;
  if (!note) return;
  note->finish = finish_of(answer, otherwise);
  note->usage = answer_usage_of(answer);
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static void note_log(struct log_line *line, const struct note *note) {
  log_count(line, "prompt_tokens", (uint64_t)note->usage.prompt_tokens);
  log_count(line, "cached_tokens", (uint64_t)note->usage.cached_tokens);
  log_count(line, "generated_tokens", (uint64_t)note->usage.generated_tokens);
  log_text(line, "finish_reason", slice_text(note->finish));
  if (note->first_us > 0) log_milliseconds(line, "ttft_ms", note->first_us - note->begun_us);
}

void request_log(const struct server *server, struct http_request *request, const struct http_summary *summary) {
  const struct note *note = request->note;
  int route = route_find(request->head.path); /* the path as sent may hold anything: it stays out of the log */
  enum log_level level = route != ROUTE_NONE && routes[route].kind ? LOG_INFO : LOG_DEBUG;
  if (log_wants(level)) {
    char text[REQUEST_ID_MAX + 1];
    struct log_line line;
    log_begin(&line, level, "request");
    log_text(&line, "request_id", id_of(server, request, text));
    log_text(&line, "method", slice_text(method_name(http_method_find(request->head.method))));
    log_text(&line, "route", slice_text(route == ROUTE_NONE ? "none" : routes[route].path));
    log_count(&line, "status", summary->status ? (uint64_t)summary->status : CLIENT_LEFT);
    if (note && note->finish) note_log(&line, note);
    log_count(&line, "bytes_in", summary->bytes_in);
    log_count(&line, "bytes_out", summary->bytes_out);
    log_milliseconds(&line, "duration_ms", summary->duration_us);
    if (summary->aborted) log_flag(&line, "aborted");
    log_end(&line);
  }
  free(request->note);
  request->note = NULL;
}

void request_log_prompt(const struct server *server, const struct http_request *request,
                        const struct generate_request *wanted) {
  char text[REQUEST_ID_MAX + 1];
  struct log_line line;
  if (!log_wants(LOG_INFO)) return;
  const spate_request *one = &wanted->engine;
  struct request_prompt whole = {slice_make(one->prompt, one->prompt_size), NULL, one->n_token};
  const struct request_prompt *first = wanted->n_prompt > 0 ? &wanted->prompt[0] : &whole;
  log_begin(&line, LOG_INFO, "prompt");
  log_text(&line, "request_id", id_of(server, request, text));
  if (wanted->n_prompt > 1) log_count(&line, "prompts", (uint64_t)wanted->n_prompt);
  if (first->n_token > 0)
    log_count(&line, "tokens", (uint64_t)first->n_token);
  else
    log_text(&line, "prompt", first->text);
  log_end(&line);
}
