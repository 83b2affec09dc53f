#include "server/admin.h"

#include "base/json.h"
#include "base/limits.h"
#include "http/http_query.h"
#include "http/http_server.h"
#include "server/reply.h"
#include "server/server_loop.h"

#include <string.h>

enum { STATE_MAX = 1024, SLEEP_WAIT_SECONDS = 600 };

static void order_give(struct server *server, struct http_request *request, struct slot_order *order) {
  struct error error;
  order->loop = server_loop_index(request->loop);
  order->http_id = request->id;
  if (engine_slot_order(server->slot, order, &error)) return;
  if (error.code == ERROR_BUSY)
    reply_error(request, 409, "Retry-After: 1\r\n", error.text);
  else
    reply_engine_error(request, (spate_code)error.code, error.text);
}

void admin_answer(struct http_loop *loop, const struct slot_result *result) {
  struct http_request *request = http_find(loop, result->http_id);
  struct buffer page;
  if (!request) return;
  if (result->error.code) {
    reply_engine_error(request, (spate_code)result->error.code, result->error.text);
    return;
  }
  buffer_init(&page, STATE_MAX);
  buffer_print(&page, "{\"status\":\"%s\",\"generation\":%d,\"seconds\":%.3f}", result->asleep ? "asleep" : "serving",
               result->generation, result->seconds);
  http_respond(request, 200, JSON_CONTENT_TYPE, NULL, buffer_slice(&page));
  buffer_release(&page);
}

/* --- /admin/reload --------------------------------------------------------------------------------------------------
 */

/* {} or {"model": name}; nothing is as good as {}. */
static bool reload_read(struct slice body, struct slot_order *order, struct error *error) {
  if (body.size == 0) return true;
  json_t *root = json_parse_client(body, false, error);
  if (!root) return false;
  const json_t *model = json_object_get(root, "model");
  size_t size = json_string_length(model);
  bool known = json_is_object(root) && json_object_size(root) == (model ? 1u : 0u);
  bool named = !model || (json_is_string(model) && size > 0 && size < sizeof order->model &&
                          strlen(json_string_value(model)) == size);
  if (known && named && model) memcpy(order->model, json_string_value(model), size + 1);
  json_decref(root);
  if (!known)
    return error_set(error, ERROR_INVALID, "The body must be a JSON object with nothing but model in it, or empty.");
  return named || error_set(error, ERROR_INVALID, "model must be a file's name of 1 to %d bytes.", SLOT_MODEL_MAX - 1);
}

void reload_handle(struct server *server, struct http_request *request) {
  struct slot_order order = {.action = SLOT_RELOAD};
  struct error error;
  if (reload_read(request->body, &order, &error))
    order_give(server, request, &order);
  else
    reply_error(request, 400, NULL, error.text);
}

/* --- /sleep and /wake_up --------------------------------------------------------------------------------------------
 */

/* Whole seconds. */
static bool seconds_read(struct slice text, int32_t *seconds) {
  int64_t value = 0;
  for (size_t i = 0; i < text.size && value <= LIMIT_TIMEOUT_SECONDS; i++) {
    if (text.data[i] < '0' || text.data[i] > '9') return false;
    value = value * 10 + (text.data[i] - '0');
  }
  *seconds = (int32_t)value;
  return text.size > 0 && value <= LIMIT_TIMEOUT_SECONDS;
}

/* vLLM's parameters, and how long answers may take to end: of level 1 the weights stay in the machine's memory, of
 * level 2 they do not. Here they are the engine file's pages, which the system keeps for as long as it has room,
 * whatever is asked. */
static bool sleep_read(struct slice query, struct slot_order *order, struct error *error) {
  struct slice name, value;
  while (http_query_next(&query, &name, &value)) {
    bool abort = slice_is(value, "abort");
    if (slice_is(name, "level") && (slice_is(value, "1") || slice_is(value, "2"))) continue;
    if (slice_is(name, "mode") && (abort || slice_is(value, "wait"))) {
      order->abort = abort;
      continue;
    }
    if (slice_is(name, "timeout_s") && seconds_read(value, &order->wait_s)) continue;
    return error_set(error, ERROR_INVALID,
                     "The query has %.*s=%.*s, expected level=1, level=2, mode=wait, mode=abort or timeout_s=0 to %d.",
                     SLICE_ARGS(name), SLICE_ARGS(value), LIMIT_TIMEOUT_SECONDS);
  }
  return true;
}

void sleep_handle(struct server *server, struct http_request *request) {
  struct slot_order order = {.action = SLOT_SLEEP, .wait_s = SLEEP_WAIT_SECONDS};
  struct error error;
  if (sleep_read(request->head.query, &order, &error))
    order_give(server, request, &order);
  else
    reply_error(request, 400, NULL, error.text);
}

void wake_handle(struct server *server, struct http_request *request) {
  struct slot_order order = {.action = SLOT_WAKE};
  order_give(server, request, &order);
}

void is_sleeping_handle(struct server *server, struct http_request *request) {
  bool asleep = engine_slot_asleep(server->slot);
  http_respond(request, 200, JSON_CONTENT_TYPE, NULL,
               slice_text(asleep ? "{\"is_sleeping\":true}" : "{\"is_sleeping\":false}"));
}
