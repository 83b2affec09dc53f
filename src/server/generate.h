/* The routes that generate: GET and POST /generate, POST /v1/completions, POST /v1/chat/completions. */
#ifndef SPATE_SERVER_GENERATE_H
#define SPATE_SERVER_GENERATE_H

#include "http/http_request.h"
#include "server/server_state.h"

void generate_handle(struct server *server, struct http_request *request);
void completion_handle(struct server *server, struct http_request *request);
void chat_handle(struct server *server, struct http_request *request);

#endif
