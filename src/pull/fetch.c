/* Each hop has a loop and a client of its own. */
#include "pull/fetch.h"

#include "http/http_client.h"
#include "hub/hub_headers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { TICK_MS = 100 };

struct hop {
  const struct fetch_context *context;
  const struct http_url *url;
  const struct fetch_sink *sink;
  struct error *error;
  struct fetch_head head;
  enum fetch_end end;
  uv_loop_t loop;
  uv_timer_t tick;
  struct http_client *client;
  struct http_exchange *exchange; /* NULL: it has not begun, or has ended */
  uint64_t heard_ms;              /* on the loop's clock: when the last byte came */
  bool over;
};

/* --- ends --------------------------------------------------------------------------------------------------------- */

/* Closes what is open, so that the loop ends. */
static void hop_end(struct hop *hop, enum fetch_end end) {
  if (hop->over) return;
  hop->over = true;
  hop->end = end;
  if (hop->exchange) http_exchange_cancel(hop->exchange);
  hop->exchange = NULL;
  http_client_close(hop->client);
  uv_close((uv_handle_t *)&hop->tick, NULL);
}

static void on_tick(uv_timer_t *tick) {
  struct hop *hop = tick->data;
  const struct fetch_context *context = hop->context;
  if (context->go_on && !context->go_on(context->user)) {
    error_set(hop->error, ERROR_CANCELLED, "Interrupted.");
    hop_end(hop, FETCH_ENDED);
  } else if (uv_now(&hop->loop) - hop->heard_ms > (uint64_t)context->environment->stall_s * 1000) {
    error_set(hop->error, ERROR_TIMEOUT, "%s has sent nothing for %d seconds.", hop->url->authority,
              context->environment->stall_s);
    hop_end(hop, FETCH_BROKEN);
  }
}

/* --- what comes --------------------------------------------------------------------------------------------------- */

static void text_keep(char *out, size_t room, const char *value) { snprintf(out, room, "%s", value); }

/* What gets into sentences is printable ASCII. */
static void text_clean(char *text) {
  for (char *c = text; *c; c++)
    if (*c < ' ' || *c > '~') *c = '?';
}

#define KEEP(field) text_keep(head->field, sizeof head->field, value)

/* Seconds; dates are passed over. */
static void retry_after_read(struct fetch_head *head, const char *value) {
  uint64_t seconds;
  if (hub_number_read(value, strlen(value), &seconds))
    head->retry_after_s = seconds < LIMIT_HUB_WAIT_SECONDS ? (int)seconds : LIMIT_HUB_WAIT_SECONDS;
}

static void on_header(void *user, const char *name, const char *value) {
  struct fetch_head *head = &((struct hop *)user)->head;
  if (strcasecmp(name, "location") == 0 && strlen(value) < sizeof head->location)
    KEEP(location);
  else if (strcasecmp(name, "link") == 0 && strlen(value) < sizeof head->link)
    KEEP(link);
  else if (strcasecmp(name, "content-range") == 0)
    KEEP(range);
  else if (strcasecmp(name, "content-encoding") == 0)
    KEEP(encoding);
  else if (strcasecmp(name, "x-error-code") == 0)
    KEEP(error_code);
  else if (strcasecmp(name, "x-error-message") == 0)
    KEEP(problem);
  else if (strcasecmp(name, "content-length") == 0)
    hub_number_read(value, strlen(value), &head->length);
  else if (strcasecmp(name, "retry-after") == 0)
    retry_after_read(head, value);
  text_clean(head->range);
  text_clean(head->encoding);
}

static bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void on_head(void *user, int status, const char *content_type) {
  struct hop *hop = user;
  (void)content_type;
  hop->heard_ms = uv_now(&hop->loop);
  hop->head.status = status;
  if (is_redirect(status)) /* what it says itself is of no use */
    hop_end(hop, FETCH_DONE);
  else if (!hop->sink->head(hop->sink->user, &hop->head, hop->error))
    hop_end(hop, FETCH_ENDED);
}

static void on_body(void *user, struct slice bytes) {
  struct hop *hop = user;
  if (!hop->sink->body(hop->sink->user, bytes, hop->error)) hop_end(hop, FETCH_ENDED);
  uv_update_time(&hop->loop); /* a slow disk is not the server's silence */
  hop->heard_ms = uv_now(&hop->loop);
}

static void on_end(void *user, enum http_end end, const char *sentence) {
  struct hop *hop = user;
  hop->exchange = NULL;
  if (end != HTTP_END_DONE && !hop->over) error_set(hop->error, ERROR_IO, "%s", sentence);
  hop_end(hop, end == HTTP_END_DONE ? FETCH_DONE : end == HTTP_END_CUT ? FETCH_BROKEN : FETCH_REFUSED);
}

