/* Links. libhttp-parser reads what comes. */
#include "http/http_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* --- links -------------------------------------------------------------------------------------------------------- */

static void link_free(struct http_link *link) {
  uv_freeaddrinfo(link->found);
  free(link);
}

static void on_closed(uv_handle_t *handle) { link_free(handle->data); }

static void idle_remove(struct http_link *link) {
  struct http_link **first = &link->client->idle;
  if (link->newer) link->newer->older = link->older;
  if (link->older) link->older->newer = link->newer;
  if (*first == link) *first = link->older;
  link->older = link->newer = NULL;
}

/* Links to come begin with the address after this one's. */
static void address_pass(const struct http_link *link) {
  if (link->client->turn == link->at) link->client->turn = (link->at + 1) % link->n_found;
}

void http_link_close(struct http_link *link) {
  if (link->closing) return;
  idle_remove(link);
  link->closing = true;
  link->exchange = NULL;
  switch (link->state) {
  case LINK_NEW: link_free(link); return;
  case LINK_LOOKS_UP: uv_cancel((uv_req_t *)&link->look_up); return; /* on_found frees it */
  case LINK_TURNS: return;                                           /* on_turned does */
  case LINK_CONNECTS: address_pass(link); break;
  case LINK_OPEN: break;
  }
  uv_close((uv_handle_t *)&link->tcp, on_closed);
}

static void link_keep(struct http_link *link) {
  struct http_client *client = link->client;
  link->exchange = NULL;
  link->older = client->idle;
  if (client->idle) client->idle->newer = link;
  client->idle = link;
}

static struct http_link *link_new(struct http_client *client) {
  struct http_link *link = calloc(1, sizeof *link);
  if (!link) return NULL;
  link->client = client;
  link->look_up.data = link->tcp.data = link->connect.data = link->write.data = link;
  return link;
}

/* --- ends --------------------------------------------------------------------------------------------------------- */

void http_exchange_free(struct http_exchange *exchange) {
  buffer_release(&exchange->bytes);
  free(exchange);
}

/* The exchange's link, if it has one, has been dealt with. */
static void exchange_end(struct http_exchange *exchange, enum http_end end, const char *sentence) {
  struct http_client *client = exchange->client;
  void *user = exchange->user;
  http_exchange_free(exchange);
  client->callbacks.end(user, end, sentence);
}

static void link_fail(struct http_link *link, enum http_end end, const char *what, const char *why) {
  struct http_exchange *exchange = link->exchange;
  char sentence[ERROR_TEXT_MAX];
  snprintf(sentence, sizeof sentence, "%s %s%s%s.", link->client->address.authority, what, why ? ": " : "",
           why ? why : "");
  http_link_close(link);
  exchange_end(exchange, end, sentence);
}

/* A response to what is still being sent: the rest of that is of no use. */
static void link_done(struct http_link *link, bool keep) {
  struct http_exchange *exchange = link->exchange;
  if (keep && !link->writing && !link->client->closed)
    link_keep(link);
  else
    http_link_close(link);
  exchange_end(exchange, HTTP_END_DONE, NULL);
}

/* --- what comes --------------------------------------------------------------------------------------------------- */

/* No second response, and none to what has been cancelled. */
static int on_begin(http_parser *parser) {
  struct http_link *link = parser->data;
  link->name_ended = true;
  link->content_type[0] = '\0';
  return link->complete || !link->exchange;
}

/* Names and values come in the pieces in which they arrive; what does not fit is cut off. */
static void piece_append(char *text, size_t room, const char *at, size_t size) {
  size_t have = strlen(text), rest = room - 1 - have;
  memcpy(text + have, at, size < rest ? size : rest);
  text[have + (size < rest ? size : rest)] = '\0';
}

static int on_name(http_parser *parser, const char *at, size_t size) {
  struct http_link *link = parser->data;
  if (link->name_ended) link->name[0] = '\0';
  link->name_ended = false;
  piece_append(link->name, sizeof link->name, at, size);
  return 0;
}

static int on_value(http_parser *parser, const char *at, size_t size) {
  struct http_link *link = parser->data;
  link->name_ended = true;
  if (strcasecmp(link->name, "content-type") == 0)
    piece_append(link->content_type, sizeof link->content_type, at, size);
  return 0;
}

/* Such as 100 Continue: the response is still to come. */
static bool is_interim(const http_parser *parser) { return parser->status_code < 200; }

