/* From a picture to an encoder's numbers, as the PIL backend of transformers' image processors computes them, bit for
 * bit. Plain functions: any thread. */
#ifndef SPATE_IMAGE_PREPROCESS_H
#define SPATE_IMAGE_PREPROCESS_H

#include "image/preprocess_config.h"

/* What a picture of some size becomes: known before its pixels are. */
struct preprocess_plan {
  int tiles, tile_height, tile_width; /* all tiles are of one size */
  int rows, columns;               /* GRID, SPLIT: of tiles beside the whole, 0 where there are none; PAN: of parts */
  int canvas_height, canvas_width; /* GRID, SPLIT: what is cut into tiles. AREA, FIT, WHOLE: the resized picture */
};

/* Fails when the picture would become too large, or has a shape that the model does not take. */
bool preprocess_measure(const struct preprocess_config *config, int width, int height, struct preprocess_plan *plan,
                        struct error *error);

/* How the numbers lie. */
struct preprocess_layout {
  int patch;  /* 0: [tile][channel][row][column]. Else [tile][patch][channel][frame][row][column] of square patches */
  int merge;  /* patches lie in blocks of merge × merge, row by row in the block; 1: row by row of the tile */
  int frames; /* each picture repeated so often */
};

/* As the processor returns them: patches for AREA, whole tiles for the others. */
struct preprocess_layout preprocess_layout_of(const struct preprocess_config *config);

static inline size_t preprocess_count(const struct preprocess_plan *plan, const struct preprocess_layout *layout) {
  size_t pixels = (size_t)plan->tiles * (size_t)plan->tile_height * (size_t)plan->tile_width;
  return 3 * pixels * (size_t)(layout->patch ? layout->frames : 1);
}

/* Fills preprocess_count numbers, by the plan of this picture's size. A layout with patches must divide the tiles. */
bool preprocess_run(const struct preprocess_config *config, const struct preprocess_plan *plan,
                    const struct preprocess_layout *layout, const struct image *image, float *numbers,
                    struct error *error);

#endif
