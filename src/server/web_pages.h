/* The pages for people: a playground, what the server does, the reference of its API. Constant; any thread. Each is one
 * file with one style and one script inside, which its Content-Security-Policy names by hash: nothing else runs, and
 * nothing is asked of other servers. To add a page: web/NAME.html, its name in src/CMakeLists.txt, a handler here, a
 * route. */
#ifndef SPATE_SERVER_WEB_PAGES_H
#define SPATE_SERVER_WEB_PAGES_H

#include "http/http_request.h"
#include "server/server_state.h"

#define PAGE_CONTENT_TYPE "text/html; charset=utf-8"

void playground_handle(struct server *server, struct http_request *request);
void status_page_handle(struct server *server, struct http_request *request);
void docs_handle(struct server *server, struct http_request *request);

#endif
