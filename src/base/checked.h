/* Overflow-checked arithmetic on sizes that come from untrusted bytes. Each returns false when the result does not
 * fit, and then *out is not to be used. */
#ifndef SPATE_BASE_CHECKED_H
#define SPATE_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool size_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool size_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

/* a rounded up to a multiple of unit (a power of two). */
static inline bool size_align(size_t a, size_t unit, size_t *out) {
  if (__builtin_add_overflow(a, unit - 1, out)) return false;
  *out &= ~(unit - 1);
  return true;
}

/* True when [offset, offset + size) lies within [0, total). */
static inline bool range_within(uint64_t offset, uint64_t size, uint64_t total) {
  return offset <= total && size <= total - offset;
}

#endif
