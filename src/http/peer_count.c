/* A hash table of chains, under one lock: taken once when a connection comes and once when it goes. */
#include "http/peer_count.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct peer {
  uint64_t key;
  int n_connection;
  struct peer *next;
};

void peer_count_init(struct peer_count *count) {
  memset(count->bucket, 0, sizeof count->bucket);
  pthread_mutex_init(&count->lock, NULL);
}

void peer_count_release(struct peer_count *count) { pthread_mutex_destroy(&count->lock); }

uint64_t peer_key(const struct sockaddr_storage *address) {
  uint64_t key = 0;
  if (address->ss_family == AF_INET) {
    /* as IPv6 networks that no client has: those that start with 16 zeros are reserved */
    return (uint64_t)ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) << 16 | 0xffff;
  }
  if (address->ss_family != AF_INET6) return 0;
  const struct in6_addr *ip = &((const struct sockaddr_in6 *)address)->sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(ip)) {
    uint32_t mapped;
    memcpy(&mapped, ip->s6_addr + 12, sizeof mapped);
    return (uint64_t)ntohl(mapped) << 16 | 0xffff;
  }
  memcpy(&key, ip->s6_addr, sizeof key);
  return key ? key : 1; /* ::1 and its like */
}

static struct peer **find(struct peer_count *count, uint64_t key) {
  struct peer **place = &count->bucket[key * 0x9e3779b97f4a7c15u >> 32 & (PEER_BUCKETS - 1)];
  while (*place && (*place)->key != key) place = &(*place)->next;
  return place;
}

bool peer_count_add(struct peer_count *count, uint64_t key, int max) {
  pthread_mutex_lock(&count->lock);
  struct peer **place = find(count, key);
  if (!*place) *place = calloc(1, sizeof **place);
  struct peer *peer = *place;
  bool fits = peer && peer->n_connection < max;
  if (fits) {
    peer->key = key;
    peer->n_connection++;
  }
  pthread_mutex_unlock(&count->lock);
  return fits;
}

void peer_count_remove(struct peer_count *count, uint64_t key) {
  pthread_mutex_lock(&count->lock);
  struct peer **place = find(count, key), *peer = *place;
  if (--peer->n_connection == 0) {
    *place = peer->next;
    free(peer);
  }
  pthread_mutex_unlock(&count->lock);
}
