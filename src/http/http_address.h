/* The parts of a server's URL that its client needs. */
#ifndef SPATE_HTTP_HTTP_ADDRESS_H
#define SPATE_HTTP_HTTP_ADDRESS_H

#include "base/error.h"

struct http_address {
  bool tls;                /* https:// */
  char host[256], port[8]; /* for a look-up: a name or a number, without brackets */
  char authority[272];     /* HOST:PORT, for the header Host and for sentences; without the scheme's own port */
  char prefix[256];        /* the URL's path without a slash at its end */
};

/* url: http://HOST[:PORT][/PATH]. Nothing is looked up. */
bool http_address_parse(struct http_address *address, const char *url, struct error *error);

/* The same, for a client that can also do https://. */
bool http_address_parse_any(struct http_address *address, const char *url, struct error *error);

#endif
