/* Images within JSON: base64, or a data: URL around it (RFC 2397, RFC 4648). */
#ifndef SPATE_IMAGE_DATA_URL_H
#define SPATE_IMAGE_DATA_URL_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/slice.h"

/* Appends the bytes of an image that is given as data:image/png;base64,... or as base64 alone. *mime is a part of text,
 * empty where none is stated. */
bool data_url_decode(struct slice text, struct slice *mime, struct buffer *out, struct error *error);

#endif
