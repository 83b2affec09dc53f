/* Adapters over HTTP: POST /v1/load_lora_adapter and POST /v1/unload_lora_adapter, and the rows of /v1/models. */
#ifndef SPATE_SERVER_ADAPTERS_H
#define SPATE_SERVER_ADAPTERS_H

#include "base/buffer.h"
#include "http/http_request.h"
#include "server/server_state.h"

void adapter_load_handle(struct server *server, struct http_request *request);
void adapter_unload_handle(struct server *server, struct http_request *request);

/* One object of /v1/models: an adapter's, or the engine's own for NULL. */
void model_write(const struct served_engine *served, const char *adapter, struct buffer *page);

/* Appends a comma and an object for each adapter that requests may name, up to LIMIT_ADAPTERS_TOLD. */
void adapters_write(const struct served_engine *served, struct buffer *page);

#endif