static int on_head(http_parser *parser) {
  struct http_link *link = parser->data;
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
static void bytes_take(struct http_link *link, const char *bytes, size_t size) {
  static const http_parser_settings settings = {.on_message_begin = on_begin,
                                                .on_header_field = on_name,
                                                .on_header_value = on_value,
                                                .on_headers_complete = on_head,
                                                .on_body = on_body,
                                                .on_message_complete = on_complete};
  size_t used = http_parser_execute(&link->parser, &settings, bytes, size);
  if (!link->exchange) return; /* cancelled by a callback */
  if (link->complete)
    link_done(link, size > 0 && used == size && http_should_keep_alive(&link->parser));
  else if (size == 0)
    link_fail(link, HTTP_END_CUT, link->heard ? "ended the connection before its response" : "sent no response", NULL);
  else if (HTTP_PARSER_ERRNO(&link->parser) != HPE_OK)
    link_fail(link, HTTP_END_BAD, "sent what is no HTTP", http_errno_description(HTTP_PARSER_ERRNO(&link->parser)));
}

static void on_room(uv_handle_t *handle, size_t size, uv_buf_t *room) {
  struct http_link *link = handle->data;
  (void)size;
  *room = uv_buf_init(link->client->bytes, sizeof link->client->bytes);
}

static bool link_connect(struct http_exchange *exchange);

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *room) {
  struct http_link *link = stream->data;
  struct http_exchange *exchange = link->exchange;
  if (size == 0) return;
  if (!exchange) {
    http_link_close(link);
  } else if (size > 0) {
    link->heard = true;
    bytes_take(link, room->base, (size_t)size);
  } else if (link->reused && !link->heard) {
    http_link_close(link);
    link_connect(exchange);
  } else if (size == UV_EOF) {
    bytes_take(link, room->base, 0);
  } else {
    link_fail(link, HTTP_END_CUT, "broke the connection off", uv_strerror((int)size));
  }
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
  int failed = uv_write(&link->write, (uv_stream_t *)&link->tcp, &request, 1, on_written);
  link->writing = failed == 0;
  if (failed) link_fail(link, HTTP_END_CUT, "did not take the request", uv_strerror(failed));
  return failed == 0;
}

/* --- connecting --------------------------------------------------------------------------------------------------- */

static void address_try(struct http_link *link);

static void on_turned(uv_handle_t *handle) {
  struct http_link *link = handle->data;
  if (link->closing)
    link_free(link);
  else
    address_try(link);
}

/* This address takes no connection: perhaps the next does. */
static void address_fail(struct http_link *link, int failed) {
  address_pass(link);
  link->at = (link->at + 1) % link->n_found;
  link->state = LINK_TURNS;
  uv_close((uv_handle_t *)&link->tcp, on_turned);
  if (++link->n_tried == link->n_found) link_fail(link, HTTP_END_REFUSED, "cannot be reached", uv_strerror(failed));
}

static void on_connected(uv_connect_t *connect, int status) {
  struct http_link *link = connect->data;
  if (!link->exchange) return;
  if (status < 0) {
    address_fail(link, status);
    return;
  }
  link->state = LINK_OPEN;
  uv_tcp_nodelay(&link->tcp, 1);
  uv_read_start((uv_stream_t *)&link->tcp, on_room, on_read);
  request_send(link);
}

static void address_try(struct http_link *link) {
  const struct addrinfo *address = link->found;
  for (int i = 0; i < link->at; i++) address = address->ai_next;
  link->state = LINK_CONNECTS;
  uv_tcp_init(link->client->loop, &link->tcp);
  int failed = uv_tcp_connect(&link->connect, &link->tcp, address->ai_addr, on_connected);
  if (failed) address_fail(link, failed);
}

static void on_found(uv_getaddrinfo_t *look_up, int status, struct addrinfo *found) {
  struct http_link *link = look_up->data;
  link->state = LINK_NEW;
  link->found = found;
  if (link->closing) {
    link_free(link);
    return;
  }
  for (const struct addrinfo *address = found; address; address = address->ai_next) link->n_found++;
  link->at = link->client->turn < link->n_found ? link->client->turn : 0;
  if (link->n_found > 0)
    address_try(link);
  else
    link_fail(link, HTTP_END_REFUSED, "cannot be found", uv_strerror(status));
}

/* False: the exchange has ended. */
static bool link_connect(struct http_exchange *exchange) {
  static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct http_client *client = exchange->client;
  struct http_link *link = exchange->link = link_new(client);
  if (!link) {
    exchange_end(exchange, HTTP_END_REFUSED, "There is no memory for a connection.");
    return false;
  }
  link->exchange = exchange;
  int failed =
      uv_getaddrinfo(client->loop, &link->look_up, on_found, client->address.host, client->address.port, &hints);
  link->state = failed ? LINK_NEW : LINK_LOOKS_UP;
  if (failed) link_fail(link, HTTP_END_REFUSED, "cannot be found", uv_strerror(failed));
  return failed == 0;
}

bool http_link_use(struct http_exchange *exchange) {
  struct http_link *link = exchange->client->idle;
  if (!link) return link_connect(exchange);
  idle_remove(link);
  link->exchange = exchange;
  link->reused = true;
  exchange->link = link;
  return request_send(link);
}
