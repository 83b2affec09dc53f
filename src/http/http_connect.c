/* From a name to an open link: the look-up that links of one client share, and one address after the other. */
#include "http/http_link.h"

#include "base/limits.h"

#include <stdlib.h>

enum { PATIENCE_MS = 1000 };

void http_look_up_end(struct http_client *client) {
  if (!client->closed || client->seeking || !client->look_up) return;
  http_look_up_abandon(client->look_up);
  client->look_up = NULL;
}

static struct http_link *link_new(struct http_client *client) {
  struct http_link *link = calloc(1, sizeof *link);
  if (!link) return NULL;
  link->client = client;
  buffer_init(&link->value, LIMIT_HEADER_BYTES);
  link->tcp.data = link->connect.data = link->write.data = link->patience.data = link;
  return link;
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

void http_address_pass(const struct http_link *link) {
  if (link->client->turn == link->at) link->client->turn = (link->at + 1) % link->client->n_found;
}

static void address_try(struct http_link *link);

static void on_turned(uv_handle_t *handle) {
  struct http_link *link = handle->data;
  if (link->closing)
    http_link_free(link);
  else
    address_try(link);
}

/* This address takes no connection: perhaps the next does. */
static void address_fail(struct http_link *link, int failed) {
  uv_timer_stop(&link->patience);
  http_address_pass(link);
  link->at = (link->at + 1) % link->client->n_found;
  link->state = LINK_TURNS;
  uv_close((uv_handle_t *)&link->tcp, on_turned);
  if (++link->n_tried >= link->client->n_found)
    http_link_fail(link, HTTP_END_REFUSED, "cannot be reached", uv_strerror(failed));
}

/* Some addresses answer nothing at all: those of a protocol that a network has in name alone, often. */
static void on_patience(uv_timer_t *timer) {
  struct http_link *link = timer->data;
  if (link->state == LINK_CONNECTS) address_fail(link, UV_ETIMEDOUT);
}

static void on_connected(uv_connect_t *connect, int status) {
  struct http_link *link = connect->data;
  if (!link->exchange || link->state != LINK_CONNECTS) return;
  uv_timer_stop(&link->patience);
  if (status < 0) {
    address_fail(link, status);
    return;
  }
  uv_tcp_nodelay(&link->tcp, 1);
  if (http_link_listen(link)) http_link_begin(link);
}

static void address_try(struct http_link *link) {
  const struct addrinfo *address = link->client->found;
  link->at %= link->client->n_found; /* which another look-up may have changed meanwhile */
  for (int i = 0; i < link->at; i++) address = address->ai_next;
  link->state = LINK_CONNECTS;
  uv_tcp_init(link->client->loop, &link->tcp);
  if (!link->timed) uv_timer_init(link->client->loop, &link->patience);
  link->timed = true;
  if (link->n_tried + 1 < link->client->n_found) uv_timer_start(&link->patience, on_patience, PATIENCE_MS, 0);
  int failed = uv_tcp_connect(&link->connect, &link->tcp, address->ai_addr, on_connected);
  if (failed) address_fail(link, failed);
}

static void link_begin(struct http_link *link) {
  const struct http_client *client = link->client;
  link->at = client->turn < client->n_found ? client->turn : 0;
  address_try(link);
}

static void found_keep(struct http_client *client, struct addrinfo *found) {
  if (client->found) freeaddrinfo(client->found);
  client->found = found;
  client->n_found = 0;
  for (const struct addrinfo *address = found; address; address = address->ai_next) client->n_found++;
}

/* What the guard has against one of the addresses; NULL: nothing. A name that has others beside it is not trusted with
 * them either. */
static const char *found_refuse(const struct http_client *client, const struct addrinfo *found) {
  const struct http_guard *guard = client->guard;
  const char *what = NULL;
  if (!guard) return NULL;
  for (const struct addrinfo *one = found; one && !what; one = one->ai_next)
    what = address_refuse(one->ai_addr, guard->ranges, guard->n);
  return what;
}

/* What callbacks begin meanwhile seeks anew. */
static void on_found(void *user, struct addrinfo *found, const char *why) {
  struct http_client *client = user;
  struct http_link *link, *seeking = client->seeking;
  client->look_up = NULL;
  client->seeking = NULL;
  if (seeking) seeking->place = &seeking;
  const char *special = found ? found_refuse(client, found) : NULL;
  if (special)
    freeaddrinfo(found);
  else if (found)
    found_keep(client, found);
  while ((link = seeking)) {
    http_link_leave(link);
    link->state = LINK_NEW;
    if (special)
      http_link_fail(link, HTTP_END_REFUSED, "has an address that is not public", special);
    else if (found)
      link_begin(link);
    else
      http_link_fail(link, HTTP_END_REFUSED, "cannot be found", why);
  }
}

/* False: it has failed at once. */
static bool link_seek(struct http_link *link) {
  struct http_client *client = link->client;
  if (!client->look_up) client->look_up = http_look_up_begin(client->loop, &client->peer, on_found, client);
  if (!client->look_up) {
    http_link_fail(link, HTTP_END_REFUSED, "cannot be found", "the system has no thread for it");
    return false;
  }
  link->state = LINK_SEEKS;
  http_link_enter(link, &client->seeking);
  return true;
}

bool http_link_connect(struct http_exchange *exchange) {
  struct http_client *client = exchange->client;
  struct http_link *link = exchange->link = link_new(client);
  if (!link) {
    http_exchange_end(exchange, HTTP_END_REFUSED, "There is no memory for a connection.");
    return false;
  }
  link->exchange = exchange;
  if (client->look_ups == HTTP_LOOK_UP_EACH || !client->found) return link_seek(link);
  link_begin(link);
  return !link->closing;
}
