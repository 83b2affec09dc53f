/* The runtime: requests in, events out, one step thread between them that owns the program, the schedule and every
 * running request. Threads: callers of submit and cancel (any), one worker that renders and tokenizes, the step
 * thread, one that hashes the engine file in the background and watches over it, and where there are adapters those of
 * their store. */
#ifndef SPATE_RUNTIME_RUNTIME_H
#define SPATE_RUNTIME_RUNTIME_H

#include "base/metric.h"
#include "engine/loaded_engine.h"
#include "runtime/metric_totals.h"
#include "runtime/request.h"

struct runtime;

struct runtime_options {
  struct loaded_engine *engine;      /* borrowed until runtime_free */
  const struct tokenizer *tokenizer; /* borrowed */
  const struct chat_template *chat;  /* borrowed; NULL: conversations are refused with *chat_problem */
  const struct error *chat_problem;
  int32_t max_queue;        /* requests that may wait besides those that run */
  int64_t max_queue_tokens; /* prompt and max_tokens of all that have no token yet; more are refused as busy */
  enum schedule_policy policy;
  int32_t batch_delay_ms; /* of SCHEDULE_DYNAMIC */
  double target_gap_us;   /* as in schedule_options */
  bool no_block_reuse;
  uint64_t idle_us; /* after so long without a request the KV cache's memory goes back to the system; 0: never */
  const char *adapter_folder; /* of adapters by name, for the slots that the engine has; NULL: none are asked for */
  int32_t adapters_held;      /* in the host's memory */
  uint64_t adapter_bytes;     /* of all of them */
  const struct image_form *image_form;     /* what the model makes of images; NULL: none are taken, *images_problem */
  const struct error *images_problem;      /* borrowed */
  struct decode_pool *decoders;            /* borrowed */
  int image_threads;                       /* that wait for those */
  int32_t images_most;                     /* of one prompt */
  size_t image_bytes, image_request_bytes; /* waiting_most and request_most of image_store_options */
  uint64_t stall_us; /* work that waits so long without a step ending makes the engine unhealthy */
};

struct runtime *runtime_new(const struct runtime_options *options, struct error *error);

/* Cancels everything, ends the threads. Inboxes must have been dropped by their clients. NULL is allowed. */
void runtime_free(struct runtime *runtime);

struct inbox *runtime_inbox(struct runtime *runtime, struct error *error);
/* The client's side of an inbox ends: its requests are cancelled and their events dropped. */
void runtime_inbox_close(struct runtime *runtime, struct inbox *inbox);

/* The request's id, or 0 with ERROR_INVALID, ERROR_LIMIT, ERROR_BUSY, ERROR_DEVICE: error is not NULL. */
uint64_t runtime_submit(struct runtime *runtime, struct inbox *inbox, const struct request_params *params,
                        struct error *error);
void runtime_cancel(struct runtime *runtime, uint64_t id); /* 0: every request */

/* False with the reason once the engine has stopped (ERROR_DEVICE), while work is queued and no step has ended for a
 * long time (ERROR_TIMEOUT), or while no logits that it computes are finite (ERROR_INTERNAL, engine_probe.h). */
bool runtime_healthy(struct runtime *runtime, struct error *error);

bool runtime_metrics(struct runtime *runtime, struct buffer *out);

/* What it counts goes on in those that join after it. Before its first request; the totals outlive it. */
void runtime_totals_join(struct runtime *runtime, struct metric_totals *totals);

/* NULL when the engine was opened without any. */
struct adapter_store *runtime_adapters(struct runtime *runtime);

/* Whoever has parked it has put other adapters into slots than requests did. */
void runtime_forget_slots(struct runtime *runtime);

/* Parks the step thread so that the caller may run batches on the engine's program itself (benches, evaluation). False
 * while requests are live; those submitted meanwhile wait for the resume, which every true needs. */
bool runtime_park(struct runtime *runtime, struct error *error);
void runtime_resume(struct runtime *runtime);

#endif
