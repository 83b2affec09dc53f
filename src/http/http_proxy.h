/* Which proxy stands between a client and a server, by what the environment says. */
#ifndef SPATE_HTTP_HTTP_PROXY_H
#define SPATE_HTTP_HTTP_PROXY_H

#include "http/http_address.h"
#include "http/http_url.h"

/* Texts of the environment; NULL or "": not set. */
struct http_proxy_rules {
  const char *https, *http; /* for servers of each scheme */
  const char *all;          /* where the former is not set */
  const char *none;         /* hosts that need none, with commas: a name stands for those below it too, * for all */
};

struct http_proxy {
  struct http_address address;
  char credentials[512]; /* of Proxy-Authorization, in base64; "": none */
};

/* Of the process's environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in small letters first. */
struct http_proxy_rules http_proxy_environment(void);

/* *found: whether there is one for this server. False with a sentence, which does not repeat a password: it is none
 * that can be used. */
bool http_proxy_find(const struct http_proxy_rules *rules, const struct http_url *server, struct http_proxy *proxy,
                     bool *found, struct error *error);

#endif
