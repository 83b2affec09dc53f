/* One thread reads them all: so of what was read, which is as large as its body, there is little at once. */
#include "server/body_job.h"

#include "http/http_server.h"
#include "server/reply.h"
#include "server/server_loop.h"

#include <stdlib.h>

enum { COMPLETION_MAX_TOKENS = 16 };

struct body_job {
  struct server *server;
  struct served_engine *served; /* held */
  uint64_t http_id;
  struct body_job_task task;
  struct generate_request wanted;
  bool read;
  struct error error;
};

spate_request body_job_defaults(const struct served_engine *served, enum request_kind kind) {
  spate_request defaults;
  spate_request_init(served->engine, &defaults);
  if (kind == REQUEST_COMPLETION && defaults.max_tokens > COMPLETION_MAX_TOKENS)
    defaults.max_tokens = COMPLETION_MAX_TOKENS;
  if (kind == REQUEST_CHAT) defaults.max_tokens = served->info.max_seq_len; /* what the prompt leaves of it */
  return defaults;
}

struct slice body_job_bytes(const struct body_job_task *task) {
  return task->media ? media_job_body(task->media) : buffer_slice(&task->body.bytes);
}

void body_job_drop(struct body_job_task *task) {
  http_body_release(&task->body);
  if (task->media) media_job_end(task->media);
  task->media = NULL;
}

static void job_free(struct body_job *job) {
  body_job_drop(&job->task);
  engine_slot_drop(job->server->slot, job->served);
  atomic_fetch_sub(&job->server->running, 1); /* last: a server that ends waits for what runs */
  free(job);
}

static void job_work(void *argument) {
  struct body_job *job = argument;
  spate_request defaults = body_job_defaults(job->served, job->task.kind);
  job->read =
      generate_request_read_body(&job->wanted, job->task.kind, &defaults, body_job_bytes(&job->task), &job->error);
}

/* The engine may be another one by now: then it begins anew. */
static void job_done(struct http_loop *loop, void *argument) {
  struct body_job *job = argument;
  struct http_request *request = http_find(loop, job->http_id);
  struct served_engine *served = request ? server_loop_engine(request) : NULL;
  if (served == job->served) {
    job->task.go_on(job->server, request, &job->task, &job->wanted, job->read, &job->error);
  } else if (served) {
    body_job_begin(job->server, request, &job->task);
  }
  if (served) job->task.body = (struct http_body){0}, job->task.media = NULL;
  generate_request_release(&job->wanted);
  job_free(job);
}

void body_job_begin(struct server *server, struct http_request *request, const struct body_job_task *task) {
  struct served_engine *served = server_loop_engine(request);
  struct body_job *job = served ? calloc(1, sizeof *job) : NULL;
  struct body_job_task dropped = *task;
  if (job) {
    *job = (struct body_job){.server = server, .served = served, .http_id = request->id, .task = *task};
    engine_slot_hold(server->slot, served);
    atomic_fetch_add(&server->running, 1);
    if (server_work(server, request, WORK_BODY, job_work, job_done, job)) return;
    job_free(job);
  } else {
    body_job_drop(&dropped);
  }
  if (served) reply_engine_error(request, SPATE_MEMORY, "Out of memory for a request.");
}
