/* Private to the room: a look-up of a host's addresses, each on a thread of its own. A resolver may not answer for many
 * seconds; libuv's own threads would be held so long, and with them the work of others. */
#ifndef SPATE_HTTP_HTTP_LOOK_UP_H
#define SPATE_HTTP_HTTP_LOOK_UP_H

#include "http/http_address.h"

#include <netdb.h>
#include <uv.h>

struct http_look_up;

/* On the loop's thread, once, unless it was abandoned. found: the callee's, to be freed by freeaddrinfo; NULL: none,
 * and why says so. */
typedef void (*http_found)(void *user, struct addrinfo *found, const char *why);

/* NULL: there is no memory, or the system refuses a thread. address is copied. */
struct http_look_up *http_look_up_begin(uv_loop_t *loop, const struct http_address *address, http_found on_found,
                                        void *user);

/* The callback does not come any more, and the loop need not wait for the resolver. */
void http_look_up_abandon(struct http_look_up *look_up);

#endif
