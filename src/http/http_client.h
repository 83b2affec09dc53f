/* The other side of HTTP: requests to one server over libuv. Connections are kept and used again. What the server sends
 * is not trusted: each exchange ends in one of four ways, with a sentence where it went wrong. Everything runs on the
 * thread of the loop. */
#ifndef SPATE_HTTP_HTTP_CLIENT_H
#define SPATE_HTTP_HTTP_CLIENT_H

#include "base/error.h"
#include "base/slice.h"

#include <uv.h>

struct http_client;
struct http_exchange;

enum http_end {
  HTTP_END_DONE,    /* a whole response came, whatever its status */
  HTTP_END_REFUSED, /* there was no connection: no address, or nobody at any */
  HTTP_END_CUT,     /* the connection ended before the response did */
  HTTP_END_BAD,     /* what came is no HTTP */
};

/* user is the exchange's. body may come many times, and not at all; end comes once, last, unless the exchange was
 * cancelled; a new one may be begun in it. */
struct http_client_callbacks {
  void (*head)(void *user, int status, const char *content_type);
  void (*body)(void *user, struct slice bytes);
  void (*end)(void *user, enum http_end end, const char *sentence); /* sentence: NULL when done */
};

enum http_look_ups {
  HTTP_LOOK_UP_EACH, /* for each connection: the server may move */
  HTTP_LOOK_UP_ONCE, /* until the host has been found */
};

/* url: http://HOST[:PORT][/PATH]; the path stands before that of each request. All addresses that the host has are
 * tried.
 * bearer: sent as Authorization; may be NULL. */
struct http_client *http_client_open(uv_loop_t *loop, const char *url, const char *bearer, enum http_look_ups look_ups,
                                     const struct http_client_callbacks *callbacks, struct error *error);

/* Closes the idle connections, and with them what keeps the loop running; free the client when the loop has ended. */
void http_client_close(struct http_client *client);
void http_client_free(struct http_client *client);

/* POSTs JSON, which is copied. NULL: it has failed already, and end has told so. */
struct http_exchange *http_client_post(struct http_client *client, const char *path, struct slice json, void *user);

/* No callback comes any more, also when called by one. */
void http_exchange_cancel(struct http_exchange *exchange);

#endif
