/* The way through a proxy: CONNECT, whose answer has a head alone; TLS with the server goes over the link after it. */
#include "http/http_link.h"

#include "base/limits.h"

#include <stdio.h>

bool http_client_proxy(struct http_client *client, const struct http_proxy *proxy, struct error *error) {
  const struct http_address *to = &client->address;
  struct buffer *lines = client->tls ? &client->way : &client->authorization;
  const char *left = strchr(to->host, ':') ? "[" : "", *right = *left ? "]" : "";
  client->peer = proxy->address;
  client->proxied = true;
  if (client->tls)
    buffer_print(lines, "CONNECT %s%s%s:%s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: spate\r\n", left, to->host, right,
                 to->port, left, to->host, right, to->port);
  if (*proxy->credentials) buffer_print(lines, "Proxy-Authorization: Basic %s\r\n", proxy->credentials);
  if (client->tls) buffer_text(lines, "\r\n");
  return !lines->failed || error_set(error, ERROR_LIMIT, "What a proxy is to be told is too long.");
}

static void on_written(uv_write_t *write, int status) {
  (void)status; /* the read that fails next tells */
  ((struct http_link *)write->data)->writing = false;
}

bool http_link_proxy_begin(struct http_link *link) {
  const struct buffer *way = &link->client->way;
  uv_buf_t bytes = uv_buf_init(way->data, (unsigned)way->size);
  http_parser_init(&link->parser, HTTP_RESPONSE);
  link->parser.data = link;
  link->complete = false;
  int failed = uv_write(&link->write, (uv_stream_t *)&link->tcp, &bytes, 1, on_written);
  link->writing = failed == 0;
  if (failed) http_link_fail(link, HTTP_END_REFUSED, "did not take the request", uv_strerror(failed));
  return failed == 0;
}

/* What comes behind it is no HTTP. */
static int on_head(http_parser *parser) {
  (void)parser;
  return 2;
}

static int on_complete(http_parser *parser) {
  ((struct http_link *)parser->data)->complete = true;
  return 0;
}

void http_link_proxy_take(struct http_link *link, const char *bytes, size_t size) {
  static const http_parser_settings settings = {.on_headers_complete = on_head, .on_message_complete = on_complete};
  char status[32];
  size_t used = http_parser_execute(&link->parser, &settings, bytes, size);
  snprintf(status, sizeof status, "status %d", (int)link->parser.status_code);
  if (!link->complete && HTTP_PARSER_ERRNO(&link->parser) != HPE_OK)
    http_link_fail(link, HTTP_END_REFUSED, "sent what is no HTTP",
                   http_errno_description(HTTP_PARSER_ERRNO(&link->parser)));
  else if (link->complete && link->parser.status_code / 100 != 2)
    http_link_fail(link, HTTP_END_REFUSED, "does not let through", status);
  else if (link->complete && used != size) /* a server of TLS is silent until it is spoken to */
    http_link_fail(link, HTTP_END_REFUSED, "sent more than an answer", NULL);
  if (!link->complete || link->closing) return;
  link->state = LINK_OPEN;
  http_link_begin(link);
}
