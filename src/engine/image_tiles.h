/* Which rows of an encoder a picture of LLaVA-NeXT becomes: those of the whole, then those of its tiles line by line
 * over all of them, without the lines or columns that are bars alone, each line with a row behind it that is the
 * network's own. Arithmetic alone; any thread. */
#ifndef SPATE_ENGINE_IMAGE_TILES_H
#define SPATE_ENGINE_IMAGE_TILES_H

#include <stdint.h>

struct image_tiles {
  int32_t rows, columns; /* of tiles, beside the whole, which is the encoder's first */
  int32_t side;          /* rows of the encoder on a tile's side */
  int32_t width, height; /* of the picture, before it was resized */
};

enum { IMAGE_BREAK = -1 };

/* How many tokens stand for the picture. */
int32_t image_tiles_count(const struct image_tiles *tiles);

/* For each of them the encoder's row, counted over all tiles, or IMAGE_BREAK: the row that is plan_vision.breaks. */
void image_tiles_rows(const struct image_tiles *tiles, int32_t *row);

#endif
