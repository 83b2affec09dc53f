/* The other side of HTTP: requests to one server over libuv, with TLS or without. Connections are kept and used again.
 * What the server sends is not trusted: each exchange ends in one of four ways, with a sentence where it went wrong.
 * Redirects are answers as others are. Everything runs on the thread of the loop. */
#ifndef SPATE_HTTP_HTTP_CLIENT_H
#define SPATE_HTTP_HTTP_CLIENT_H

#include "base/error.h"
#include "base/slice.h"
#include "http/address_range.h"

#include <uv.h>

struct http_client;
struct http_exchange;
struct http_proxy;
struct tls_context;

enum http_end {
  HTTP_END_DONE,    /* a whole response came, whatever its status */
  HTTP_END_REFUSED, /* there was no connection: no address, nobody at any, or somebody else than was meant */
  HTTP_END_CUT,     /* the connection ended before the response did */
  HTTP_END_BAD,     /* what came is no HTTP */
};

/* user is the exchange's. header may be NULL; it comes for each header of the response, before head, but for those
 * whose values are longer than LIMIT_HEADER_BYTES. body may come many times, and not at all; end comes once, last,
 * unless the exchange was cancelled; a new one may be begun in it. */
struct http_client_callbacks {
  void (*header)(void *user, const char *name, const char *value); /* the name as it was sent, its end cut off */
  void (*head)(void *user, int status, const char *content_type);
  void (*body)(void *user, struct slice bytes);
  void (*end)(void *user, enum http_end end, const char *sentence); /* sentence: NULL when done */
};

enum http_look_ups {
  HTTP_LOOK_UP_EACH, /* for each connection: the server may move */
  HTTP_LOOK_UP_ONCE, /* until the host has been found */
};

/* Where a client may connect to: to what is public and in these ranges, if to any address of the host. The address that
 * was looked at is the one that is connected to. */
struct http_guard {
  const struct address_range *ranges;
  int n;
};

/* Texts are read at opening; the rest stays the caller's, and as long as the client. */
struct http_client_options {
  const char *url;    /* http://HOST[:PORT][/PATH]; the path stands before that of each request */
  const char *bearer; /* sent as Authorization; may be NULL */
  enum http_look_ups look_ups;
  struct tls_context *tls;        /* of tls_client_context_open, for https://; NULL: that is refused */
  const struct http_guard *guard; /* NULL: any address will do */
  const struct http_proxy *proxy; /* of http_proxy.h; the name is looked up by it, and no guard sees what it finds.
                                     NULL: none */
};

/* All addresses that the host has are tried. */
struct http_client *http_client_open(uv_loop_t *loop, const struct http_client_options *options,
                                     const struct http_client_callbacks *callbacks, struct error *error);

/* Closes the idle connections, and with them what keeps the loop running; free the client when the loop has ended. */
void http_client_close(struct http_client *client);
void http_client_free(struct http_client *client);

/* POSTs JSON, which is copied. NULL: it has failed already, and end has told so. */
struct http_exchange *http_client_post(struct http_client *client, const char *path, struct slice json, void *user);

/* GETs target, a path with or without a query; accept: the types that are wanted; lines: more of the head, each with
 * its CR and LF, or NULL. NULL as above. */
struct http_exchange *http_client_get(struct http_client *client, const char *target, const char *accept,
                                      const char *lines, void *user);

/* No callback comes any more, also when called by one. */
void http_exchange_cancel(struct http_exchange *exchange);

#endif
