/* Addresses are found where the engine looks for images: in image_data, or in the parts of messages. */
#include "server/media_job.h"

#include "base/clock.h"
#include "base/json.h"
#include "server/reply.h"
#include "server/server_loop.h"

#include <assert.h>
#include <stdlib.h>

struct media_job {
  struct server *server;
  uint64_t http_id;
  enum request_kind kind;
  int loop, tenant;
  media_continue go_on;
  struct media_fetch fetch;
  struct http_body body; /* counted in media_bytes */
  struct error error;
  struct media_job **place, *next; /* in the server's list */
};

/* --- addresses ---------------------------------------------------------------------------------------------------- */

static bool part_is_image(const json_t *part) {
  const json_t *type = json_object_get(part, "type");
  return json_is_string(type) && (slice_is(json_slice(type), "image_url") || slice_is(json_slice(type), "input_image"));
}

/* The URL of a part of a message; empty: it is no image. */
static struct slice part_url(const json_t *part) {
  const json_t *url = part_is_image(part) ? json_object_get(part, "image_url") : NULL;
  if (json_is_object(url)) url = json_object_get(url, "url");
  return json_is_string(url) ? json_slice(url) : slice_text("");
}

struct addresses {
  struct slice text[LIMIT_REQUEST_IMAGES];
  int n, n_image; /* n_image: those that were sent as they are included; more than there is room for are too many */
};

static void address_add(struct addresses *found, struct slice text) {
  found->n_image += text.size > 0;
  if (media_is_address(text) && found->n < LIMIT_REQUEST_IMAGES) found->text[found->n++] = text;
}

static void addresses_find(const struct generate_request *wanted, struct addresses *found) {
  const json_t *messages = wanted->kind == REQUEST_CHAT ? json_object_get(wanted->json, "messages") : NULL;
  found->n = found->n_image = 0;
  for (int i = 0; i < wanted->engine.n_images; i++)
    address_add(found, slice_make(wanted->engine.images[i].data, wanted->engine.images[i].size));
  for (size_t i = 0; i < json_array_size(messages); i++) {
    const json_t *content = json_object_get(json_array_get(messages, i), "content");
    for (size_t k = 0; k < json_array_size(content); k++) address_add(found, part_url(json_array_get(content, k)));
  }
}

bool media_job_needed(const struct server *server, const struct generate_request *wanted) {
  struct addresses found;
  if (!server->media) return false;
  addresses_find(wanted, &found);
  return found.n > 0;
}

static spate_image image_of(const struct media_image *image) {
  return (spate_image){.data = image->bytes.data ? image->bytes.data : "", .size = image->bytes.size};
}

/* Of /generate, where other images stand between them. */
static void images_place(const struct media_fetch *fetch, const spate_request *given, spate_image *images) {
  int next = 0;
  for (int i = 0; i < given->n_images; i++) {
    const spate_image *image = &given->images[i];
    bool fetched = next < fetch->n && media_is_address(slice_make(image->data, image->size));
    images[i] = fetched ? image_of(&fetch->image[next++]) : *image;
  }
}

/* What the fetch has left of the request's own time; 0 would be no limit. */
static void timeout_shorten(const struct media_fetch *fetch, spate_request *engine) {
  double left = (double)engine->timeout_s - (double)(clock_us() - fetch->begun_us) * 1e-6;
  if (engine->timeout_s > 0) engine->timeout_s = (float)(left > 1e-3 ? left : 1e-3);
}

bool media_job_place(const struct media_job *job, struct generate_request *wanted) {
  const struct media_fetch *fetch = &job->fetch;
  bool chat = wanted->kind == REQUEST_CHAT;
  int n = chat ? fetch->n : wanted->engine.n_images;
  spate_image *images = arena_array(&wanted->lists, (size_t)n, sizeof *images);
  if (!images) return false;
  for (int i = 0; chat && i < n; i++) images[i] = image_of(&fetch->image[i]);
  if (!chat) images_place(fetch, &wanted->engine, images);
  timeout_shorten(fetch, &wanted->engine);
  wanted->engine.images = images;
  wanted->engine.n_images = n;
  return true;
}

/* --- the server's list -------------------------------------------------------------------------------------------- */

static void job_enter(struct media_job *job) {
  struct server *server = job->server;
  pthread_mutex_lock(&server->media_lock);
  job->next = server->media_jobs;
  job->place = &server->media_jobs;
  if (job->next) job->next->place = &job->next;
  server->media_jobs = job;
  pthread_mutex_unlock(&server->media_lock);
  atomic_fetch_add(&server->running, 1);
}

static void job_leave(struct media_job *job) {
  struct server *server = job->server;
  pthread_mutex_lock(&server->media_lock);
  *job->place = job->next;
  if (job->next) job->next->place = job->place;
  pthread_mutex_unlock(&server->media_lock);
}

void media_job_cancel(struct server *server, uint64_t http_id) {
  pthread_mutex_lock(&server->media_lock);
  for (struct media_job *job = server->media_jobs; job; job = job->next)
    if (job->http_id == http_id || http_id == 0) atomic_store(&job->fetch.cancelled, true);
  pthread_mutex_unlock(&server->media_lock);
}

/* --- jobs --------------------------------------------------------------------------------------------------------- */

static const char *field_of(enum request_kind kind) { return kind == REQUEST_CHAT ? "messages" : "image_data"; }

static void job_free(struct media_job *job) {
  media_fetch_release(&job->fetch);
  atomic_fetch_sub(&job->server->media_bytes, job->body.bytes.size);
  http_body_release(&job->body);
  free(job->fetch.image);
  free(job);
}

struct slice media_job_body(const struct media_job *job) {
  return buffer_slice(&job->body.bytes);
}

