/* SipHash-2-4-128, from the paper's description. */
#include "base/keyed_hash.h"

#include <endian.h>
#include <string.h>

struct sip {
  uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static void sip_round(struct sip *s) {
  s->v0 += s->v1;
  s->v2 += s->v3;
  s->v1 = rotate(s->v1, 13) ^ s->v0;
  s->v3 = rotate(s->v3, 16) ^ s->v2;
  s->v0 = rotate(s->v0, 32) + s->v3;
  s->v2 += s->v1;
  s->v1 = rotate(s->v1, 17) ^ s->v2;
  s->v3 = rotate(s->v3, 21) ^ s->v0;
  s->v2 = rotate(s->v2, 32);
}

static void sip_word(struct sip *s, uint64_t word) {
  s->v3 ^= word;
  sip_round(s);
  sip_round(s);
  s->v0 ^= word;
}

/* Up to eight bytes, the first lowest. */
static uint64_t word_load(struct slice bytes, size_t first, size_t count) {
  uint64_t word = 0;
  if (count > 0) memcpy(&word, bytes.data + first, count);
  return le64toh(word);
}

static uint64_t sip_finish(struct sip *s) {
  for (int i = 0; i < 4; i++) sip_round(s);
  return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

struct hash128 keyed_hash(const struct hash_key *key, struct slice bytes) {
  struct sip s = {key->low ^ 0x736f6d6570736575u, key->high ^ 0x646f72616e646f6du ^ 0xee,
                  key->low ^ 0x6c7967656e657261u, key->high ^ 0x7465646279746573u};
  size_t whole = bytes.size & ~(size_t)7;
  for (size_t i = 0; i < whole; i += 8) sip_word(&s, word_load(bytes, i, 8));
  sip_word(&s, word_load(bytes, whole, bytes.size - whole) | (uint64_t)bytes.size << 56);
  struct hash128 hash;
  s.v2 ^= 0xee;
  hash.low = sip_finish(&s);
  s.v1 ^= 0xdd;
  hash.high = sip_finish(&s);
  return hash;
}
