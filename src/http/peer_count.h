/* How many connections each address has. An IPv6 network of 64 bits counts as one address: one client owns it. Any
 * thread. */
#ifndef SPATE_HTTP_PEER_COUNT_H
#define SPATE_HTTP_PEER_COUNT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { PEER_BUCKETS = 1024 };

struct peer_count {
  pthread_mutex_t lock;
  struct peer *bucket[PEER_BUCKETS];
};

void peer_count_init(struct peer_count *count);
void peer_count_release(struct peer_count *count); /* every peer has been removed */

/* The number that stands for an address of IPv4 or IPv6; 0 for any other. */
uint64_t peer_key(const struct sockaddr_storage *address);

/* Counts one more; false when that would be more than max (or there is no memory), and then it is not counted. */
bool peer_count_add(struct peer_count *count, uint64_t key, int max);
void peer_count_remove(struct peer_count *count, uint64_t key);

#endif