enum request_kind media_job_kind(const struct media_job *job) { return job->kind; }

void media_job_end(struct media_job *job) {
  struct server *server = job->server;
  job_leave(job);
  job_free(job);
  atomic_fetch_sub(&server->running, 1); /* last: a server that ends waits for what runs */
}

static void job_work(void *argument) {
  struct media_job *job = argument;
  media_fetch_run(&job->fetch, &job->error);
}

static void refusal_tell(const struct media_job *job, struct http_request *request) {
  const struct error *error = &job->error;
  struct error told = *error;
  if (job->fetch.n > 1 && job->fetch.failed >= 0)
    error_prefix(&told, "Image %d of %d: ", job->fetch.failed + 1, job->fetch.n);
  if (error->code == ERROR_INVALID || error->code == ERROR_LIMIT)
    reply_field_error(request, 400, field_of(job->kind), told.text);
  else
    reply_engine_error(request, (spate_code)error->code, told.text);
}

static void job_done(struct http_loop *loop, void *argument) {
  struct media_job *job = argument;
  struct http_request *request = http_find(loop, job->http_id);
  if (!job->error.code && atomic_load(&job->fetch.cancelled))
    error_set(&job->error, ERROR_CANCELLED, "The request was cancelled.");
  bool fetched = job->error.code == ERROR_NONE;
  http_metrics_fetched(&job->server->metrics, fetched, job->fetch.n);
  if (request && fetched) {
    job->go_on(job->server, request, job);
    return;
  }
  if (request) refusal_tell(job, request);
  media_job_end(job);
}

/* Reads the addresses; false with a sentence. */
static bool addresses_read(struct media_job *job, const struct addresses *found) {
  struct media_fetch *fetch = &job->fetch;
  for (int i = 0; i < found->n; i++) {
    fetch->failed = i;
    if (!media_rules_check(fetch->rules, found->text[i], &fetch->image[i].url, &job->error)) return false;
  }
  return true;
}

static struct media_job *job_new(struct server *server, const struct http_request *request,
                                 const struct generate_request *wanted, const struct addresses *found) {
  assert(found->n > 0);
  struct media_job *job = calloc(1, sizeof *job);
  struct media_image *images = job ? calloc((size_t)found->n, sizeof *images) : NULL;
  if (!images) {
    free(job);
    return NULL;
  }
  job->server = server;
  job->http_id = request->id;
  job->kind = wanted->kind;
  job->loop = server_loop_index(request->loop);
  job->tenant = access_check(&server->access, http_request_header(request, "authorization"));
  job->fetch = (struct media_fetch){
      .rules = server->media, .image = images, .n = found->n, .failed = -1, .bytes_of_all = &server->media_bytes};
  job->fetch.begun_us = clock_us();
  job->fetch.timeout_s = wanted->engine.timeout_s;
  return job;
}

/* It may take long, and the room of bodies that arrive is wanted: this one counts among what is fetched. */
static void body_keep(struct media_job *job, struct http_body *body) {
  job->body = *body;
  *body = (struct http_body){0};
  http_body_discount(&job->body);
  atomic_fetch_add(&job->server->media_bytes, job->body.bytes.size);
}

/* Of a loop's places a tenant has no more than it leaves to others, where there are others (Choudhury and Hahne,
 * Dynamic Queue Length Thresholds, 1998): whoever comes finds one, however many somebody else asks for. */
static bool place_is_free(struct server *server, const struct media_job *job) {
  int own = 0, all = 0;
  pthread_mutex_lock(&server->media_lock);
  for (const struct media_job *other = server->media_jobs; other; other = other->next) {
    all += other->loop == job->loop;
    own += other->loop == job->loop && other->tenant == job->tenant;
  }
  pthread_mutex_unlock(&server->media_lock);
  return all < LIMIT_LOOP_THREADS && (server->access.n_key < 2 || own < LIMIT_LOOP_THREADS - all);
}

/* False with a sentence, before anything is asked for. */
static bool may_begin(const struct server *server, const struct served_engine *served, const struct addresses *found,
                      size_t body, struct error *error) {
  spate_error blind;
  if (!spate_sees_images(served->engine, found->n_image, &blind))
    return error_set(error, (enum error_code)blind.code, "%s", blind.text);
  return atomic_load(&server->media_bytes) + body <= LIMIT_FETCHED_BYTES ||
         error_set(error, ERROR_BUSY, "Too many images are being fetched: try again later.");
}

/* Answers where it does not begin. */
static void job_begin(struct media_job *job, struct http_request *request, const struct addresses *found) {
  bool free_place = place_is_free(job->server, job);
  job_enter(job);
  if (!addresses_read(job, found))
    refusal_tell(job, request);
  else if (free_place && http_loop_work_alone(request->loop, job_work, job_done, job))
    return;
  else
    reply_engine_error(request, SPATE_BUSY, "Too many requests have images fetched: try again later.");
  media_job_end(job);
}

void media_job_begin(struct server *server, struct http_request *request, const struct generate_request *wanted,
                     struct http_body *body, media_continue go_on) {
  struct addresses found;
  struct error error = {ERROR_MEMORY, "Out of memory for a request."};
  const struct served_engine *served = server_loop_engine(request);
  addresses_find(wanted, &found);
  struct media_job *job = served && may_begin(server, served, &found, body->bytes.size, &error)
                              ? job_new(server, request, wanted, &found)
                              : NULL;
  if (job) {
    job->go_on = go_on;
    body_keep(job, body);
    job_begin(job, request, &found);
    return;
  }
  if (served) reply_engine_error(request, (spate_code)error.code, error.text);
  http_body_release(body);
}
