/* A loop of its own for a request: it ends with the last image, the first that fails, or the time. */
#include "server/media_fetch.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { TICK_MS = 50, TYPE_SHOWN = 64 };

static const char accept_types[] = "image/jpeg, image/png, image/webp";

struct run;

struct pull { /* of one image */
  struct run *run;
  int index;
  struct http_client *client;
  struct http_exchange *exchange; /* NULL: it has not begun, or has ended */
};

struct run {
  struct media_fetch *fetch;
  struct error *error;
  uv_loop_t loop;
  uv_timer_t tick;
  uint64_t end_ms; /* on the loop's clock */
  struct pull pull[LIMIT_REQUEST_IMAGES];
  int n_begun, n_open; /* n_open: under way */
  bool over;
};

/* --- ends --------------------------------------------------------------------------------------------------------- */

/* Closes what is open, so that the loop ends. */
static void run_end(struct run *run) {
  if (run->over) return;
  run->over = true;
  for (int i = 0; i < run->n_begun; i++) {
    struct pull *pull = &run->pull[i];
    if (pull->exchange) http_exchange_cancel(pull->exchange);
    pull->exchange = NULL;
    if (pull->client) http_client_close(pull->client);
  }
  uv_close((uv_handle_t *)&run->tick, NULL);
}

/* The sentence has been set: of this image. */
static void pull_fail(struct pull *pull) {
  pull->run->fetch->failed = pull->index;
  run_end(pull->run);
}

static const char *host_of(const struct pull *pull) { return pull->run->fetch->image[pull->index].url.authority; }

/* --- what comes --------------------------------------------------------------------------------------------------- */

/* What stores of files say of images whose type they were not told is taken for one; the decoder looks at the bytes. */
static bool type_is_image(const char *type) {
  static const char *const types[] = {"image/", "application/octet-stream", "binary/octet-stream"};
  bool fits = !*type;
  for (size_t i = 0; i < sizeof types / sizeof *types && !fits; i++)
    fits = strncasecmp(type, types[i], strlen(types[i])) == 0;
  return fits;
}

