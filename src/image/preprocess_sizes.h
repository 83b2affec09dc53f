/* Sizes that processors resize to, in the order of operations of transformers: the last bit of a quotient decides. */
#ifndef SPATE_IMAGE_PREPROCESS_SIZES_H
#define SPATE_IMAGE_PREPROCESS_SIZES_H

#include "image/preprocess_config.h"

struct extent {
  int64_t height, width;
};

/* By config->size, of pictures that become one tile. */
struct extent extent_of_size(const struct preprocess_size *size, struct extent from);

/* By whatever the configuration does with a picture that becomes one tile. */
struct extent extent_resized(const struct preprocess_config *config, struct extent from);
struct extent extent_cropped(const struct preprocess_config *config, struct extent from);

/* GRID: what the whole is resized to, and the side of the squares that a grid is cut into. */
struct extent extent_of_whole(const struct preprocess_config *config);
int edge_of_tile(const struct preprocess_config *config);

/* GRID: which of the pinpoints, and what the picture is within it. */
int grid_choose(const struct preprocess_config *config, struct extent from);
struct extent extent_within(struct extent from, struct extent target);

/* SPLIT: before and after it is made a multiple of a tile. */
struct extent extent_by_longest(const struct preprocess_size *size, struct extent from);
struct extent extent_of_tiles(struct extent from, int edge);

/* PAN: rows and columns of parts, and their size; 0 × 0 where there are none. */
struct extent pan_parts(const struct preprocess_config *config, struct extent from, struct extent *part);

/* AREA; false when one side is more than 200 times the other. */
bool extent_of_area(const struct preprocess_config *config, struct extent from, struct extent *to);

/* FIT. */
struct extent extent_to_fit(const struct preprocess_config *config, struct extent from);

#endif
