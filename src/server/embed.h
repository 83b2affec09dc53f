/* The routes of engines that encode: /v1/embeddings, /v1/rerank, /v1/score and /v1/classify. Each text, or pair of
 * texts, is a request of its own at the engine and a choice of the answer, so that texts of all clients share steps.
 * On the thread of the request's loop. */
#ifndef SPATE_SERVER_EMBED_H
#define SPATE_SERVER_EMBED_H

#include "http/http_server.h"
#include "server/server_state.h"

void embeddings_handle(struct server *server, struct http_request *request);
void rerank_handle(struct server *server, struct http_request *request);
void rerank_cohere_handle(struct server *server, struct http_request *request);
void score_handle(struct server *server, struct http_request *request);
void classify_handle(struct server *server, struct http_request *request);

#endif
