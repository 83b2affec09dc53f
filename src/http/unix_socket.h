/* A listening socket in the file system. */
#ifndef SPATE_HTTP_UNIX_SOCKET_H
#define SPATE_HTTP_UNIX_SOCKET_H

#include "base/error.h"

/* Listens at path, for the user of this process alone (mode 0600). A socket that nobody listens on any more is
 * replaced; anything else that is there is an error. Returns the descriptor, or −1. */
int unix_socket_listen(const char *path, int backlog, struct error *error);

#endif
