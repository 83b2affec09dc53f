/* Requests and clients; what comes back is http_link.c's. */
#include "http/http_link.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

static bool request_write(const struct http_client *client, const char *path, struct slice json, struct buffer *out) {
  buffer_init(out, LIMIT_LOAD_BODY_BYTES);
  buffer_print(out,
               "POST %s%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: */*\r\n"
               "Content-Length: %zu\r\n",
               client->address.prefix, path, client->address.authority, json.size);
  buffer_append(out, client->authorization.data, client->authorization.size);
  buffer_text(out, "\r\n");
  return buffer_append(out, json.data, json.size);
}

struct http_exchange *http_client_post(struct http_client *client, const char *path, struct slice json, void *user) {
  struct http_exchange *exchange = calloc(1, sizeof *exchange);
  if (!exchange || !request_write(client, path, json, &exchange->bytes)) {
    if (exchange) http_exchange_free(exchange);
    client->callbacks.end(user, HTTP_END_REFUSED, "There is no memory for a request.");
    return NULL;
  }
  exchange->client = client;
  exchange->user = user;
  return http_link_use(exchange) ? exchange : NULL;
}

void http_exchange_cancel(struct http_exchange *exchange) {
  http_link_close(exchange->link);
  http_exchange_free(exchange);
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

struct http_client *http_client_open(uv_loop_t *loop, const char *url, const char *bearer, enum http_look_ups look_ups,
                                     const struct http_client_callbacks *callbacks, struct error *error) {
  struct http_client *client = calloc(1, sizeof *client);
  if (!client) {
    error_set(error, ERROR_MEMORY, "There is no memory for an HTTP client.");
    return NULL;
  }
  client->loop = loop;
  client->callbacks = *callbacks;
  client->look_ups = look_ups;
  buffer_init(&client->authorization, LIMIT_HEADER_BYTES);
  bool fits = !bearer || buffer_print(&client->authorization, "Authorization: Bearer %s\r\n", bearer);
  if (!fits || (bearer && strpbrk(bearer, "\r\n")))
    error_set(error, ERROR_INVALID, "The API key is no line of at most %d bytes.", LIMIT_HEADER_BYTES);
  else if (http_address_parse(&client->address, url, error))
    return client;
  http_client_free(client);
  return NULL;
}

void http_client_close(struct http_client *client) {
  client->closed = true;
  while (client->idle) http_link_close(client->idle);
  http_look_up_end(client);
}

void http_client_free(struct http_client *client) {
  if (!client) return;
  buffer_release(&client->authorization);
  if (client->found) freeaddrinfo(client->found);
  free(client);
}
