/* URLs that others send, of http and https alone: read strictly and written one way, so that what is compared with a
 * list is what is asked for. */
#ifndef SPATE_HTTP_HTTP_URL_H
#define SPATE_HTTP_HTTP_URL_H

#include "base/error.h"
#include "base/limits.h"
#include "base/slice.h"

struct http_url {
  bool tls;                           /* https:// */
  char host[256], port[8];            /* a name in small letters, or a number without brackets */
  char authority[272];                /* as the header Host has it: without the scheme's own port */
  char target[LIMIT_FETCH_URL_BYTES]; /* the path, and the query where there is one */
  size_t path_size;                   /* of target; at least the / at its beginning */
};

/* Refused are users, fragments, bytes that URLs do not have, and paths that somebody could read as another one: with
 * segments . or .., however they are encoded. Percent-encodings of letters, digits, -, ., _ and ~ are undone. Nothing
 * is looked up. */
bool http_url_parse(struct http_url *url, struct slice text, struct error *error);

/* The URL that a redirect leads to from another one: a whole one, or a path of the same server. */
bool http_url_follow(struct http_url *url, const struct http_url *from, const char *location, struct error *error);

/* Do both name the same server: scheme, host and port? */
bool http_url_same_origin(const struct http_url *a, const struct http_url *b);

bool http_url_has_query(const struct http_url *url);

/* Is it at the prefix or below: the same scheme, host and port, and a path that begins with all segments of its? */
bool http_url_below(const struct http_url *url, const struct http_url *prefix);

#endif
