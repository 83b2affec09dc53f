/* The memory of one KV group on the CPU: blocks of limits.block_size tokens of all its layers. Within a block, for each
 * layer and head: the keys in tiles of at most 64 tokens, transposed (dimension-major, so that scores are computed for
 * neighbouring keys at once), then the values token by token. Pages that no sequence has written cost nothing.
 *
 * bf16 lies in pairs, as matrix units take their right side: of a key two neighbouring dimensions together, of the
 * values two neighbouring tokens' of each dimension; and in whole tiles of such a unit, zeros behind the last.
 *
 * Codes of eight bits (int8, E4M3) lie in quads in the same way where a matrix unit takes them, and are followed
 * by their scales, floats: of the block's keys, then of its values.
 *
 * Where a value is the end of its key there are keys and their scales alone. */
#ifndef SPATE_BACKEND_KV_CACHE_H
#define SPATE_BACKEND_KV_CACHE_H

#include "plan/backend.h"

enum {
  KEY_TILE = 64,       /* tokens that attention takes at once, at absolute positions */
  KV_PAIRED_DIMS = 32, /* of a key in a tile of a matrix unit, */
  KV_PAIRED_COLS = 16, /* of values, and tokens of keys */
  KV_CODED_DIMS = 4,   /* of a key in codes there is a multiple of these */
  KV_TURNED_COLS = 64, /* of values that a matrix unit takes out of keys */
};

static inline bool kv_is_coded(uint8_t dtype) { return dtype == KV_INT8 || dtype == KV_E4M3; }

struct kv_layout {
  int32_t n_layer, n_head, dim_k, dim_v;
  int32_t stored_k, stored_v; /* dimensions in memory, of a value where it lies by itself */
  int32_t block_size;
  int32_t tile;     /* tokens of a key tile in memory: min(KEY_TILE, block_size) */
  int32_t together; /* numbers that lie together: of neighbouring dimensions of a key, of neighbouring tokens' values */
  uint8_t dtype;
  bool value_in_key;  /* its last dim_v dimensions */
  size_t element;     /* bytes of one number */
  size_t keys_bytes;  /* of one head's keys in a block: where its values start */
  size_t scales_at;   /* where the scales of its codes start */
  size_t head_bytes;  /* keys, values and scales */
  size_t block_bytes; /* all layers */
};

struct kv_cache {
  struct kv_layout layout;
  uint8_t *data; /* block 0 */
  void *map;
  size_t map_bytes;
};

/* One head of one layer, as attention reads it through a row's block table. */
struct kv_head {
  const struct kv_layout *layout;
  uint8_t *data; /* of this head in block 0 */
  const uint32_t *block;
};

/* quads: codes lie in quads. Blocks are as large either way. */
struct kv_layout kv_layout_of(const struct kv_group *group, const struct limits *limits, bool quads);

bool kv_cache_open(struct kv_cache *cache, const struct kv_layout *layout, uint32_t n_block, struct error *error);
void kv_cache_close(struct kv_cache *cache);
/* Forgets all blocks: their pages go back to the system, and read as zeros, as at first. */
void kv_cache_forget(struct kv_cache *cache);

struct kv_head kv_cache_head(const struct kv_cache *cache, int layer, int head, const uint32_t *block);

/* Where the keys of the tile that holds token `token` start; dimension d of tile token j is, of n that lie together,
 * element (d / n × tile + j) × n + d % n. */
static inline uint8_t *kv_head_keys(const struct kv_head *head, int token) {
  const struct kv_layout *l = head->layout;
  size_t within = (size_t)(token % l->block_size) / (size_t)l->tile;
  return head->data + head->block[token / l->block_size] * l->block_bytes +
         within * (size_t)l->tile * (size_t)l->stored_k * l->element;
}

/* The value of a token that is not in its key, or of the n together that it is in: dimension d of token j is element d
 * × n + j % n. */
static inline uint8_t *kv_head_value(const struct kv_head *head, int token) {
  const struct kv_layout *l = head->layout;
  return head->data + head->block[token / l->block_size] * l->block_bytes + l->keys_bytes +
         (size_t)(token % l->block_size / l->together * l->together) * (size_t)l->stored_v * l->element;
}

/* The scale of a token's key; that of its value lies kv_value_scale floats on. */
static inline float *kv_head_scales(const struct kv_head *head, int token) {
  const struct kv_layout *l = head->layout;
  uint8_t *block = head->data + head->block[token / l->block_size] * l->block_bytes;
  return (float *)(void *)(block + l->scales_at) + token % l->block_size;
}

static inline int kv_value_scale(const struct kv_layout *l) { return l->value_in_key ? 0 : l->block_size; }

/* dim_k numbers of a key or dim_v of a value in the cache's type; scale: what codes are multiplied with. */
struct kv_numbers {
  const void *number;
  float scale;
};

/* Stores one token's key and value, which is not read where it is in the key. */
void kv_head_store(const struct kv_head *head, int token, struct kv_numbers key, struct kv_numbers value);

#endif
