/* Spans wait in a ring; the thread takes a batch of them each second, or as soon as one is full, and posts one batch at
 * a time. What does not fit into the ring meanwhile is lost. */
#include "server/trace_export.h"

#include "base/limits.h"
#include "base/log.h"
#include "http/http_client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
  BATCH = 256,
  RING = 8 * BATCH,
  TICK_MS = 250,
  BATCH_TICKS = 4,  /* that a batch which is not full waits */
  POST_TICKS = 40,  /* that a collector gets to answer */
  CLOSE_TICKS = 8,  /* that the last batches get */
  WARN_TICKS = 240, /* between two warnings */
};

struct trace_export {
  pthread_t thread;
  pthread_mutex_t mutex; /* of the ring */
  struct trace_span ring[RING];
  unsigned head, tail; /* spans head … tail - 1 wait, at index % RING */
  atomic_bool closing;
  _Atomic uint64_t sent, lost;

  /* The thread's. */
  uv_loop_t loop;
  uv_async_t wake;
  uv_timer_t tick;
  struct http_client *client;
  struct http_exchange *exchange; /* NULL: nothing is under way */
  bool under_way;
  struct trace_span batch[BATCH];
  int n_batch, status;
  int post_ticks, wait_ticks, close_ticks, warn_ticks;
  struct buffer body;
};

/* --- the ring ----------------------------------------------------------------------------------------------------- */

void trace_export_add(struct trace_export *export, const struct trace_span *span) {
  pthread_mutex_lock(&export->mutex);
  bool fits = export->tail - export->head < RING;
  if (fits) export->ring[export->tail++ % RING] = *span;
  bool full = export->tail - export->head == BATCH;
  pthread_mutex_unlock(&export->mutex);
  if (!fits) atomic_fetch_add(&export->lost, 1);
  if (full) uv_async_send(&export->wake);
}

static void batch_take(struct trace_export *export) {
  pthread_mutex_lock(&export->mutex);
  for (export->n_batch = 0; export->n_batch < BATCH && export->head != export->tail; export->n_batch++)
    export->batch[export->n_batch] = export->ring[export->head++ % RING];
  pthread_mutex_unlock(&export->mutex);
}

static unsigned waiting(struct trace_export *export) {
  pthread_mutex_lock(&export->mutex);
  unsigned n = export->tail - export->head;
  pthread_mutex_unlock(&export->mutex);
  return n;
}

void trace_metrics_write(const struct trace_export *export, struct buffer *out) {
  uint64_t sent = export ? atomic_load(&export->sent) : 0, lost = export ? atomic_load(&export->lost) : 0;
  buffer_print(out,
               "# HELP llm_trace_spans_sent_total Spans of requests that a collector of traces has taken.\n"
               "# TYPE llm_trace_spans_sent_total counter\nllm_trace_spans_sent_total %llu\n"
               "# HELP llm_trace_spans_lost_total Spans that it has not.\n"
               "# TYPE llm_trace_spans_lost_total counter\nllm_trace_spans_lost_total %llu\n",
               (unsigned long long)sent, (unsigned long long)lost);
}

/* --- posts -------------------------------------------------------------------------------------------------------- */

static void batch_lose(struct trace_export *export, const char *why) {
  atomic_fetch_add(&export->lost, (uint64_t) export->n_batch);
  if (export->warn_ticks > 0) return;
  export->warn_ticks = WARN_TICKS;
  log_warning("The collector of traces did not take %d spans: %s", export->n_batch, why);
}

static void batch_post(struct trace_export *export) {
  batch_take(export);
  if (export->n_batch == 0) return;
  buffer_clear(&export->body);
  trace_spans_write(&export->body, export->batch, export->n_batch);
  if (export->body.failed) {
    batch_lose(export, "there is no memory for them.");
    return;
  }
  export->under_way = true;
  export->post_ticks = export->status = 0;
  struct http_exchange *exchange = http_client_post(export->client, "", buffer_slice(&export->body), export);
  if (export->under_way) export->exchange = exchange;
}

static void on_head(void *user, int status, const char *content_type) {
  struct trace_export *export = user;
  (void)content_type;
  export->status = status;
}

