/* Strict decoder of "Transfer-Encoding: chunked" bodies, fed piece by piece. */
#ifndef SPATE_HTTP_CHUNK_DECODER_H
#define SPATE_HTTP_CHUNK_DECODER_H

#include "base/buffer.h"
#include "http/head_gate.h"

struct chunk_decoder {
  int state;        /* enum chunk_state of the .c file; 0 at the start */
  int n_digit;      /* of the size line being read */
  uint64_t left;    /* size being read, or bytes left of the chunk */
  size_t extension; /* bytes of chunk extensions so far, in the whole body */
  size_t trailer;   /* bytes of trailer lines so far */
};

enum chunk_progress { CHUNK_MORE, CHUNK_END, CHUNK_BAD };

/* Takes bytes off *input and appends the decoded ones to body, until the input is used up (CHUNK_MORE), the body has
 * ended (CHUNK_END, what is left of *input belongs to the next request) or something is wrong (CHUNK_BAD, *verdict
 * says what). Extensions and trailers are checked and dropped. */
enum chunk_progress chunk_decoder_feed(struct chunk_decoder *decoder, struct slice *input, struct buffer *body,
                                       struct head_verdict *verdict);

#endif
