/* Requests and clients; what comes back is http_link.c's. */
#include "http/http_link.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

static void head_write(const struct http_client *client, const char *method, const char *path, const char *accept,
                       struct buffer *out) {
  buffer_print(out, "%s %s%s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n", method, client->address.prefix, path,
               client->address.authority, accept);
  buffer_append(out, client->authorization.data, client->authorization.size);
}

/* Takes the request's bytes over, which may have failed. */
static struct http_exchange *exchange_begin(struct http_client *client, struct buffer *bytes, void *user) {
  struct http_exchange *exchange = bytes->failed ? NULL : calloc(1, sizeof *exchange);
  if (!exchange) {
    buffer_release(bytes);
    client->callbacks.end(user, HTTP_END_REFUSED, "There is no memory for a request.");
    return NULL;
  }
  *exchange = (struct http_exchange){.client = client, .user = user, .bytes = *bytes};
  return http_link_use(exchange) ? exchange : NULL;
}

struct http_exchange *http_client_post(struct http_client *client, const char *path, struct slice json, void *user) {
  struct buffer bytes;
  buffer_init(&bytes, LIMIT_LOAD_BODY_BYTES);
  head_write(client, "POST", path, "*/*", &bytes);
  buffer_print(&bytes, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", json.size);
  buffer_append(&bytes, json.data, json.size);
  return exchange_begin(client, &bytes, user);
}

struct http_exchange *http_client_get(struct http_client *client, const char *target, const char *accept, void *user) {
  struct buffer bytes;
  buffer_init(&bytes, LIMIT_HEAD_BYTES);
  head_write(client, "GET", target, accept, &bytes);
  buffer_text(&bytes, "User-Agent: spate\r\n\r\n"); /* some servers answer nobody who has no name */
  return exchange_begin(client, &bytes, user);
}

void http_exchange_cancel(struct http_exchange *exchange) {
  http_link_close(exchange->link);
  http_exchange_free(exchange);
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

static bool options_read(struct http_client *client, const struct http_client_options *options, struct error *error) {
  const char *bearer = options->bearer;
  bool fits = !bearer || buffer_print(&client->authorization, "Authorization: Bearer %s\r\n", bearer);
  if (!fits || (bearer && strpbrk(bearer, "\r\n")))
    return error_set(error, ERROR_INVALID, "The API key is no line of at most %d bytes.", LIMIT_HEADER_BYTES);
  return options->tls ? http_address_parse_any(&client->address, options->url, error)
                      : http_address_parse(&client->address, options->url, error);
}

struct http_client *http_client_open(uv_loop_t *loop, const struct http_client_options *options,
                                     const struct http_client_callbacks *callbacks, struct error *error) {
  struct http_client *client = calloc(1, sizeof *client);
  if (!client) {
    error_set(error, ERROR_MEMORY, "There is no memory for an HTTP client.");
    return NULL;
  }
  client->loop = loop;
  client->callbacks = *callbacks;
  client->look_ups = options->look_ups;
  client->guard = options->guard;
  buffer_init(&client->authorization, LIMIT_HEADER_BYTES);
  if (!options_read(client, options, error)) {
    http_client_free(client);
    return NULL;
  }
  client->tls = client->address.tls ? options->tls : NULL;
  return client;
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
