/* Request ids, the log of requests, and their spans. */
#include "server/request_log.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/head_gate.h"
#include "server/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { REQUEST_ID_MAX = 128, CLIENT_LEFT = 499, NS_PER_US = 1000 };

struct note {
  uint64_t begun_us, first_us; /* of the submission and the first token; 0: none came */
  const char *finish;          /* NULL: not over */
  struct answer_usage usage;
  char model[SPAN_MODEL_BYTES];
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

void request_note_begin(struct http_request *request, const char *model) {
  struct note *note = request->note = calloc(1, sizeof *note);
  if (!note) return; /* the log knows less */
  note->begun_us = clock_us();
  snprintf(note->model, sizeof note->model, "%s", model);
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

/* --- spans -------------------------------------------------------------------------------------------------------- */

static bool route_generates(int route) { return route != ROUTE_NONE && routes[route].kind; }

static uint64_t status_of(const struct http_summary *summary) {
  return summary->status ? (uint64_t)summary->status : CLIENT_LEFT;
}

/* The caller's trace; without one, a new trace for what generates, if traces are sent. */
static struct trace_context trace_of(const struct server *server, const struct http_request *request, int route) {
  struct trace_context trace = {.sampled = false};
  if (trace_context_read(http_request_header(request, "traceparent"), &trace) || !server->traces) return trace;
  trace.sampled = route_generates(route) && getrandom(trace.trace, sizeof trace.trace, 0) == sizeof trace.trace;
  return trace;
}

static uint64_t now_ns(void) { /* since 1970 */
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void span_add(const struct server *server, const struct http_request *request,
                     const struct http_summary *summary, int route, const struct trace_context *trace) {
  const struct note *note = request->note;
  uint64_t now_us = clock_us(); /* one moment on both clocks */
  struct trace_span span = {.context = *trace, .end_ns = now_ns(), .status = (int)status_of(summary)};
  if (!route_generates(route) || getrandom(span.id, sizeof span.id, 0) != sizeof span.id) return;
  span.begin_ns = span.end_ns - summary->duration_us * NS_PER_US;
  enum request_kind kind = routes[route].kind;
  span.operation = kind == REQUEST_CHAT ? "chat" : kind == REQUEST_EMBED ? "embeddings" : "text_completion";
  span.method = method_name(http_method_find(request->head.method));
  span.route = routes[route].path;
  if (note) memcpy(span.model, note->model, sizeof span.model);
  if (note && note->finish) {
    span.finish = note->finish;
    span.usage = note->usage;
    if (note->first_us > 0) span.first_ns = span.end_ns - (now_us - note->first_us) * NS_PER_US;
    if (note->first_us > 0 && span.first_ns < span.begin_ns) span.first_ns = span.begin_ns;
  }
  trace_export_add(server->traces, &span);
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

static void note_log(struct log_line *line, const struct note *note) {
  log_count(line, "prompt_tokens", (uint64_t)note->usage.prompt_tokens);
  log_count(line, "cached_tokens", (uint64_t)note->usage.cached_tokens);
  log_count(line, "generated_tokens", (uint64_t)note->usage.generated_tokens);
  log_text(line, "finish_reason", slice_text(note->finish));
  if (note->first_us > 0) log_milliseconds(line, "ttft_ms", note->first_us - note->begun_us);
}

static void trace_log(struct log_line *line, const struct trace_context *trace) {
  char text[2 * TRACE_ID_BYTES + 1];
  for (int i = 0; i < TRACE_ID_BYTES; i++) snprintf(text + 2 * i, 3, "%02x", trace->trace[i]);
  log_text(line, "trace_id", slice_text(text));
}

static void request_line(const struct server *server, const struct http_request *request,
                         const struct http_summary *summary, int route, const struct trace_context *trace) {
  const struct note *note = request->note;
  char text[REQUEST_ID_MAX + 1];
  struct log_line line;
  log_begin(&line, route_generates(route) ? LOG_INFO : LOG_DEBUG, "request");
  log_text(&line, "request_id", id_of(server, request, text));
  if (trace->sampled) trace_log(&line, trace);
  log_text(&line, "method", slice_text(method_name(http_method_find(request->head.method))));
  log_text(&line, "route", slice_text(route == ROUTE_NONE ? "none" : routes[route].path));
  log_count(&line, "status", status_of(summary));
  if (note && note->finish) note_log(&line, note);
  log_count(&line, "bytes_in", summary->bytes_in);
  log_count(&line, "bytes_out", summary->bytes_out);
  log_milliseconds(&line, "duration_ms", summary->duration_us);
  if (summary->aborted) log_flag(&line, "aborted");
  log_end(&line);
}

void request_log(const struct server *server, struct http_request *request, const struct http_summary *summary) {
  int route = route_find(request->head.path); /* the path as sent may hold anything: it stays out of the log */
  struct trace_context trace = trace_of(server, request, route);
  if (trace.sampled && server->traces) span_add(server, request, summary, route, &trace);
  if (log_wants(route_generates(route) ? LOG_INFO : LOG_DEBUG)) request_line(server, request, summary, route, &trace);
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
