/* Requests and clients; what comes back is http_link.c's. */
#include "http/http_link.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

/* A proxy that passes requests on is told the whole URL. */
static void head_write(const struct http_client *client, const char *method, const char *path, const char *accept,
                       struct buffer *out) {
  const struct http_address *to = &client->address;
  bool whole = client->proxied && !client->tls;
  buffer_print(out, "%s %s%s%s%s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n", method, whole ? "http://" : "",
               whole ? to->authority : "", to->prefix, path, to->authority, accept);
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

struct http_exchange *http_client_get(struct http_client *client, const char *target, const char *accept,
                                      const char *lines, void *user) {
  struct buffer bytes;
  buffer_init(&bytes, LIMIT_HEAD_BYTES);
  head_write(client, "GET", target, accept, &bytes);
  buffer_text(&bytes, "User-Agent: spate\r\n"); /* some servers answer nobody who has no name */
  buffer_print(&bytes, "%s\r\n", lines ? lines : "");
  return exchange_begin(client, &bytes, user);
}

void http_exchange_cancel(struct http_exchange *exchange) {
  http_link_close(exchange->link);
  http_exchange_free(exchange);
}

/* --- clients ------------------------------------------------------------------------------------------------------ */

static bool options_read(struct http_client *client, const struct http_client_options *options, struct error *error) {
  const char *bearer = options->bearer;
  bool fits = !bearer || (strlen(bearer) <= LIMIT_HEADER_BYTES &&
                          buffer_print(&client->authorization, "Authorization: Bearer %s\r\n", bearer));
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
  buffer_init(&client->authorization, 2 * LIMIT_HEADER_BYTES);
  buffer_init(&client->way, LIMIT_HEAD_BYTES);
  bool read = options_read(client, options, error);
  client->tls = client->address.tls ? options->tls : NULL;
  client->peer = client->address;
  if (read && (!options->proxy || http_client_proxy(client, options->proxy, error))) return client;
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
  buffer_release(&client->way);
  if (client->found) freeaddrinfo(client->found);
  free(client);
}
