/* Which addresses of the Internet protocol are public: what a server asks for on behalf of others stays away from the
 * rest, which is its own machine and network. */
#ifndef SPATE_HTTP_ADDRESS_RANGE_H
#define SPATE_HTTP_ADDRESS_RANGE_H

#include "base/error.h"
#include "base/slice.h"

#include <sys/socket.h>

/* Addresses that begin with the same bits; those of IPv4 as ::ffff:a.b.c.d. */
struct address_range {
  uint8_t bytes[16];
  int bits;
};

/* "10.1.0.0/16", "fd00:1::/32", or one address alone. */
bool address_range_parse(struct address_range *range, struct slice text, struct error *error);

/* What an address is that is not public, as the end of a sentence ("loopback"); NULL: it is public, or in one of the
 * ranges. */
const char *address_refuse(const struct sockaddr *address, const struct address_range *ranges, int n);

#endif
