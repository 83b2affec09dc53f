/* Passes for x86 machines with AVX2, in vectors of eight 32-bit sums: compiled with -mavx2 (src/CMakeLists.txt), chosen
 * by resize_passes.c, which has the same in plain C. */
#include "image/resize_passes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

extern const struct resize_passes resize_passes_avx2;

enum { HALF = 1 << (AXIS_BITS - 1), COLUMNS = 4 }; /* vectors of a pass along columns that are in work at once */

static inline __m256i bytes_read(const uint8_t *from) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)from));
}

/* Four pixels at a time, whose sixteen bytes must be there. */
static void pass_widen(const uint8_t *from, int width, uint8_t *to) {
  const __m128i places = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
  int x = 0;
  for (; x + 6 <= width; x += 4) {
    __m128i pixels = _mm_loadu_si128((const __m128i *)(from + 3 * (size_t)x));
    _mm_storeu_si128((__m128i *)(to + 4 * (size_t)x), _mm_shuffle_epi8(pixels, places));
  }
  for (; x < width; x++)
    memcpy(to + 4 * (size_t)x, (const uint8_t[4]){from[3 * x], from[3 * x + 1], from[3 * x + 2]}, 4);
  memset(to + 4 * (size_t)width, 0, 4 * PASS_SLACK);
}

/* Sums of four channels, as bytes in the low 32 bits. */
static inline uint32_t sums_pack(__m128i sum) {
  __m128i words = _mm_packs_epi32(_mm_srai_epi32(sum, AXIS_BITS), _mm_setzero_si128());
  return (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(words, words));
}

/* A vector has two pixels of a row; the next two weights are spread over their channels. */
static void pass_along_rows(const struct resize_axis *axis, uint8_t *const from[PASS_ROWS],
                            uint8_t *const to[PASS_ROWS]) {
  const __m256i spread = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  for (int x = 0; x < axis->size; x++) {
    const int32_t *weight = axis->weight + (size_t)x * (size_t)axis->stride;
    size_t at = 4 * (size_t)axis->first[x];
    __m256i sum[PASS_ROWS] = {0};
    for (int i = 0; i < axis->count[x]; i += 2, at += 8) {
      long long two;
      memcpy(&two, weight + i, sizeof two);
      __m256i weights = _mm256_permutevar8x32_epi32(_mm256_set1_epi64x(two), spread);
      for (int r = 0; r < PASS_ROWS; r++)
        sum[r] = _mm256_add_epi32(sum[r], _mm256_mullo_epi32(bytes_read(from[r] + at), weights));
    }
    for (int r = 0; r < PASS_ROWS; r++) {
      __m128i both = _mm_add_epi32(_mm256_castsi256_si128(sum[r]), _mm256_extracti128_si256(sum[r], 1));
      uint32_t pixel = sums_pack(_mm_add_epi32(both, _mm_set1_epi32(HALF)));
      memcpy(to[r] + 3 * (size_t)x, &pixel, 3);
    }
  }
}

static void columns_sum(const int32_t *weight, int count, const uint8_t *from, size_t stride, uint8_t *to) {
  __m256i sum[COLUMNS];
  for (int v = 0; v < COLUMNS; v++) sum[v] = _mm256_set1_epi32(HALF);
  for (int i = 0; i < count; i++, from += stride) {
    __m256i weights = _mm256_set1_epi32(weight[i]);
    for (int v = 0; v < COLUMNS; v++)
      sum[v] = _mm256_add_epi32(sum[v], _mm256_mullo_epi32(bytes_read(from + 8 * v), weights));
  }
  for (int v = 0; v < COLUMNS; v++) sum[v] = _mm256_srai_epi32(sum[v], AXIS_BITS);
  __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(sum[0], sum[1]), _mm256_packs_epi32(sum[2], sum[3]));
  bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)); /* packing goes by halves */
  _mm256_storeu_si256((__m256i *)to, bytes);
}

static uint8_t column_sum(const int32_t *weight, int count, const uint8_t *from, size_t stride) {
  int32_t sum = HALF;
  for (int i = 0; i < count; i++) sum += from[(size_t)i * stride] * weight[i];
  int32_t value = sum >> AXIS_BITS;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* What does not fill the vectors is done again with the bytes before it, where there are so many. */
static void pass_along_columns(const struct resize_axis *axis, int place, const uint8_t *from, size_t stride,
                               size_t bytes, uint8_t *to) {
  const int32_t *weight = axis->weight + (size_t)place * (size_t)axis->stride;
  int count = axis->count[place];
  size_t at = 0, width = 8 * COLUMNS;
  for (; at + width <= bytes; at += width) columns_sum(weight, count, from + at, stride, to + at);
  if (at < bytes && bytes >= width)
    columns_sum(weight, count, from + bytes - width, stride, to + bytes - width);
  else
    for (; at < bytes; at++) to[at] = column_sum(weight, count, from + at, stride);
}

const struct resize_passes resize_passes_avx2 = {pass_widen, pass_along_rows, pass_along_columns};
#endif
