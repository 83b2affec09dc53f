/* What a decoding process and the program that it decodes for say to each other, over a socket that is its descriptor
 * HELPER_DESCRIPTOR. It greets with a reply of no pixels when it is in its sandbox, or says why it is not. Then comes
 * one order with a file's bytes, a reply with a sentence or pixels, and its end. The two are one binary. */
#ifndef SPATE_IMAGE_DECODE_WIRE_H
#define SPATE_IMAGE_DECODE_WIRE_H

#include <stdint.h>

enum { HELPER_DESCRIPTOR = 3, WIRE_ORDER = 0x5350494f, WIRE_REPLY = 0x53504952 };

struct wire_order {
  uint32_t magic; /* WIRE_ORDER */
  uint32_t size;  /* bytes that follow */
};

struct wire_reply {
  uint32_t magic;         /* WIRE_REPLY */
  uint32_t code;          /* enum error_code; 0: pixels follow */
  uint32_t width, height; /* of the image; 0 in a greeting and with an error */
  uint32_t text_size;     /* of the sentence that follows an error */
};

#endif
