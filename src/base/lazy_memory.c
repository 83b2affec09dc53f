/* A list of what is mapped; the system says which pages are there. */
#include "base/lazy_memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES_AT_ONCE = 1 << 16 };

struct mapping {
  char *data;
  size_t bytes;
  int n_count; /* that look at its pages without the lock: it stays until they are done */
  struct mapping *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list and what is in it; held for no page */
static pthread_cond_t counted = PTHREAD_COND_INITIALIZER;
static struct mapping *mappings;

void *lazy_memory_map(size_t bytes) {
  struct mapping *mapping = malloc(sizeof *mapping);
  if (!mapping) return NULL;
  void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    free(mapping);
    return NULL;
  }
  pthread_mutex_lock(&lock);
  *mapping = (struct mapping){.data = data, .bytes = bytes, .next = mappings};
  mappings = mapping;
  pthread_mutex_unlock(&lock);
  return data;
}

/* The place in the list of what is mapped there. */
static struct mapping **mapping_find(const void *memory) {
  struct mapping **place = &mappings;
  while ((*place)->data != memory) place = &(*place)->next;
  return place;
}

void lazy_memory_unmap(void *memory) {
  if (!memory) return;
  pthread_mutex_lock(&lock);
  while ((*mapping_find(memory))->n_count > 0) pthread_cond_wait(&counted, &lock);
  struct mapping **place = mapping_find(memory), *mapping = *place;
  *place = mapping->next;
  pthread_mutex_unlock(&lock);
  munmap(mapping->data, mapping->bytes);
  free(mapping);
}

void lazy_memory_forget(void *memory) {
  pthread_mutex_lock(&lock);
  const struct mapping *mapping = *mapping_find(memory); /* the caller's, so that nobody unmaps it meanwhile */
  pthread_mutex_unlock(&lock);
  madvise(mapping->data, mapping->bytes, MADV_DONTNEED);
}

static uint64_t mapping_promised(const struct mapping *mapping) {
  unsigned char there[PAGES_AT_ONCE];
  size_t page = (size_t)sysconf(_SC_PAGESIZE), piece = PAGES_AT_ONCE * page;
  uint64_t missing = 0;
  for (size_t at = 0; at < mapping->bytes; at += piece) {
    size_t bytes = mapping->bytes - at < piece ? mapping->bytes - at : piece;
    if (mincore(mapping->data + at, bytes, there) != 0) continue;
    for (size_t i = 0; i < (bytes + page - 1) / page; i++) missing += !(there[i] & 1);
  }
  return missing * page;
}

uint64_t lazy_memory_promised(void) {
  uint64_t bytes = 0;
  pthread_mutex_lock(&lock);
  for (struct mapping *mapping = mappings; mapping; mapping = mapping->next) {
    mapping->n_count++;
    pthread_mutex_unlock(&lock);
    bytes += mapping_promised(mapping);
    pthread_mutex_lock(&lock);
    if (--mapping->n_count == 0) pthread_cond_broadcast(&counted);
  }
  pthread_mutex_unlock(&lock);
  return bytes;
}
