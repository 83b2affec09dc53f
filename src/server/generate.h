/* POST /generate and GET /generate. */
#ifndef SPATE_SERVER_GENERATE_H
#define SPATE_SERVER_GENERATE_H

#include "http/http_request.h"
#include "server/server_state.h"

void generate_handle(struct server *server, struct http_request *request);

#endif
