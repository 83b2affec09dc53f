/* Requests that name images by their address: they wait while a thread beside their loop fetches these, and go on to
 * the engine with the bytes. On the thread of the request's loop. */
#ifndef SPATE_SERVER_MEDIA_JOB_H
#define SPATE_SERVER_MEDIA_JOB_H

#include "server/generate_request.h"
#include "server/media_fetch.h"
#include "server/server_state.h"

struct media_job;

/* Goes on with a request whose images have come: the job is its own to end. */
typedef void (*media_continue)(struct server *server, struct http_request *request, struct media_job *job);

/* Has the request addresses to fetch? None where this server fetches nothing: the engine refuses them then. */
bool media_job_needed(const struct server *server, const struct generate_request *wanted);

/* Fetches them, then calls back; or answers with what is wrong. Takes over the body that wanted was read from. */
void media_job_begin(struct server *server, struct http_request *request, const struct generate_request *wanted,
                     struct http_body *body, media_continue go_on);

struct slice media_job_body(const struct media_job *job);
enum request_kind media_job_kind(const struct media_job *job);
void media_job_end(struct media_job *job);

/* Puts the bytes in the place of the addresses. False: there is no memory. The job stays until the engine has copied
 * them. */
bool media_job_place(const struct media_job *job, struct generate_request *wanted);

/* Nobody waits for the images of this request any more; of any, for 0. Any thread. */
void media_job_cancel(struct server *server, uint64_t http_id);

#endif
