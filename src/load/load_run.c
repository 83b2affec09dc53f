/* The loop of a load. Each request has a timer: until it is sent for its time, then for its limit of time. */
#include "load/load_run.h"

#include "base/clock.h"
#include "base/limits.h"
#include "http/http_client.h"
#include "http/tls.h"
#include "load/load_answer.h"
#include "load/load_draw.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/resource.h>

enum { PROGRESS_MS = 250, PROMPTS = 16 /* the first stream of their words */ };

enum stream_state { STREAM_IDLE, STREAM_WAITS, STREAM_RUNS, STREAM_ENDED };

struct stream {
  struct run *run;
  struct load_request *request;
  enum stream_state state;
  struct http_exchange *exchange; /* while it runs */
  struct load_answer answer;
  uv_timer_t timer; /* open while it waits or runs */
};

struct run {
  const struct load_target *target;
  struct load_plan *plan;
  struct load_result *result;
  struct http_client *client;
  struct tls_context *tls; /* NULL: in the clear */
  struct stream *stream;   /* [plan->count] */
  struct buffer prompt, body;
  uv_loop_t loop;
  uv_timer_t watch;
  uint64_t begin_us;
  int next; /* of a closed loop: the first request that was not begun */
  struct load_progress so_far;
};

static uint64_t run_us(const struct run *run) { return clock_us() - run->begin_us; }

/* --- ends --------------------------------------------------------------------------------------------------------- */

static void stream_schedule(struct run *run, int index);

static void run_close(struct run *run) {
  uv_close((uv_handle_t *)&run->watch, NULL);
  http_client_close(run->client);
}

/* Of a closed loop the next in the list, of a file the next of the same client. */
static void next_schedule(struct run *run, const struct load_request *ended) {
  int next = run->plan->clients > 0 ? run->next++ : ended->after;
  if (next < 0 || next >= run->plan->count) return;
  run->plan->request[next].ready_us = ended->done_us;
  stream_schedule(run, next);
}

static void stream_end(struct stream *stream, enum load_end end, const char *sentence) {
  struct run *run = stream->run;
  struct load_request *request = stream->request;
  char *first = run->result->first[end];
  request->end = end;
  request->done_us = run_us(run);
  if (sentence && !first[0]) snprintf(first, ERROR_TEXT_MAX, "%s", sentence);
  load_answer_release(&stream->answer);
  uv_close((uv_handle_t *)&stream->timer, NULL);
  stream->exchange = NULL;
  stream->state = STREAM_ENDED;
  run->so_far.running--;
  run->so_far.done++;
  run->so_far.failed += end != LOAD_OK;
}

/* The end of a request that the loop may go on from. */
static void stream_over(struct stream *stream, enum load_end end, const char *sentence) {
  struct run *run = stream->run;
  stream_end(stream, end, sentence);
  next_schedule(run, stream->request);
  if (run->so_far.done == run->so_far.total) run_close(run);
}

static void stream_abandon(struct stream *stream, enum load_end end, const char *sentence) {
  http_exchange_cancel(stream->exchange);
  stream_over(stream, end, sentence);
}

