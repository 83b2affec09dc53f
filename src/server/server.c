/* The server: callbacks of src/http/ tied to the engine of spate.h. */
#include "server/server.h"

#include "base/limits.h"
#include "server/media_job.h"
#include "server/reply.h"
#include "server/request_log.h"
#include "server/routes.h"
#include "server/server_loop.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

enum { KEEP_ALIVE_MAX = 86400 };

static bool on_loop_start(struct http_loop *loop, void *user, struct error *error) {
  return server_loop_start(loop, user, error);
}

static void on_loop_stop(struct http_loop *loop, void *user) {
  (void)user;
  server_loop_stop(loop);
}

/* The path of a request without what a proxy has put before it. */
static struct slice path_strip(struct slice path, struct slice root) {
  bool below = root.size > 0 && path.size > root.size && memcmp(path.data, root.data, root.size) == 0 &&
               path.data[root.size] == '/';
  return below ? slice_make(path.data + root.size, path.size - root.size) : path;
}

static size_t on_head(struct http_request *request, void *user) {
  const struct server *server = user;
  request->head.path = path_strip(request->head.path, server->root_path);
  if (!cors_is_preflight(&server->cors, request)) return route_check(server, request);
  http_respond(request, 204, NULL, NULL, slice_text("")); /* browsers ask without the key */
  return 0;
}

static void on_error_body(struct http_request *request, int status, const char *sentence, struct buffer *out,
                          void *user) {
  (void)user;
  reply_write_error(out, request, status, NULL, sentence);
}

static void on_answer_head(struct http_request *request, struct buffer *out, void *user) {
  const struct server *server = user;
  request_id_write(server, request, out);
  cors_write_headers(&server->cors, request, out);
}

static void on_handle(struct http_request *request, void *user) { route_handle(user, request); }

static void on_drain(struct http_request *request, void *user) {
  (void)user;
  server_loop_drain(request);
}

static void on_close(struct http_request *request, void *user) {
  media_job_cancel(user, request->id);
  server_loop_close(request);
}

static void on_finish(struct http_request *request, const struct http_summary *summary, void *user) {
  struct server *server = user;
  http_metrics_count(&server->metrics, request, summary);
  request_log(server, request, summary);
}

static const struct http_callbacks callbacks = {
    .loop_start = on_loop_start,
    .loop_stop = on_loop_stop,
    .head = on_head,
    .handle = on_handle,
    .drain = on_drain,
    .close = on_close,
    .error_body = on_error_body,
    .answer_head = on_answer_head,
    .finish = on_finish,
};

static struct http_options http_options_of(const struct server_options *options) {
  struct http_options http = http_options_default();
  if (options->host) http.host = options->host;
  http.port = options->port;
  if (options->workers) http.loops = options->workers;
  http.keep_alive_ms = options->keep_alive * 1000;
  http.unix_path = options->uds;
  http.tls_certificate = options->tls_cert;
  http.tls_key = options->tls_key;
  http.max_per_peer = options->max_per_address;
  if (options->limit_concurrency) http.max_connections = options->limit_concurrency;
  return http;
}

static bool root_path_check(const char *path, struct error *error) {
  size_t size = path ? strlen(path) : 0;
  if (size == 0 || (path[0] == '/' && path[size - 1] != '/' && size <= LIMIT_URL_BYTES)) return true;
  return error_set(error, ERROR_INVALID,
                   "--root-path is \"%.100s\", expected a path such as /api, without a / at its end.", path);
}

static bool options_check(const struct server_options *options, struct error *error) {
  if (options->keep_alive < 0 || options->keep_alive > KEEP_ALIVE_MAX)
    return error_set(error, ERROR_INVALID, "The keep-alive time is %d seconds, expected 0 to %d.", options->keep_alive,
                     KEEP_ALIVE_MAX);
  if (options->limit_concurrency < 0)
    return error_set(error, ERROR_INVALID, "The limit of connections is %d, expected 1 or more.",
                     options->limit_concurrency);
  return root_path_check(options->root_path, error) && cors_check(&options->cors, error);
}