static void on_body(void *user, struct slice bytes) {
  (void)user;
  (void)bytes;
}

static void on_end(void *user, enum http_end end, const char *sentence) {
  struct trace_export *export = user;
  export->under_way = false;
  export->exchange = NULL;
  if (end != HTTP_END_DONE) {
    batch_lose(export, sentence);
  } else if (export->status / 100 != 2) {
    char text[64];
    snprintf(text, sizeof text, "it answered with status %d.", export->status);
    batch_lose(export, text);
  } else {
    atomic_fetch_add(&export->sent, (uint64_t) export->n_batch);
  }
}

static void post_give_up(struct trace_export *export) {
  http_exchange_cancel(export->exchange);
  export->exchange = NULL;
  export->under_way = false;
  batch_lose(export, "it did not answer in time.");
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static void loop_end(struct trace_export *export) {
  if (export->under_way) post_give_up(export);
  atomic_fetch_add(&export->lost, waiting(export));
  http_client_close(export->client);
  uv_close((uv_handle_t *)&export->wake, NULL);
  uv_close((uv_handle_t *)&export->tick, NULL);
}

static void on_tick(uv_timer_t *tick) {
  struct trace_export *export = tick->data;
  bool closing = atomic_load(&export->closing);
  if (export->warn_ticks > 0) export->warn_ticks--;
  if (export->under_way && ++export->post_ticks >= POST_TICKS) post_give_up(export);
  if (!export->under_way && (closing || waiting(export) >= BATCH || ++export->wait_ticks >= BATCH_TICKS)) {
    export->wait_ticks = 0;
    batch_post(export);
  }
  bool idle = !export->under_way && waiting(export) == 0;
  if (closing && (idle || ++export->close_ticks >= CLOSE_TICKS)) loop_end(export);
}

/* A batch is full, or the end has come. */
static void on_wake(uv_async_t *wake) {
  struct trace_export *export = wake->data;
  if (!export->under_way) batch_post(export);
}

static void *thread_run(void *argument) {
  struct trace_export *export = argument;
  uv_run(&export->loop, UV_RUN_DEFAULT);
  return NULL;
}

/* --- begin and end ------------------------------------------------------------------------------------------------ */

static void export_free(struct trace_export *export) {
  http_client_free(export->client);
  uv_loop_close(&export->loop);
  pthread_mutex_destroy(&export->mutex);
  buffer_release(&export->body);
  free(export);
}

static void handles_begin(struct trace_export *export) {
  uv_async_init(&export->loop, &export->wake, on_wake);
  uv_timer_init(&export->loop, &export->tick);
  export->wake.data = export->tick.data = export;
  uv_timer_start(&export->tick, on_tick, TICK_MS, TICK_MS);
}

struct trace_export *trace_export_open(const char *endpoint, struct error *error) {
  static const struct http_client_callbacks callbacks = {.head = on_head, .body = on_body, .end = on_end};
  struct trace_export *export = calloc(1, sizeof *export);
  if (!export || uv_loop_init(&export->loop) != 0) {
    free(export);
    error_set(error, ERROR_MEMORY, "There is no memory for a sender of traces.");
    return NULL;
  }
  pthread_mutex_init(&export->mutex, NULL);
  buffer_init(&export->body, LIMIT_TRACE_BYTES);
  const struct http_client_options client = {.url = endpoint, .look_ups = HTTP_LOOK_UP_EACH};
  export->client = http_client_open(&export->loop, &client, &callbacks, error);
  if (!export->client) {
    export_free(export);
    return NULL;
  }
  handles_begin(export);
  if (pthread_create(&export->thread, NULL, thread_run, export) == 0) return export;
  loop_end(export);
  uv_run(&export->loop, UV_RUN_DEFAULT);
  export_free(export);
  error_set(error, ERROR_MEMORY, "The system refused a thread for sending traces.");
  return NULL;
}

void trace_export_close(struct trace_export *export) {
  if (!export) return;
  atomic_store(&export->closing, true);
  uv_async_send(&export->wake);
  pthread_join(export->thread, NULL);
  export_free(export);
}
