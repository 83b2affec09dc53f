/* What the server keeps for each network loop: for each engine whose answers it sends an inbox for the events of the
 * loop's requests, and the answers that wait for them, found by the engine's request id. Everything runs on the loop's
 * thread. */
#ifndef SPATE_SERVER_SERVER_LOOP_H
#define SPATE_SERVER_SERVER_LOOP_H

#include "http/http_server.h"
#include "server/answer.h"
#include "server/server_state.h"

/* First and last on the loop's thread. The server is borrowed. */
bool server_loop_start(struct http_loop *loop, struct server *server, struct error *error);
void server_loop_stop(struct http_loop *loop);

/* The engine that takes requests of this loop, for as long as the handler runs; NULL after answering that the server
 * sleeps. */
struct served_engine *server_loop_engine(struct http_request *request);

/* The same without an answer: NULL while the server sleeps. */
struct served_engine *server_loop_current(const struct http_loop *loop);

/* This loop's number in the slot. */
int server_loop_index(const struct http_loop *loop);

/* The request will be answered by this answer, which it owns from now on, as soon as all of its choices are submitted.
 */
void server_loop_begin(struct http_request *request, struct answer *answer);

/* Submits the next prompt of the request's answer, for facts.n choices, to the engine that the handler has asked for.
 * False when the engine refuses it: nothing is answered, the answer is gone, and what it has submitted is cancelled. */
bool server_loop_submit(struct http_request *request, int index, const spate_request *wanted, spate_error *error);

/* The same of texts that become vectors, which are the answer's from now on: those that find no room are submitted when
 * there is some. False as above, of the first of them. */
struct text_feed;
bool server_loop_texts(struct http_request *request, struct text_feed *texts, spate_error *error);

void server_loop_drain(struct http_request *request); /* its client has taken all output */
void server_loop_close(struct http_request *request); /* its client is gone */

#endif
