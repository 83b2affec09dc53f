/* KV memory: reserved once, never committed by us; the step thread's team reads and writes it. */
#include "backend/cpu/kv_cache.h"

#include "base/checked.h"
#include "base/lazy_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, CACHE_LINE = 64 };

static size_t line_align(size_t bytes) { return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE; }

static int32_t round_up(int32_t n, int32_t unit) { return (n + unit - 1) / unit * unit; }

struct kv_layout kv_layout_of(const struct kv_group *group, const struct limits *limits, bool quads) {
  struct kv_layout l = {.n_layer = group->n_layer,
                        .n_head = group->n_head,
                        .dim_k = group->dim_k,
                        .dim_v = group->dim_v,
                        .block_size = limits->block_size,
                        .dtype = limits->kv_dtype,
                        .value_in_key = group->value_in_key};
  bool paired = l.dtype == KV_BF16, coded = kv_is_coded(l.dtype);
  l.tile = l.block_size < KEY_TILE ? l.block_size : KEY_TILE;
  l.element = coded ? 1 : l.dtype == KV_F32 ? 4 : 2;
  l.stored_k = paired ? round_up(l.dim_k, KV_PAIRED_DIMS) : coded ? round_up(l.dim_k, KV_CODED_DIMS) : l.dim_k;
  l.stored_v = paired || coded ? round_up(l.dim_v, KV_PAIRED_COLS) : l.dim_v;
  if (l.value_in_key) l.stored_v = round_up(l.dim_v, KV_TURNED_COLS);
  l.together = paired ? 2 : quads && coded ? 4 : 1;
  l.keys_bytes = line_align((size_t)l.block_size * (size_t)l.stored_k * l.element);
  size_t apart = l.value_in_key ? 0 : 1, tokens = (size_t)l.block_size;
  l.scales_at = l.keys_bytes + apart * line_align(tokens * (size_t)l.stored_v * l.element);
  l.head_bytes = l.scales_at + (coded ? line_align((1 + apart) * tokens * sizeof(float)) : 0);
  l.block_bytes = l.head_bytes * (size_t)l.n_layer * (size_t)l.n_head;
  return l;
}

bool kv_cache_open(struct kv_cache *cache, const struct kv_layout *layout, uint32_t n_block, struct error *error) {
  *cache = (struct kv_cache){.layout = *layout};
  size_t bytes;
  if (!size_mul(layout->block_bytes, n_block, &bytes) || !size_add(bytes, HUGE_PAGE, &cache->map_bytes))
    return error_set(error, ERROR_MEMORY, "%u KV blocks of %zu bytes are more than an address can name.", n_block,
                     layout->block_bytes);
  void *map = lazy_memory_map(cache->map_bytes);
  if (!map)
    return error_set(error, ERROR_MEMORY, "%zu bytes for %u KV blocks could not be mapped (%s): allow less KV memory.",
                     bytes, n_block, strerror(errno));
  cache->map = map;
  cache->data = (uint8_t *)(((uintptr_t)map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
  madvise(cache->data, bytes, MADV_HUGEPAGE); /* a wish: fewer faults while a prompt is stored */
  return true;
}

void kv_cache_close(struct kv_cache *cache) {
  lazy_memory_unmap(cache->map);
  *cache = (struct kv_cache){0};
}

void kv_cache_forget(struct kv_cache *cache) {
  if (cache->map) lazy_memory_forget(cache->map);
}

struct kv_head kv_cache_head(const struct kv_cache *cache, int layer, int head, const uint32_t *block) {
  size_t index = (size_t)layer * (size_t)cache->layout.n_head + (size_t)head;
  return (struct kv_head){&cache->layout, cache->data + index * cache->layout.head_bytes, block};
}

/* A key's numbers to their column of the tile, n dimensions together: one copy for each element's size and n. */
static inline __attribute__((always_inline)) void key_scatter(const size_t element, const size_t n, size_t tile,
                                                              size_t column, size_t dim, const uint8_t *key,
                                                              uint8_t *keys) {
  for (size_t d = 0; d < dim; d++)
    memcpy(keys + ((d / n * tile + column) * n + d % n) * element, key + d * element, element);
}

static void key_store(const struct kv_head *head, int token, const void *key) {
  const struct kv_layout *l = head->layout;
  uint8_t *keys = kv_head_keys(head, token);
  size_t tile = (size_t)l->tile, column = (size_t)(token % l->tile), dim = (size_t)l->dim_k;
  switch (l->element * 8 + (size_t)l->together) {
  case 1 * 8 + 1: key_scatter(1, 1, tile, column, dim, key, keys); break;
  case 1 * 8 + 4: key_scatter(1, 4, tile, column, dim, key, keys); break;
  case 2 * 8 + 1: key_scatter(2, 1, tile, column, dim, key, keys); break;
  case 2 * 8 + 2: key_scatter(2, 2, tile, column, dim, key, keys); break;
  default: key_scatter(4, 1, tile, column, dim, key, keys); break;
  }
}

static void value_store(const struct kv_head *head, int token, const void *value) {
  const struct kv_layout *l = head->layout;
  uint8_t *values = kv_head_value(head, token);
  size_t n = (size_t)l->together, own = (size_t)token % n;
  if (n == 1) {
    memcpy(values, value, (size_t)l->dim_v * l->element);
    return;
  }
  for (size_t d = 0; d < (size_t)l->dim_v; d++) {
    if (l->element == 1)
      values[d * n + own] = ((const uint8_t *)value)[d];
    else
      ((uint16_t *)(void *)values)[d * n + own] = ((const uint16_t *)value)[d];
  }
}

void kv_head_store(const struct kv_head *head, int token, struct kv_numbers key, struct kv_numbers value) {
  const struct kv_layout *l = head->layout;
  key_store(head, token, key.number);
  if (!l->value_in_key) value_store(head, token, value.number);
  if (!kv_is_coded(l->dtype)) return;
  float *scales = kv_head_scales(head, token);
  if (!l->value_in_key) scales[kv_value_scale(l)] = value.scale;
  scales[0] = key.scale;
}
