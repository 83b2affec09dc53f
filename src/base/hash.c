/* Hashes: libxxhash behind one header. */
#include "base/hash.h"

#include <stdio.h>
#include <xxhash.h>

struct hash128 hash_bytes(struct slice bytes, uint64_t key) {
  XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data, bytes.size, key);
  return (struct hash128){hash.low64, hash.high64};
}

struct hasher *hasher_new(uint64_t key) {
  XXH3_state_t *state = XXH3_createState();
  if (state) XXH3_128bits_reset_withSeed(state, key);
  return (struct hasher *)state;
}

void hasher_update(struct hasher *hasher, struct slice bytes) {
  XXH3_128bits_update((XXH3_state_t *)hasher, bytes.data, bytes.size);
}

struct hash128 hasher_finish(struct hasher *hasher) {
  XXH128_hash_t hash = XXH3_128bits_digest((XXH3_state_t *)hasher);
  XXH3_freeState((XXH3_state_t *)hasher);
  return (struct hash128){hash.low64, hash.high64};
}

void hash_format(struct hash128 hash, char out[33]) {
  snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash.high, (unsigned long long)hash.low);
}

static bool half_parse(const uint8_t *digits, uint64_t *half) {
  *half = 0;
  for (int i = 0; i < 16; i++) {
    bool letter = digits[i] >= 'a' && digits[i] <= 'f';
    if (!letter && (digits[i] < '0' || digits[i] > '9')) return false;
    *half = *half << 4 | (uint64_t)(letter ? digits[i] - 'a' + 10 : digits[i] - '0');
  }
  return true;
}

bool hash_parse(struct slice text, struct hash128 *hash) {
  return text.size == 32 && half_parse(text.data, &hash->high) && half_parse(text.data + 16, &hash->low);
}