static bool media_start(struct server *server, const struct media_options *options, struct error *error) {
  struct error problem = {0};
  pthread_mutex_init(&server->media_lock, NULL);
  server->media = media_rules_open(options, &problem);
  if (problem.code) *error = problem;
  return !problem.code;
}

static bool server_start(struct server *server, const struct server_options *options, struct error *error) {
  if (!options_check(options, error) || !media_start(server, &options->media, error) ||
      !access_init(&server->access, options->api_keys, options->min_priorities, error) ||
      !access_init(&server->admin, options->admin_keys, NULL, error))
    return false;
  server->cors = options->cors;
  server->root_path = slice_text(options->root_path ? options->root_path : "");
  server->log_prompts = options->log_prompts;
  http_metrics_init(&server->metrics);
  const char *traces = options->otlp_traces_endpoint;
  if (traces && !(server->traces = trace_export_open(traces, error))) return false;
  if (getrandom(&server->nonce, sizeof server->nonce, 0) < 0) server->nonce = 0; /* ids need not be secret */
  struct http_options http = http_options_of(options);
  server->http = http_server_open(&http, &callbacks, server, error);
  return server->http != NULL;
}

static bool slot_start(struct server *server, spate_engine *engine, const spate_open_options *again,
                       const struct server_options *options, struct error *error) {
  server->slot = engine_slot_open(engine, again, options->reload_folder, error);
  return server->slot && server_start(server, options, error);
}

struct server *server_open(spate_engine *engine, const spate_open_options *again, const struct server_options *options,
                           spate_error *error) {
  struct error detail = {ERROR_MEMORY, "Out of memory for the server."};
  struct server *server = calloc(1, sizeof *server);
  if (!server) spate_close(engine);
  if (server && slot_start(server, engine, again, options, &detail)) return server;
  if (server) trace_export_close(server->traces);
  if (server) engine_slot_close(server->slot);
  if (server) media_rules_free(server->media);
  free(server);
  error->code = (spate_code)detail.code; /* the same list */
  memcpy(error->text, detail.text, sizeof error->text);
  return NULL;
}

int server_port(const struct server *server) { return http_server_port(server->http); }

int server_connections(const struct server *server) { return http_server_connections(server->http); }

void server_refuse(struct server *server) { atomic_store(&server->draining, true); }

int server_running(const struct server *server) { return atomic_load(&server->running); }

bool server_work(const struct server *server, struct http_request *request, enum server_work kind,
                 void (*work)(void *argument), void (*done)(struct http_loop *loop, void *argument), void *argument) {
  static_assert(ACCESS_KEYS * SERVER_WORKS <= HTTP_TURNS, "each key's works have turns of their own");
  int key = access_check(&server->access, http_request_header(request, "authorization"));
  return key >= 0 && http_request_work(request, key * SERVER_WORKS + (int)kind, work, done, argument);
}

bool server_healthy(struct server *server, spate_error *error) { return engine_slot_healthy(server->slot, error); }

bool server_reload(struct server *server, spate_error *error) {
  struct slot_order order = {.action = SLOT_RELOAD, .loop = SLOT_NO_LOOP};
  struct error detail;
  if (engine_slot_order(server->slot, &order, &detail)) return true;
  error->code = (spate_code)detail.code;
  memcpy(error->text, detail.text, sizeof error->text);
  return false;
}

bool server_reloading(struct server *server) { return engine_slot_busy(server->slot); }

void server_cancel(struct server *server) {
  media_job_cancel(server, 0);
  engine_slot_cancel(server->slot);
}

void server_drain(struct server *server, int deadline_ms) {
  server_refuse(server);
  http_server_drain(server->http, deadline_ms);
}

void server_join(struct server *server) { http_server_join(server->http); }

void server_close(struct server *server) {
  if (!server) return;
  http_server_close(server->http);
  engine_slot_close(server->slot);
  trace_export_close(server->traces);
  media_rules_free(server->media);
  free(server);
}
