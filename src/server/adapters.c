/* Loading reads a file, and may wait for others, so it is done beside the loops in a thread of its own: a job takes
 * names, work makes a sentence of them, the loop tells whoever is still there. */
#include "server/adapters.h"

#include "base/json.h"
#include "base/limits.h"
#include "http/http_server.h"
#include "server/reply.h"
#include "server/server_loop.h"

#include <limits.h>
#include <stdlib.h>

/* --- /v1/models ----------------------------------------------------------------------------------------------------
 */

void model_write(const struct served_engine *served, const char *adapter, struct buffer *page) {
  buffer_text(page, "{\"id\":");
  json_write_string(page, slice_text(adapter ? adapter : served->info.name));
  buffer_print(page, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"spate\",\"parent\":",
               (long long)served->info.created);
  if (adapter)
    json_write_string(page, slice_text(served->info.name));
  else
    buffer_text(page, "null");
  buffer_print(page, ",\"max_model_len\":%d}", served->info.max_seq_len);
}

struct listing {
  const struct served_engine *served;
  struct buffer *page;
};

static void adapter_write(void *user, const char *name) {
  const struct listing *listing = user;
  buffer_text(listing->page, ",");
  model_write(listing->served, name, listing->page);
}

void adapters_write(const struct served_engine *served, struct buffer *page) {
  struct listing listing = {served, page};
  spate_lora_list(served->engine, LIMIT_ADAPTERS_TOLD, adapter_write, &listing);
}

/* --- jobs ----------------------------------------------------------------------------------------------------------
 */

struct adapter_job {
  struct server *server;
  struct served_engine *served; /* held */
  uint64_t http_id;
  bool loads;
  char name[LIMIT_ADAPTER_NAME_BYTES + 2], path[PATH_MAX]; /* a name that is too long is told to be */
  bool done;
  spate_error error;
};

static void job_work(void *argument) {
  struct adapter_job *job = argument;
  spate_engine *engine = job->served->engine;
  job->done = job->loads ? spate_lora_load(engine, job->name, job->path, &job->error)
                         : spate_lora_unload(engine, job->name, &job->error);
}

static void done_tell(const struct adapter_job *job, struct http_request *request) {
  struct buffer page;
  buffer_init(&page, LIMIT_BODY_BYTES);
  buffer_print(&page, "{\"status\":\"%s\",\"lora_name\":", job->loads ? "loaded" : "unloaded");
  json_write_string(&page, slice_text(job->name));
  buffer_text(&page, "}");
  http_respond(request, 200, JSON_CONTENT_TYPE, NULL, buffer_slice(&page));
  buffer_release(&page);
}

/* What is wrong with an adapter is wrong with what was asked for. */
static void failure_tell(const struct adapter_job *job, struct http_request *request) {
  spate_code code = job->error.code;
  if (code == SPATE_FORMAT || code == SPATE_IO || code == SPATE_UNSUPPORTED || code == SPATE_LIMIT)
    reply_field_error(request, 400, "lora_path", job->error.text);
  else
    reply_engine_error(request, code, job->error.text);
}

static void job_done(struct http_loop *loop, void *argument) {
  struct adapter_job *job = argument;
  struct http_request *request = http_find(loop, job->http_id);
  if (request && job->done) done_tell(job, request);
  if (request && !job->done) failure_tell(job, request);
  engine_slot_drop(job->server->slot, job->served);
  free(job);
}

/* A text of 1 to size − 1 bytes without U+0000. */
static bool text_read(const json_t *root, const char *name, char *out, size_t size) {
  const json_t *value = json_object_get(root, name);
  size_t length = json_string_length(value);
  if (!json_is_string(value) || length < 1 || length >= size || strlen(json_string_value(value)) != length)
    return false;
  memcpy(out, json_string_value(value), length + 1);
  return true;
}

/* Other members are other servers'. False after saying what is wrong. */
static bool body_read(struct adapter_job *job, struct http_request *request) {
  struct error error;
  json_t *root = json_parse_client(request->body, false, &error);
  const char *field = NULL;
  if (!json_is_object(root))
    error_set(&error, ERROR_INVALID, "The body must be a JSON object with lora_name%s.",
              job->loads ? " and lora_path" : "");
  else if (!text_read(root, field = "lora_name", job->name, sizeof job->name))
    error_set(&error, ERROR_INVALID, "lora_name must be a string of 1 to %d bytes.", LIMIT_ADAPTER_NAME_BYTES);
  else if (job->loads && !text_read(root, field = "lora_path", job->path, sizeof job->path))
    error_set(&error, ERROR_INVALID, "lora_path must be a string of 1 to %d bytes.", PATH_MAX - 1);
  else
    field = "";
  bool read = field && !*field;
  if (!read) reply_field_error(request, 400, field, error.text);
  json_decref(root);
  return read;
}

static void job_start(struct server *server, struct http_request *request, bool loads) {
  struct served_engine *served = server_loop_engine(request);
  struct adapter_job *job = served ? calloc(1, sizeof *job) : NULL;
  if (job) {
    *job = (struct adapter_job){.server = server, .served = served, .http_id = request->id, .loads = loads};
    if (!body_read(job, request)) {
      free(job);
      return;
    }
    engine_slot_hold(server->slot, served);
    if (http_loop_work_alone(request->loop, job_work, job_done, job)) return;
    engine_slot_drop(server->slot, served);
    free(job);
  }
  if (served)
    reply_engine_error(request, SPATE_BUSY, "Too many adapters are being loaded by request: try again later.");
}

void adapter_load_handle(struct server *server, struct http_request *request) { job_start(server, request, true); }

void adapter_unload_handle(struct server *server, struct http_request *request) { job_start(server, request, false); }
