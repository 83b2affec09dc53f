/* The strict gate in front of the HTTP parser: pure functions over the raw bytes of a request head. What two servers in
 * a row could read differently (smuggling) is refused here, whatever the parser would make of it. */
#ifndef SPATE_HTTP_HEAD_GATE_H
#define SPATE_HTTP_HEAD_GATE_H

#include "base/slice.h"

struct head_verdict {
  int status;         /* 0: sound; else the HTTP status to refuse with */
  const char *reason; /* a sentence, static */
};

/* Looks for the end of the head: the empty line, or the first byte that no head may hold (head_gate_check then says
 * which). *scanned is where an earlier call on the same growing input stopped, 0 at first. *size is the head with its
 * empty line. False: more bytes are needed. */
bool head_gate_find_end(struct slice input, size_t *scanned, size_t *size);

/* Judges a head as head_gate_find_end delimited it, or an unfinished one that is already over LIMIT_HEAD_BYTES. */
struct head_verdict head_gate_check(struct slice head);

/* Character classes of RFC 9110, for the decoder of chunked bodies too. */
bool head_gate_is_token(uint8_t byte); /* may stand in a method or field name */
bool head_gate_is_text(uint8_t byte);  /* may stand in a field value: no control byte but the tab */

#endif
