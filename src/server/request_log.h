/* What is told of a request beside its answer: its id, which every answer carries as X-Request-ID, and a line in the
 * log when it is over. Texts do not get there, nor what else a client chose freely but for these two ids (a trace has
 * one too), unless --log-prompts asks for the prompts. On the thread of the request's loop. */
#ifndef SPATE_SERVER_REQUEST_LOG_H
#define SPATE_SERVER_REQUEST_LOG_H

#include "http/http_server.h"
#include "server/answer.h"
#include "server/generate_request.h"
#include "server/server_state.h"

/* Appends the header's line: the client's own id if it is one (1 to 128 characters that may stand in a token), or one
 * that this server makes. */
void request_id_write(const struct server *server, const struct http_request *request, struct buffer *out);

/* The note of a request that generates: begun at its submission to the engine of this model; an event of the engine has
 * come; its answer is over or its client gone. `otherwise` is why, for choices that had not ended by themselves. */
void request_note_begin(struct http_request *request, const char *model);
void request_note_event(struct http_request *request, const spate_event *event);
void request_note_end(struct http_request *request, const struct answer *answer, const char *otherwise);

/* The request is over: logs it, at the level info if its route generates and debug if not; sends its span if traces are
 * sent and the caller keeps this one; frees its note. */
void request_log(const struct server *server, struct http_request *request, const struct http_summary *summary);

/* For --log-prompts. */
void request_log_prompt(const struct server *server, const struct http_request *request,
                        const struct generate_request *wanted);

#endif
