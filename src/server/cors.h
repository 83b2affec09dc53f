/* Which web pages may read the answers: cross-origin resource sharing, as the Fetch standard has it. Constant once the
 * server listens; any thread. */
#ifndef SPATE_SERVER_CORS_H
#define SPATE_SERVER_CORS_H

#include "base/buffer.h"
#include "base/error.h"
#include "http/http_request.h"

/* Lists are separated by commas; "*" stands for everything. Borrowed. */
struct cors_options {
  const char *origins; /* NULL: pages of other origins read nothing, and the rest may not be given */
  const char *methods; /* NULL: GET */
  const char *headers; /* NULL: those that every page may send */
  bool credentials;
};

bool cors_check(const struct cors_options *options, struct error *error);

/* Writes what tells the browser whether the page that sent the request may read its answer. */
void cors_write_headers(const struct cors_options *options, const struct http_request *request, struct buffer *out);

/* Whether the request only asks what a page may do; the headers above then are the answer. */
bool cors_is_preflight(const struct cors_options *options, const struct http_request *request);

#endif
