/* Links. libhttp-parser reads what comes. */
#include "http/http_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* --- links -------------------------------------------------------------------------------------------------------- */

static void on_untimed(uv_handle_t *handle) { free(handle->data); }

void http_link_free(struct http_link *link) {
  buffer_release(&link->value);
  tls_session_free(link->tls);
  if (link->timed)
    uv_close((uv_handle_t *)&link->patience, on_untimed);
  else
    free(link);
}

static void on_closed(uv_handle_t *handle) { http_link_free(handle->data); }

void http_link_enter(struct http_link *link, struct http_link **list) {
  link->older = *list;
  link->place = list;
  if (link->older) link->older->place = &link->older;
  *list = link;
}

void http_link_leave(struct http_link *link) {
  if (!link->place) return;
  *link->place = link->older;
  if (link->older) link->older->place = link->place;
  link->older = NULL;
  link->place = NULL;
}

static void link_drop(struct http_link *link) {
  struct http_client *client = link->client;
  free(link);
  http_look_up_end(client);
}

void http_link_close(struct http_link *link) {
  if (link->closing) return;
  http_link_leave(link);
  link->closing = true;
  link->exchange = NULL;
  if (link->timed) uv_timer_stop(&link->patience);
  switch (link->state) {
  case LINK_NEW:
  case LINK_SEEKS: link_drop(link); return;
  case LINK_TURNS: return; /* on_turned frees it */
  case LINK_CONNECTS: http_address_pass(link); break;
  case LINK_ASKS:
  case LINK_OPEN: break;
  }
  uv_close((uv_handle_t *)&link->tcp, on_closed);
}

static void link_keep(struct http_link *link) {
  link->exchange = NULL;
  http_link_enter(link, &link->client->idle);
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

void http_exchange_free(struct http_exchange *exchange) {
  buffer_release(&exchange->bytes);
  free(exchange);
}

void http_exchange_end(struct http_exchange *exchange, enum http_end end, const char *sentence) {
  struct http_client *client = exchange->client;
  void *user = exchange->user;
  http_exchange_free(exchange);
  client->callbacks.end(user, end, sentence);
}

void http_link_fail(struct http_link *link, enum http_end end, const char *what, const char *why) {
  struct http_exchange *exchange = link->exchange;
  const struct http_client *client = link->client;
  bool proxy = client->proxied && link->state != LINK_OPEN;
  char sentence[ERROR_TEXT_MAX];
  snprintf(sentence, sizeof sentence, "%s%s %s%s%s.", proxy ? "The proxy " : "",
           proxy ? client->peer.authority : client->address.authority, what, why ? ": " : "", why ? why : "");
  http_link_close(link);
  http_exchange_end(exchange, end, sentence);
}

/* A response to what is still being sent: the rest of that is of no use. */
static void link_done(struct http_link *link, bool keep) {
  struct http_exchange *exchange = link->exchange;
  if (keep && !link->writing && link->n_sealed == 0 && !link->client->closed)
    link_keep(link);
  else
    http_link_close(link);
  http_exchange_end(exchange, HTTP_END_DONE, NULL);
}

/* --- what comes --------------------------------------------------------------------------------------------------- */

/* No second response, and none to what has been cancelled. */
static int on_begin(http_parser *parser) {
  struct http_link *link = parser->data;
  link->name_ended = true;
  link->headed = false;
  link->name[0] = link->content_type[0] = '\0';
  return link->complete || !link->exchange;
}

/* Such as 100 Continue: the response is still to come. */
static bool is_interim(const http_parser *parser) { return parser->status_code < 200; }

/* Tells of the header before, if there was one. Nonzero: the exchange was cancelled. */
static int header_end(struct http_link *link) {
  const struct http_client_callbacks *callbacks = &link->client->callbacks;
  bool told = callbacks->header && link->name[0] && !link->headed && !is_interim(&link->parser);
  if (told && buffer_append(&link->value, "", 1)) callbacks->header(link->exchange->user, link->name, link->value.data);
  buffer_clear(&link->value);
  link->name[0] = '\0';
  return link->exchange == NULL;
}

/* Names and values come in the pieces in which they arrive; what does not fit is cut off. */
static void piece_append(char *text, size_t room, const char *at, size_t size) {
  size_t have = strlen(text), rest = room - 1 - have;
  memcpy(text + have, at, size < rest ? size : rest);
  text[have + (size < rest ? size : rest)] = '\0';
}

static int on_name(http_parser *parser, const char *at, size_t size) {
  struct http_link *link = parser->data;
  if (link->name_ended && header_end(link)) return 1;
  link->name_ended = false;
  piece_append(link->name, sizeof link->name, at, size);
  return 0;
}

static int on_value(http_parser *parser, const char *at, size_t size) {
  struct http_link *link = parser->data;
  link->name_ended = true;
  if (!link->headed && strcasecmp(link->name, "content-type") == 0)
    piece_append(link->content_type, sizeof link->content_type, at, size);
  if (link->client->callbacks.header) buffer_append(&link->value, at, size);
  return 0;
}

static int on_head(http_parser *parser) {
  struct http_link *link = parser->data;
  if (header_end(link)) return 1;
  link->headed = true;
  if (!is_interim(parser))
    link->client->callbacks.head(link->exchange->user, (int)parser->status_code, link->content_type);
  return 0;
}

static int on_body(http_parser *parser, const char *at, size_t size) {
  struct http_link *link = parser->data;
  if (link->exchange) link->client->callbacks.body(link->exchange->user, slice_make(at, size));
  return link->exchange == NULL;
}

static int on_complete(http_parser *parser) {
  struct http_link *link = parser->data;
  link->complete = !is_interim(parser);
  return 0;
}

/* size 0: the connection has ended, which may be how the response does. */
static size_t parse(struct http_link *link, const char *bytes, size_t size) {
  static const http_parser_settings settings = {.on_message_begin = on_begin,
                                                .on_header_field = on_name,
                                                .on_header_value = on_value,
                                                .on_headers_complete = on_head,
                                                .on_body = on_body,
                                                .on_message_complete = on_complete};
  return http_parser_execute(&link->parser, &settings, bytes, size);
}

void http_link_take(struct http_link *link, const char *bytes, size_t size) {
  link->heard = true;
  size_t used = parse(link, bytes, size);
  if (!link->exchange) return; /* cancelled by a callback */
  if (link->complete)
    link_done(link, used == size && http_should_keep_alive(&link->parser));
  else if (HTTP_PARSER_ERRNO(&link->parser) != HPE_OK)
    http_link_fail(link, HTTP_END_BAD, "sent what is no HTTP",
                   http_errno_description(HTTP_PARSER_ERRNO(&link->parser)));
}

/* The server may close a link just while a request is sent over it. */
static bool asked_again(struct http_link *link) {
  struct http_exchange *exchange = link->exchange;
  if (!link->reused || link->heard) return false;
  http_link_close(link);
  http_link_connect(exchange);
  return true;
}

void http_link_take_end(struct http_link *link) {
  if (asked_again(link)) return;
  parse(link, NULL, 0);
  if (!link->exchange) return;
  if (link->complete)
    link_done(link, false);
  else
    http_link_fail(link, HTTP_END_CUT, link->heard ? "ended the connection before its response" : "sent no response",
                   NULL);
}

static void on_room(uv_handle_t *handle, size_t size, uv_buf_t *room) {
  struct http_link *link = handle->data;
  (void)size;
  *room = uv_buf_init(link->client->bytes, sizeof link->client->bytes);
}

/* Nobody waits for what an idle link says, but TLS may have something to say to itself. */
static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *room) {
  struct http_link *link = stream->data;
  if (size == 0 || link->closing) return;
  if (size > 0 && link->tls)
    http_link_tls_take(link, room->base, (size_t)size);
  else if (!link->exchange)
    http_link_close(link);
  else if (link->state == LINK_ASKS && size > 0)
    http_link_proxy_take(link, room->base, (size_t)size);
  else if (link->state == LINK_ASKS)
    http_link_fail(link, HTTP_END_REFUSED, "ended the connection", NULL);
  else if (size > 0)
    http_link_take(link, room->base, (size_t)size);
  else if (size == UV_EOF && !link->tls)
    http_link_take_end(link);
  else if (!asked_again(link)) /* TLS says so before it ends, or anybody could have ended it */
    http_link_fail(link, HTTP_END_CUT, "broke the connection off", uv_strerror((int)size));
}

