/* One decoder for each format, which decode.c calls. Each checks the size that the header tells before it takes memory,
 * and has the orientation in the end: 1 where none is stated. */
#ifndef SPATE_IMAGE_DECODE_FORMATS_H
#define SPATE_IMAGE_DECODE_FORMATS_H

#include "base/slice.h"
#include "image/image.h"

/* On failure there is no image to release. */
bool jpeg_decode(struct slice file, struct image *image, int *orientation, struct error *error);
bool png_decode(struct slice file, struct image *image, int *orientation, struct error *error);
bool webp_decode(struct slice file, struct image *image, int *orientation, struct error *error);

/* The orientation in EXIF data, which is a TIFF file ("Exif\0\0" before it or not); 1 when there is none. */
int exif_orientation(struct slice exif);

#endif
