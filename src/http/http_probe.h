/* One GET, blocking, for a program that only wants to know the status. */
#ifndef SPATE_HTTP_HTTP_PROBE_H
#define SPATE_HTTP_HTTP_PROBE_H

#include "base/error.h"

struct http_probe {
  const char *host;
  int port;
  const char *unix_path; /* in place of an address; NULL: host and port */
  bool tls;              /* whoever listens is not asked to prove who it is: for servers of this machine */
  int seconds;           /* that each step may take */
};

/* The status that path answers with, or 0 with a sentence. */
int http_probe_status(const struct http_probe *probe, const char *path, struct error *error);

#endif