/* --- what goes ---------------------------------------------------------------------------------------------------- */

/* A request that was not taken is told by the read that fails next; an answer may have come before. */
static void on_written(uv_write_t *write, int status) {
  (void)status;
  ((struct http_link *)write->data)->writing = false;
}

/* False: it has failed at once. */
static bool request_send(struct http_link *link) {
  const struct buffer *bytes = &link->exchange->bytes;
  uv_buf_t request = uv_buf_init(bytes->data, (unsigned)bytes->size);
  http_parser_init(&link->parser, HTTP_RESPONSE);
  link->parser.data = link;
  link->heard = link->complete = false;
  if (link->tls) return http_link_tls_send(link);
  int failed = uv_write(&link->write, (uv_stream_t *)&link->tcp, &request, 1, on_written);
  link->writing = failed == 0;
  if (failed) http_link_fail(link, HTTP_END_CUT, "did not take the request", uv_strerror(failed));
  return failed == 0;
}

bool http_link_listen(struct http_link *link) {
  bool asks = link->client->way.size > 0;
  link->state = asks ? LINK_ASKS : LINK_OPEN;
  uv_read_start((uv_stream_t *)&link->tcp, on_room, on_read);
  if (asks) http_link_proxy_begin(link);
  return !asks;
}

void http_link_begin(struct http_link *link) {
  if (!link->client->tls || http_link_tls_begin(link)) request_send(link);
}

bool http_link_use(struct http_exchange *exchange) {
  struct http_link *link = exchange->client->idle;
  if (!link) return http_link_connect(exchange);
  http_link_leave(link);
  link->exchange = exchange;
  link->reused = true;
  exchange->link = link;
  return request_send(link);
}
