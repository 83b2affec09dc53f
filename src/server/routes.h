/* The table of paths: what exists, which methods it takes, who answers. To add a path: a line in routes.c. */
#ifndef SPATE_SERVER_ROUTES_H
#define SPATE_SERVER_ROUTES_H

#include "http/http_request.h"
#include "server/request_fields.h"
#include "server/server_state.h"

enum method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_OPTIONS, METHOD_OTHER, METHOD_COUNT };
enum { ROUTE_COUNT = 30, ROUTE_NONE = ROUTE_COUNT };

enum route_access {
  ROUTE_KEYED, /* asks for an API key, where the server has any */
  ROUTE_OPEN,  /* asks for none */
  ROUTE_ADMIN, /* asks for an admin key, and is for nobody where the server has none */
};

struct route {
  const char *path; /* what follows a "{" stands for any text */
  unsigned methods; /* bits of 1 << enum method; OPTIONS is always answered */
  enum route_access access;
  const char *summary, *content_type; /* of what GET or POST returns, for /openapi.json */
  void (*handle)(struct server *server, struct http_request *request);
  enum request_kind kind;  /* of routes that generate; 0: none */
  const char *body_schema; /* of POST, as JSON, where the table of fields does not tell it */
  const char *answer;      /* the object of answer_table.c that it answers with; NULL: no JSON of ours */
};

extern const struct route routes[ROUTE_COUNT];

/* An index into routes, or ROUTE_NONE. */
int route_find(struct slice path);

enum method http_method_find(struct slice name);
const char *method_name(enum method method); /* "other" for METHOD_OTHER */

/* The head has come: refuses what has no route or no key, or returns the largest body to take. */
size_t route_check(const struct server *server, struct http_request *request);

/* The body has come. */
void route_handle(struct server *server, struct http_request *request);

#endif
