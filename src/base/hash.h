/* 128-bit hashes (XXH3). The key makes values unpredictable across processes; it is no authentication. */
#ifndef SPATE_BASE_HASH_H
#define SPATE_BASE_HASH_H

#include "base/slice.h"

struct hash128 {
  uint64_t low, high;
};

struct hash128 hash_bytes(struct slice bytes, uint64_t key);

static inline bool hash_equal(struct hash128 a, struct hash128 b) { return a.low == b.low && a.high == b.high; }

/* The same over bytes that arrive in pieces. */
struct hasher;
struct hasher *hasher_new(uint64_t key); /* NULL when out of memory */
void hasher_update(struct hasher *hasher, struct slice bytes);
struct hash128 hasher_finish(struct hasher *hasher); /* and frees it */

/* 32 lower-case hexadecimal digits and a NUL. */
void hash_format(struct hash128 hash, char out[33]);

/* The same back; false: they are not 32 such digits. */
bool hash_parse(struct slice text, struct hash128 *hash);

#endif
