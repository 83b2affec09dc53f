/* One GET, blocking, for a program that only wants to know how a server is. */
#ifndef SPATE_HTTP_HTTP_PROBE_H
#define SPATE_HTTP_HTTP_PROBE_H

#include "base/buffer.h"
#include "base/error.h"

struct http_probe {
  const char *host;
  int port;
  const char *unix_path; /* in place of an address; NULL: host and port */
  const char *bearer;    /* sent as Authorization; NULL: none */
  bool tls;
  bool proof; /* whoever listens must prove that it is the host; else it is not asked to: for servers of this machine */
  int seconds; /* that connecting, sending, and the whole answer may take each */
};

/* The status that path answers with, or 0 with a sentence. */
int http_probe_status(const struct http_probe *probe, const char *path, struct error *error);

/* The same, and the body appended to `body` as far as its maximum allows; more is refused. */
int http_probe_get(const struct http_probe *probe, const char *path, struct buffer *body, struct error *error);

#endif
