/* What an operator asks of a running server: POST /admin/reload, POST /sleep and POST /wake_up, which the engine slot
 * carries out, and GET /is_sleeping. Answers come when the order is done. */
#ifndef SPATE_SERVER_ADMIN_H
#define SPATE_SERVER_ADMIN_H

#include "http/http_request.h"
#include "server/engine_slot.h"
#include "server/server_state.h"

void reload_handle(struct server *server, struct http_request *request);
void sleep_handle(struct server *server, struct http_request *request);
void wake_handle(struct server *server, struct http_request *request);
void is_sleeping_handle(struct server *server, struct http_request *request);

/* An order of one of the loop's requests is done: tells who is still there. */
void admin_answer(struct http_loop *loop, const struct slot_result *result);

#endif