/* --- what goes ---------------------------------------------------------------------------------------------------- */

static bool client_open(struct hop *hop, struct http_proxy *proxy) {
  static const struct http_client_callbacks callbacks = {on_header, on_head, on_body, on_end};
  const struct pull_environment *environment = hop->context->environment;
  const struct http_url *url = hop->url;
  char origin[sizeof url->authority + 16];
  bool proxied;
  snprintf(origin, sizeof origin, "%s://%s", url->tls ? "https" : "http", url->authority);
  if (!http_proxy_find(&environment->proxies, url, proxy, &proxied, hop->error)) return false;
  const struct http_client_options options = {.url = origin,
                                              .bearer =
                                                  hop->head.of_hub && *environment->token ? environment->token : NULL,
                                              .look_ups = HTTP_LOOK_UP_ONCE,
                                              .tls = hop->context->tls,
                                              .proxy = proxied ? proxy : NULL};
  hop->client = http_client_open(&hop->loop, &options, &callbacks, hop->error);
  return hop->client != NULL;
}

static void hop_begin(struct hop *hop, uint64_t from) {
  char lines[128] = "Accept-Encoding: identity\r\n";
  if (from > 0) snprintf(lines, sizeof lines, "Accept-Encoding: identity\r\nRange: bytes=%" PRIu64 "-\r\n", from);
  uv_timer_init(&hop->loop, &hop->tick);
  hop->tick.data = hop;
  uv_timer_start(&hop->tick, on_tick, TICK_MS, TICK_MS);
  hop->heard_ms = uv_now(&hop->loop);
  struct http_exchange *exchange = http_client_get(hop->client, hop->url->target, "*/*", lines, hop);
  if (exchange) hop->exchange = exchange; /* else on_end has come already */
}

static enum fetch_end hop_run(struct hop *hop, uint64_t from) {
  struct http_proxy proxy;
  hop->end = FETCH_REFUSED;
  if (uv_loop_init(&hop->loop) != 0) {
    error_set(hop->error, ERROR_MEMORY, "The system gives no event loop.");
    return FETCH_REFUSED;
  }
  if (client_open(hop, &proxy)) {
    hop_begin(hop, from);
    uv_run(&hop->loop, UV_RUN_DEFAULT);
    http_client_free(hop->client);
  }
  uv_loop_close(&hop->loop);
  return hop->end;
}

/* --- redirects ---------------------------------------------------------------------------------------------------- */

/* A path that was sealed is not asked for in the open. */
static bool follow(struct http_url *next, const struct hop *hop, struct error *error) {
  const char *location = hop->head.location;
  if (!*location)
    return error_set(error, ERROR_FORMAT, "%s answered with status %d, which leads elsewhere, and not where to.",
                     hop->url->authority, hop->head.status);
  if (!http_url_follow(next, hop->url, location, error))
    return error_prefix(error, "%s leads to an address that cannot be asked for. ", hop->url->authority);
  if (hop->url->tls && !next->tls)
    return error_set(error, ERROR_INVALID, "%s leads from https to http, where anybody could answer.",
                     hop->url->authority);
  return true;
}

static void hop_init(struct hop *hop, const struct fetch_context *context, const struct http_url *url) {
  *hop = (struct hop){.context = context, .url = url};
  hop->head.length = UINT64_MAX;
  hop->head.retry_after_s = -1;
  hop->head.of_hub = http_url_same_origin(url, &context->environment->hub);
  snprintf(hop->head.authority, sizeof hop->head.authority, "%s", url->authority);
}

/* The next hop's address, or why there is none. */
static bool hop_next(const struct hop *hop, int n, struct http_url *at, struct error *error) {
  struct http_url next;
  if (n == LIMIT_HUB_REDIRECTS)
    return error_set(error, ERROR_LIMIT, "%s leads on and on: more than %d redirects.", hop->url->authority,
                     LIMIT_HUB_REDIRECTS);
  if (!follow(&next, hop, error)) return false;
  *at = next;
  return true;
}

enum fetch_end fetch_run(const struct fetch_context *context, const struct http_url *url, uint64_t from,
                         const struct fetch_sink *sink, struct error *error) {
  struct http_url at = *url;
  struct hop *hop = malloc(sizeof *hop);
  enum fetch_end end = FETCH_REFUSED;
  if (!hop) error_set(error, ERROR_MEMORY, "There is no memory for a request.");
  for (int n = 0; hop; n++) {
    hop_init(hop, context, &at);
    hop->sink = sink;
    hop->error = error;
    end = hop_run(hop, from);
    if (end != FETCH_DONE || !is_redirect(hop->head.status)) break;
    end = FETCH_REFUSED;
    if (!hop_next(hop, n, &at, error)) break;
  }
  free(hop);
  return end;
}
