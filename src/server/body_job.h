/* Large bodies, which are large for their images' sake: parsing 60 MiB takes half a second, in which a network loop
 * would serve nobody else. They are read beside the loops, one after the other and the keys by turns; then their
 * requests go on. One whose client has gone is not read. */
#ifndef SPATE_SERVER_BODY_JOB_H
#define SPATE_SERVER_BODY_JOB_H

#include "server/generate_request.h"
#include "server/media_job.h"

/* What the job is about. */
struct body_job_task {
  enum request_kind kind;
  struct http_body body;   /* empty where media has it */
  struct media_job *media; /* whose images have come; NULL: none were fetched */
  /* Once it is read, on the loop of a request that is there still, of the engine whose defaults it has: takes over body
   * and media. wanted is released behind it; read: it is whole, otherwise wanted->param and error say why not. */
  void (*go_on)(struct server *server, struct http_request *request, struct body_job_task *task,
                struct generate_request *wanted, bool read, const struct error *error);
};

static inline bool body_is_large(struct slice body) { return body.size > LIMIT_BODY_BYTES; }

/* The bytes of either. */
struct slice body_job_bytes(const struct body_job_task *task);

/* Takes over the task's body and media. Answers itself where it cannot begin. */
void body_job_begin(struct server *server, struct http_request *request, const struct body_job_task *task);

/* Ends both, of a task that nobody goes on with. */
void body_job_drop(struct body_job_task *task);

/* What requests start from at this engine. */
spate_request body_job_defaults(const struct served_engine *served, enum request_kind kind);

#endif
