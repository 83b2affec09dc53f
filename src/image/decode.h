/* From a file's bytes to pixels: JPEG, PNG and WebP, as PIL's `exif_transpose(Image.open(file)).convert("RGB")` has
 * them, byte for byte: colour profiles are not looked at, alpha is dropped, 16-bit colours are their high byte, 16-bit
 * greys are cut off at 255. The bytes are untrusted and the libraries large: a server decodes in helpers
 * (decode_pool.h). */
#ifndef SPATE_IMAGE_DECODE_H
#define SPATE_IMAGE_DECODE_H

#include "base/slice.h"
#include "image/image.h"

enum image_format { IMAGE_UNKNOWN, IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP };

/* By the first bytes. */
enum image_format image_format_find(struct slice file);

/* What can be told of a file without a decoder: its size and its format. `mime` is what its sender says that it is,
 * {NULL, 0} when nothing was said. */
bool image_file_check(struct slice file, struct slice mime, struct error *error);

/* Codes: INVALID (malformed), UNSUPPORTED, LIMIT, MEMORY. */
bool image_decode(struct slice file, struct image *image, struct error *error);

#endif
