/* base64 (RFC 4648), from untrusted text. */
#ifndef SPATE_BASE_BASE64_H
#define SPATE_BASE_BASE64_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/slice.h"

/* Appends the bytes that the text stands for. Padding may be left out; line ends are passed over; "-" and "_" are what
 * "+" and "/" are. Anything else is refused with where it stands, as is what does not fit in out; `what` begins the
 * sentence: "The image's base64". */
/* Appends the bytes in base64, padded. */
bool base64_encode(struct slice bytes, struct buffer *out);

bool base64_decode(struct slice text, const char *what, struct buffer *out, struct error *error);

#endif