static void run_stop(struct run *run) {
  for (int i = 0; i < run->plan->count; i++) {
    struct stream *stream = &run->stream[i];
    if (stream->state == STREAM_WAITS) uv_close((uv_handle_t *)&stream->timer, NULL);
    if (stream->state != STREAM_RUNS) continue;
    http_exchange_cancel(stream->exchange);
    stream_end(stream, LOAD_STOPPED, NULL);
  }
  run_close(run);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static void on_head(void *user, int status, const char *content_type) {
  struct stream *stream = user;
  struct error error;
  if (!load_answer_head(&stream->answer, status, content_type, &error))
    stream_abandon(stream, LOAD_GARBAGE, error.text);
}

static void on_body(void *user, struct slice bytes) {
  struct stream *stream = user;
  struct error error;
  int before = stream->request->n_event;
  enum load_end end = load_answer_body(&stream->answer, bytes, run_us(stream->run), &error);
  stream->run->so_far.tokens += stream->request->n_event - before;
  if (end != LOAD_OK) stream_abandon(stream, end, error.text);
}

static void on_end(void *user, enum http_end end, const char *sentence) {
  struct stream *stream = user;
  struct error error;
  enum load_end came;
  switch (end) {
  case HTTP_END_DONE:
    came = load_answer_finish(&stream->answer, &error);
    stream_over(stream, came, came == LOAD_OK ? NULL : error.text);
    break;
  case HTTP_END_REFUSED: stream_over(stream, LOAD_CONNECT, sentence); break;
  case HTTP_END_CUT: stream_over(stream, LOAD_CUT, sentence); break;
  case HTTP_END_BAD: stream_over(stream, LOAD_GARBAGE, sentence); break;
  }
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static int words_wanted(const struct load_target *target, int tokens) {
  return (int)fmax(1, round((tokens - target->fixed_tokens) / target->word_tokens));
}

static struct slice prompt_make(struct run *run, const struct stream *stream) {
  const struct load_request *request = stream->request;
  if (request->prompt.data) return request->prompt;
  uint64_t text = PROMPTS + (uint64_t)run->target->run * LIMIT_LOAD_REQUESTS + (uint64_t)(stream - run->stream);
  struct load_dice dice = load_dice_make(run->target->seed, text);
  buffer_clear(&run->prompt);
  load_draw_words(&dice, words_wanted(run->target, request->input), &run->prompt);
  return buffer_slice(&run->prompt);
}

static void on_late(uv_timer_t *timer) {
  struct stream *stream = timer->data;
  char sentence[ERROR_TEXT_MAX];
  snprintf(sentence, sizeof sentence, "An answer was not complete after %g seconds.", stream->run->target->timeout_s);
  stream_abandon(stream, LOAD_TIMEOUT, sentence);
}

static void on_due(uv_timer_t *timer) {
  struct stream *stream = timer->data;
  struct run *run = stream->run;
  const struct load_target *target = run->target;
  struct load_question question = {.api = target->api,
                                   .model = target->model,
                                   .prompt = prompt_make(run, stream),
                                   .max_tokens = stream->request->output,
                                   .allow_eos = target->allow_eos};
  buffer_clear(&run->body);
  bool written = load_question_write(&question, &run->body);
  stream->state = STREAM_RUNS;
  run->so_far.running++;
  stream->request->sent_us = run_us(run);
  uv_timer_start(&stream->timer, on_late, (uint64_t)(target->timeout_s * 1e3), 0);
  if (!written)
    stream_over(stream, LOAD_CONNECT, "There is no memory for a request.");
  else
    stream->exchange = http_client_post(run->client, load_api_path(target->api), buffer_slice(&run->body), stream);
}

/* It is sent by the loop, at its time or at once: never by its caller. */
static void stream_schedule(struct run *run, int index) {
  struct stream *stream = &run->stream[index];
  struct load_request *request = &run->plan->request[index];
  *stream = (struct stream){.run = run, .request = request, .state = STREAM_WAITS};
  load_answer_init(&stream->answer, request);
  uv_timer_init(&run->loop, &stream->timer);
  stream->timer.data = stream;
  uv_update_time(&run->loop);
  uint64_t due_ms = (run->begin_us + request->due_us + 999) / 1000, now_ms = uv_now(&run->loop); /* one clock */
  uv_timer_start(&stream->timer, on_due, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

/* False: the user wants no more. */
static bool progress_tell(struct run *run) {
  run->so_far.seconds = (double)run_us(run) / 1e6;
  return !run->target->progress || run->target->progress(run->target->user, &run->so_far);
}

static void on_watch(uv_timer_t *watch) {
  struct run *run = watch->data;
  if (!progress_tell(run)) run_stop(run);
}

/* Requests that wait for no other one. Of those of one client only the first does. */
static void first_schedule(struct run *run) {
  const struct load_plan *plan = run->plan;
  for (run->next = 0; plan->clients && run->next < plan->count && run->next < plan->clients; run->next++)
    stream_schedule(run, run->next);
  for (int i = 0; !plan->clients && i < plan->count; i++)
    if (plan->request[i].first) stream_schedule(run, i);
}

/* Each connection is a descriptor, and the usual soft limit is 1024. */
static void descriptors_raise(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

static double processor_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void result_fill(const struct load_plan *plan, struct load_result *result) {
  uint64_t first = UINT64_MAX, last = 0;
  for (int i = 0; i < plan->count; i++) {
    const struct load_request *request = &plan->request[i];
    if (request->end == LOAD_NOT_SENT) continue;
    if (request->sent_us < first) first = request->sent_us;
    if (request->done_us > last) last = request->done_us;
  }
  result->seconds = last > first ? (double)(last - first) / 1e6 : 0;
}

static void run_loop(struct run *run) {
  double before = processor_seconds();
  uv_timer_init(&run->loop, &run->watch);
  run->watch.data = run;
  uv_timer_start(&run->watch, on_watch, PROGRESS_MS, PROGRESS_MS);
  run->begin_us = clock_us();
  first_schedule(run);
  uv_run(&run->loop, UV_RUN_DEFAULT);
  progress_tell(run);
  run->result->processor = processor_seconds() - before;
  result_fill(run->plan, run->result);
}

static bool client_open(struct run *run, struct error *error) {
  static const struct http_client_callbacks callbacks = {.head = on_head, .body = on_body, .end = on_end};
  struct http_client_options options = {
      .url = run->target->url, .bearer = run->target->api_key, .look_ups = HTTP_LOOK_UP_ONCE};
  if (strncasecmp(options.url, "https://", 8) == 0 && !(options.tls = run->tls = tls_client_context_open(error)))
    return false;
  run->client = http_client_open(&run->loop, &options, &callbacks, error);
  return run->client != NULL;
}

bool load_run(const struct load_target *target, struct load_plan *plan, struct load_result *result,
              struct error *error) {
  struct run run = {.target = target, .plan = plan, .result = result, .so_far.total = plan->count};
  *result = (struct load_result){0};
  signal(SIGPIPE, SIG_IGN);
  descriptors_raise();
  if (uv_loop_init(&run.loop) != 0) return error_set(error, ERROR_IO, "The system gives no event loop.");
  buffer_init(&run.prompt, LIMIT_LOAD_BODY_BYTES);
  buffer_init(&run.body, LIMIT_LOAD_BODY_BYTES);
  run.stream = calloc((size_t)plan->count, sizeof *run.stream);
  bool done = run.stream ? client_open(&run, error)
                         : error_set(error, ERROR_MEMORY, "There is no memory for %d requests.", plan->count);
  if (done) run_loop(&run);
  http_client_free(run.client);
  tls_context_free(run.tls);
  uv_loop_close(&run.loop);
  buffer_release(&run.prompt);
  buffer_release(&run.body);
  free(run.stream);
  return done;
}
