/* Private to the room: a client's connection. An exchange goes over a link that waits afterwards in a list, newest
 * first, for the next one. The server may close a link just while a request is sent over it: then another link takes
 * it. A new link tries the addresses of the server's name one after the other: those that were found for it and others
 * that sought them at the same time, or once for all. */
#ifndef SPATE_HTTP_HTTP_LINK_H
#define SPATE_HTTP_HTTP_LINK_H

#include "base/buffer.h"
#include "http/http_address.h"
#include "http/http_client.h"
#include "http/http_look_up.h"
#include "http/http_proxy.h"
#include "http/tls.h"

#include <http_parser.h>

enum { LINK_NAME_BYTES = 32, LINK_TYPE_BYTES = 64 };

struct http_exchange {
  struct http_client *client;
  struct http_link *link;
  void *user;
  struct buffer bytes; /* of the request */
};

enum link_state {
  LINK_NEW,   /* the loop knows nothing of it */
  LINK_SEEKS, /* its client looks the name up */
  LINK_CONNECTS,
  LINK_TURNS, /* tcp is being closed, and opened again for another address */
  LINK_ASKS,  /* a proxy for the way to the server */
  LINK_OPEN,  /* with TLS: its handshake may still be under way */
};

struct http_link {
  struct http_client *client;
  enum link_state state;
  struct http_exchange *exchange; /* NULL: idle, or closing */
  struct http_link *older;        /* in the list of idle or of seeking ones */
  struct http_link **place;       /* what points to it there; NULL: it is in none */
  int n_tried, at;                /* at: the address that is tried */
  uv_tcp_t tcp;
  uv_connect_t connect;
  uv_timer_t patience; /* with an address, where there are others */
  bool timed;          /* patience is a handle of the loop's */
  uv_write_t write;
  struct tls_session *tls; /* NULL: in the clear */
  int n_sealed;            /* pieces of TLS that are being written */
  http_parser parser;
  bool closing, reused, writing;
  bool asked;                 /* of TLS: the request went when the handshake was done */
  bool heard, complete;       /* of the response */
  bool headed;                /* its head is complete: what headers follow are a trailer's */
  bool name_ended;            /* the next piece begins another header's name */
  char name[LINK_NAME_BYTES]; /* cut off */
  char content_type[LINK_TYPE_BYTES];
  struct buffer value; /* of the header, for a client that wants them all */
};

struct http_client {
  uv_loop_t *loop;
  struct http_client_callbacks callbacks;
  struct http_address address;
  struct http_address peer; /* what is connected to: a proxy, or the same */
  bool proxied;
  enum http_look_ups look_ups;
  struct tls_context *tls;        /* NULL: in the clear */
  const struct http_guard *guard; /* NULL: none */
  struct http_look_up *look_up;   /* under way */
  struct addrinfo *found;         /* by the last one; NULL: none yet */
  int n_found;
  int turn; /* which of the addresses found a link begins with: the one before has failed, or did not answer in time */
  struct buffer authorization; /* lines of the head, or nothing */
  struct buffer way;           /* what a proxy is asked for first; nothing: it is not asked */
  struct http_link *idle, *seeking;
  bool closed;
  char bytes[64 << 10]; /* what one read returns, consumed before the next */
};

/* --- http_link.c -------------------------------------------------------------------------------------------------- */

void http_link_close(struct http_link *link);

/* Frees a link whose tcp is closed, or was never opened. */
void http_link_free(struct http_link *link);

/* Sends exchange->bytes over the newest idle link, or over a new one. False: the exchange has ended, and end was told.
 */
bool http_link_use(struct http_exchange *exchange);

/* Over a link whose tcp is open: reads from it, and asks a proxy for the way first. False: not yet, or it has failed.
 */
bool http_link_listen(struct http_link *link);

/* Over a link that has just been opened to the server. */
void http_link_begin(struct http_link *link);

/* Bytes of a response, and its end: by the end of the connection, or short of it. */
void http_link_take(struct http_link *link, const char *bytes, size_t size);
void http_link_take_end(struct http_link *link);

/* --- http_link_proxy.c -------------------------------------------------------------------------------------------- */

/* Reads the proxy into the client, whose other options have been read. */
bool http_client_proxy(struct http_client *client, const struct http_proxy *proxy, struct error *error);

/* Asks the proxy, to which a link has just been opened, for the way. False: the link has failed. */
bool http_link_proxy_begin(struct http_link *link);

/* Bytes of its answer; the link goes on with http_link_begin when the way is there. */
void http_link_proxy_take(struct http_link *link, const char *bytes, size_t size);

/* --- http_link_tls.c ---------------------------------------------------------------------------------------------- */

/* A link that has just been opened to a host with TLS; false: it has failed. */
bool http_link_tls_begin(struct http_link *link);

/* Sealed bytes from the network. */
void http_link_tls_take(struct http_link *link, const char *bytes, size_t size);

/* The exchange's request, or as soon as the handshake is done. */
bool http_link_tls_send(struct http_link *link);

/* Closes the link and ends its exchange: `what` of the server, and why if there is more to say. */
void http_link_fail(struct http_link *link, enum http_end end, const char *what, const char *why);

/* The exchange's link, if it has one, has been dealt with. */
void http_exchange_end(struct http_exchange *exchange, enum http_end end, const char *sentence);
void http_exchange_free(struct http_exchange *exchange);

/* A link is in one list at most. */
void http_link_enter(struct http_link *link, struct http_link **list);
void http_link_leave(struct http_link *link);

/* --- http_connect.c ----------------------------------------------------------------------------------------------- */

/* A new link for an exchange. False: it has ended. */
bool http_link_connect(struct http_exchange *exchange);

/* Links to come begin with the address after this one's. */
void http_address_pass(const struct http_link *link);

/* The client has been closed: a look-up that nobody waits for must not keep the loop. */
void http_look_up_end(struct http_client *client);

#endif
