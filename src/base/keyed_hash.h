/* A keyed hash of 128 bits: SipHash-2-4 with the double output (Aumasson and Bernstein, "SipHash: a fast short-input
 * PRF", 2012). A pseudo-random function: who does not have the key can neither predict a hash nor make two inputs that
 * share one, which the faster hash.h does not promise. */
#ifndef SPATE_BASE_KEYED_HASH_H
#define SPATE_BASE_KEYED_HASH_H

#include "base/hash.h"

struct hash_key {
  uint64_t low, high;
};

struct hash128 keyed_hash(const struct hash_key *key, struct slice bytes);

#endif
