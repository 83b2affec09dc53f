/* Small answers about the server itself. */
#include "server/pages.h"

#include "base/json.h"
#include "base/limits.h"
#include "server/adapters.h"
#include "server/openapi.h"
#include "server/reply.h"
#include "server/server_loop.h"

enum { PAGE_MAX = 4 << 20 };

/* Answers with a page and releases it. */
static void page_send(struct http_request *request, int status, const char *content_type, struct buffer *page) {
  if (page->failed)
    reply_error(request, 500, NULL, "There is no memory for this page.");
  else
    http_respond(request, status, content_type, NULL, buffer_slice(page));
  buffer_release(page);
}

void health_handle(struct server *server, struct http_request *request) {
  spate_error error;
  struct buffer page;
  buffer_init(&page, PAGE_MAX);
  struct served_engine *served = server_loop_current(request->loop);
  bool healthy = engine_slot_healthy(server->slot, &error);
  buffer_print(&page, "{\"status\":\"%s\",\"generation\":%d",
               !healthy ? "unhealthy"
               : served ? "healthy"
                        : "asleep",
               engine_slot_generation(server->slot, served));
  if (served) {
    buffer_text(&page, ",\"model\":");
    json_write_string(&page, slice_text(served->info.name));
  }
  if (!healthy) {
    buffer_text(&page, ",\"error\":");
    json_write_string(&page, slice_text(error.text));
  }
  buffer_text(&page, "}");
  page_send(request, healthy ? 200 : 503, JSON_CONTENT_TYPE, &page);
}

/* Somebody answers: whether anything else works is for the other two to say. */
void live_handle(struct server *server, struct http_request *request) {
  (void)server;
  http_respond(request, 200, JSON_CONTENT_TYPE, NULL, slice_text("{\"status\":\"live\"}"));
}

/* Whether new requests should come here. */
void ready_handle(struct server *server, struct http_request *request) {
  spate_error error;
  if (atomic_load(&server->draining))
    reply_error(request, 503, NULL, "The server is shutting down: send requests elsewhere.");
  else if (!engine_slot_healthy(server->slot, &error))
    reply_error(request, 503, NULL, error.text);
  else if (server_loop_engine(request))
    http_respond(request, 200, JSON_CONTENT_TYPE, NULL, slice_text("{\"status\":\"ready\"}"));
}

void version_handle(struct server *server, struct http_request *request) {
  (void)server;
  struct buffer page;
  buffer_init(&page, PAGE_MAX);
  buffer_print(&page, "{\"version\":\"%s\"}", spate_version());
  page_send(request, 200, JSON_CONTENT_TYPE, &page);
}

void models_handle(struct server *server, struct http_request *request) {
  (void)server;
  const struct served_engine *served = server_loop_engine(request);
  struct buffer page;
  if (!served) return;
  buffer_init(&page, PAGE_MAX);
  buffer_text(&page, "{\"object\":\"list\",\"data\":[");
  model_write(served, NULL, &page);
  adapters_write(served, &page);
  buffer_text(&page, "]}");
  page_send(request, 200, JSON_CONTENT_TYPE, &page);
}

void model_handle(struct server *server, struct http_request *request) {
  (void)server;
  const struct served_engine *served = server_loop_engine(request);
  static const char prefix[] = "/v1/models/";
  struct slice path = request->head.path;
  struct slice name = slice_make(path.data + sizeof prefix - 1, path.size - (sizeof prefix - 1));
  char adapter[LIMIT_ADAPTER_NAME_BYTES + 1];
  struct buffer page;
  if (!served) return;
  bool is_base = slice_is(name, served->info.name);
  size_t size = !is_base && name.size < sizeof adapter ? name.size : 0;
  memcpy(adapter, name.data, size);
  adapter[size] = '\0';
  if (!is_base && !spate_lora_known(served->engine, adapter)) {
    reply_field_error(request, 404, "model", "There is no such model here: /v1/models names those that are served.");
    return;
  }
  buffer_init(&page, PAGE_MAX);
  model_write(served, is_base ? NULL : adapter, &page);
  page_send(request, 200, JSON_CONTENT_TYPE, &page);
}

static void page_append(void *user, const char *text, size_t size) { buffer_append(user, text, size); }

void metrics_handle(struct server *server, struct http_request *request) {
  struct buffer page;
  buffer_init(&page, PAGE_MAX);
  const struct served_engine *served = server_loop_current(request->loop);
  if (served) spate_metrics(served->engine, page_append, &page);
  engine_slot_metrics(server->slot, served, &page);
  http_metrics_write(&server->metrics, &page);
  trace_metrics_write(server->traces, &page);
  page_send(request, 200, METRICS_CONTENT_TYPE, &page);
}

void openapi_handle(struct server *server, struct http_request *request) {
  struct buffer page;
  buffer_init(&page, PAGE_MAX);
  openapi_write(server->root_path, &page);
  page_send(request, 200, JSON_CONTENT_TYPE, &page);
}
