/* Private to the room: the server that its loops share. Constant once it listens, but for the metrics and the
 * way out. */
#ifndef SPATE_SERVER_SERVER_STATE_H
#define SPATE_SERVER_SERVER_STATE_H

#include "http/http_server.h"
#include "server/access.h"
#include "server/engine_slot.h"
#include "server/http_metrics.h"
#include "server/media_rules.h"
#include "server/server.h"
#include "server/trace_export.h"

#include <pthread.h>
#include <stdatomic.h>

struct server {
  struct engine_slot *slot;
  struct access access, admin; /* those that may ask; those that may command, none without a key */
  struct cors_options cors;
  struct slice root_path; /* "/prefix", or empty */
  struct http_server *http;
  struct http_metrics metrics;
  struct trace_export *traces; /* NULL: none are sent */
  uint32_t nonce;              /* in ids of answers, so that two servers' ids differ */
  bool log_prompts;
  atomic_bool draining;
  atomic_int running;            /* answers that are not complete */
  atomic_size_t answer_bytes;    /* that wait in them */
  atomic_size_t token_job_bytes; /* bodies that wait for their tokens, or texts */
  struct media_rules *media;     /* NULL: no images are fetched */
  atomic_size_t media_bytes;     /* of bodies that wait for images, and of these */
  pthread_mutex_t media_lock;    /* of the list of those that are being fetched */
  struct media_job *media_jobs;
};

/* What is done for a request beside the loops (http_request_work): by turns of the keys, and of one key's requests by
 * turns of these. */
enum server_work { WORK_BODY, WORK_TEXTS, SERVER_WORKS };
bool server_work(const struct server *server, struct http_request *request, enum server_work kind,
                 void (*work)(void *argument), void (*done)(struct http_loop *loop, void *argument), void *argument);

#endif
