/* Where a client finds its server. */
#ifndef SPATE_HTTP_HTTP_ADDRESS_H
#define SPATE_HTTP_HTTP_ADDRESS_H

#include "base/error.h"

#include <sys/socket.h>

struct http_address {
  struct sockaddr_storage socket;
  char authority[300]; /* HOST:PORT, for the header Host and for sentences */
  char prefix[256];    /* the URL's path without a slash at its end */
};

/* url: http://HOST[:PORT][/PATH]. Looks up the host, and waits for that. */
bool http_address_find(struct http_address *address, const char *url, struct error *error);

#endif
