/* Which trace a request belongs to, by the header traceparent of W3C Trace Context (level 1, §3.2), so that its span
 * hangs below the one of whoever called. */
#ifndef SPATE_SERVER_TRACE_CONTEXT_H
#define SPATE_SERVER_TRACE_CONTEXT_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { TRACE_ID_BYTES = 16, SPAN_ID_BYTES = 8 };

struct trace_context {
  uint8_t trace[TRACE_ID_BYTES];
  uint8_t parent[SPAN_ID_BYTES]; /* the caller's span; zeros: there is none */
  bool sampled;                  /* the caller keeps this trace */
};

/* Reads the header's value. False, and nothing written, if it is none (or absent): the request then begins a trace of
 * its own. A version that is not known yet is read as far as version 00 goes. */
bool trace_context_read(struct slice header, struct trace_context *context);

#endif