/* What a server says of a type, as far as it is safe to repeat. */
static void type_shorten(const char *type, char out[TYPE_SHOWN]) {
  size_t size = strspn(type, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+.-");
  snprintf(out, TYPE_SHOWN, "%.*s", (int)(size < TYPE_SHOWN ? size : TYPE_SHOWN - 1), type);
}

static void on_head(void *user, int status, const char *type) {
  struct pull *pull = user;
  struct error *error = pull->run->error;
  char shown[TYPE_SHOWN];
  type_shorten(type, shown);
  if (status / 100 == 3)
    error_set(
        error, ERROR_INVALID,
        "%s answered with status %d, which leads elsewhere, and redirects are not followed: send the address that "
        "they end at.",
        host_of(pull), status);
  else if (status != 200)
    error_set(error, ERROR_INVALID, "%s answered with status %d, expected 200 and an image.", host_of(pull), status);
  else if (!type_is_image(type))
    error_set(error, ERROR_INVALID, "%s sent \"%s\", expected an image.", host_of(pull), shown);
  else
    return;
  pull_fail(pull);
}

/* Counts bytes that are about to be kept. */
static bool bytes_charge(struct media_fetch *fetch, size_t size) {
  if (atomic_fetch_add(fetch->bytes_of_all, size) + size <= LIMIT_FETCHED_BYTES) return true;
  atomic_fetch_sub(fetch->bytes_of_all, size);
  return false;
}

static void on_body(void *user, struct slice bytes) {
  struct pull *pull = user;
  struct media_fetch *fetch = pull->run->fetch;
  struct buffer *kept = &fetch->image[pull->index].bytes;
  size_t together = bytes.size;
  for (int i = 0; i < fetch->n; i++) together += fetch->image[i].bytes.size;
  if (kept->size + bytes.size > LIMIT_IMAGE_BYTES) {
    error_set(pull->run->error, ERROR_LIMIT, "The image of %s has more than %d MiB: make it smaller.", host_of(pull),
              LIMIT_IMAGE_BYTES >> 20);
  } else if (together > LIMIT_IMAGE_BODY_BYTES) {
    error_set(pull->run->error, ERROR_LIMIT, "The images of the request have more than %d MiB together: send fewer.",
              LIMIT_IMAGE_BODY_BYTES >> 20);
  } else if (!bytes_charge(fetch, bytes.size)) {
    error_set(pull->run->error, ERROR_BUSY, "Too many images are being fetched: try again later.");
  } else if (!buffer_append(kept, bytes.data, bytes.size)) {
    atomic_fetch_sub(fetch->bytes_of_all, bytes.size);
    error_set(pull->run->error, ERROR_MEMORY, "There is no memory for an image of %s.", host_of(pull));
  } else {
    return;
  }
  pull_fail(pull);
}

static void next_begin(struct run *run);

static void on_end(void *user, enum http_end end, const char *sentence) {
  struct pull *pull = user;
  struct run *run = pull->run;
  pull->exchange = NULL;
  run->n_open--;
  if (run->over) return;
  if (end != HTTP_END_DONE) {
    error_set(run->error, ERROR_INVALID, "%s", sentence);
    pull_fail(pull);
    return;
  }
  http_client_close(pull->client);
  next_begin(run);
  if (run->n_open == 0) run_end(run);
}

/* --- what goes ---------------------------------------------------------------------------------------------------- */

static bool client_open(struct pull *pull, const struct http_url *url) {
  static const struct http_client_callbacks callbacks = {.head = on_head, .body = on_body, .end = on_end};
  const struct media_rules *rules = pull->run->fetch->rules;
  char origin[sizeof url->authority + 16];
  const struct http_client_options options = {
      .url = origin, .look_ups = HTTP_LOOK_UP_EACH, .tls = rules->tls, .guard = &rules->guard};
  snprintf(origin, sizeof origin, "%s://%s", url->tls ? "https" : "http", url->authority);
  pull->client = http_client_open(&pull->run->loop, &options, &callbacks, pull->run->error);
  return pull->client != NULL;
}

/* As many as may be at once. What fails at once ends the run. */
static void next_begin(struct run *run) {
  struct media_fetch *fetch = run->fetch;
  while (!run->over && run->n_begun < fetch->n && run->n_open < LIMIT_FETCHES_AT_ONCE) {
    struct pull *pull = &run->pull[run->n_begun];
    const struct http_url *url = &fetch->image[run->n_begun].url;
    *pull = (struct pull){.run = run, .index = run->n_begun++};
    if (!client_open(pull, url)) {
      pull_fail(pull);
      return;
    }
    run->n_open++;
    struct http_exchange *exchange = http_client_get(pull->client, url->target, accept_types, NULL, pull);
    if (exchange) pull->exchange = exchange;
  }
}

/* The request's own limit. */
static bool is_late(const struct media_fetch *fetch) {
  return fetch->timeout_s > 0 && (double)(clock_us() - fetch->begun_us) * 1e-6 >= (double)fetch->timeout_s;
}

static void on_tick(uv_timer_t *tick) {
  struct run *run = tick->data;
  if (atomic_load(&run->fetch->cancelled))
    error_set(run->error, ERROR_CANCELLED, "The request was cancelled.");
  else if (is_late(run->fetch))
    error_set(run->error, ERROR_TIMEOUT,
              "The request has taken the %.3g seconds of its timeout_s before its images came.",
              (double)run->fetch->timeout_s);
  else if (uv_now(&run->loop) >= run->end_ms)
    error_set(run->error, ERROR_INVALID,
              "The images did not come within %d seconds: send their bytes as data:image/png;"
              "base64,...",
              run->fetch->rules->timeout_s);
  else
    return;
  run->fetch->failed = -1;
  run_end(run);
}

static void run_loop(struct run *run) {
  uv_timer_init(&run->loop, &run->tick);
  run->tick.data = run;
  uv_timer_start(&run->tick, on_tick, TICK_MS, TICK_MS);
  run->end_ms = uv_now(&run->loop) + (uint64_t)run->fetch->rules->timeout_s * 1000;
  next_begin(run);
  uv_run(&run->loop, UV_RUN_DEFAULT);
  for (int i = 0; i < run->n_begun; i++) http_client_free(run->pull[i].client);
  uv_loop_close(&run->loop);
}

bool media_fetch_run(struct media_fetch *fetch, struct error *error) {
  struct run *run = calloc(1, sizeof *run);
  *error = (struct error){0};
  fetch->failed = -1;
  for (int i = 0; i < fetch->n; i++) buffer_init(&fetch->image[i].bytes, LIMIT_IMAGE_BYTES);
  if (run && uv_loop_init(&run->loop) == 0) {
    run->fetch = fetch;
    run->error = error;
    run_loop(run);
  } else {
    error_set(error, ERROR_MEMORY, "The system gives no event loop for fetching images.");
  }
  free(run);
  return !error->code;
}

void media_fetch_release(struct media_fetch *fetch) {
  for (int i = 0; i < fetch->n; i++) {
    atomic_fetch_sub(fetch->bytes_of_all, fetch->image[i].bytes.size);
    buffer_release(&fetch->image[i].bytes);
  }
}
