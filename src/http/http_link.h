/* Private to the room: a client's connection. An exchange goes over a link that waits afterwards in a list, newest
 * first, for the next one. The server may close a link just while a request is sent over it: then another link takes
 * it. Each new link looks the server's name up, and tries its addresses one after the other. */
#ifndef SPATE_HTTP_HTTP_LINK_H
#define SPATE_HTTP_HTTP_LINK_H

#include "base/buffer.h"
#include "http/http_address.h"
#include "http/http_client.h"

#include <http_parser.h>

enum { LINK_NAME_BYTES = 16, LINK_TYPE_BYTES = 64 };

struct http_exchange {
  struct http_client *client;
  struct http_link *link;
  void *user;
  struct buffer bytes; /* of the request */
};

enum link_state {
  LINK_NEW, /* the loop knows nothing of it */
  LINK_LOOKS_UP,
  LINK_CONNECTS,
  LINK_TURNS, /* tcp is being closed, and opened again for another address */
  LINK_OPEN,
};

struct http_link {
  struct http_client *client;
  enum link_state state;
  struct http_exchange *exchange;  /* NULL: idle, or closing */
  struct http_link *older, *newer; /* in the list of idle ones */
  uv_getaddrinfo_t look_up;
  struct addrinfo *found;
  int n_found, n_tried, at; /* at: the address that is tried */
  uv_tcp_t tcp;
  uv_connect_t connect;
  uv_write_t write;
  http_parser parser;
  bool closing, reused, writing;
  bool heard, complete;       /* of the response */
  bool name_ended;            /* the next piece begins another header's name */
  char name[LINK_NAME_BYTES]; /* cut off */
  char content_type[LINK_TYPE_BYTES];
};

struct http_client {
  uv_loop_t *loop;
  struct http_client_callbacks callbacks;
  struct http_address address;
  int turn; /* which of the addresses found a link begins with: the one before has failed, or did not answer in time */
  struct buffer authorization; /* a line of the head, or nothing */
  struct http_link *idle;
  bool closed;
  char bytes[64 << 10]; /* what one read returns, consumed before the next */
};

void http_link_close(struct http_link *link);

/* Sends exchange->bytes over the newest idle link, or over a new one. False: the exchange has ended, and end was told.
 */
bool http_link_use(struct http_exchange *exchange);

void http_exchange_free(struct http_exchange *exchange);

#endif
