/* The paths that are answered at once: health and readiness, /version, /v1/models, /metrics, /openapi.json. */
#ifndef SPATE_SERVER_PAGES_H
#define SPATE_SERVER_PAGES_H

#include "http/http_request.h"
#include "server/server_state.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

void health_handle(struct server *server, struct http_request *request);
void live_handle(struct server *server, struct http_request *request);
void ready_handle(struct server *server, struct http_request *request);
void version_handle(struct server *server, struct http_request *request);
void models_handle(struct server *server, struct http_request *request);
void model_handle(struct server *server, struct http_request *request);
void metrics_handle(struct server *server, struct http_request *request);
void openapi_handle(struct server *server, struct http_request *request);

#endif
