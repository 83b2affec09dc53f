/* The only door to libhttp-parser: takes a head that passed the gate apart. */
#ifndef SPATE_HTTP_HEAD_PARSE_H
#define SPATE_HTTP_HEAD_PARSE_H

#include "http/head_gate.h"
#include "http/http_request.h"

/* Fills *out with slices of bytes, which must outlive it; the path is decoded in place. */
struct head_verdict head_parse(char *bytes, size_t size, struct http_head *out);

/* Is it a method that HTTP has, or one of its extensions? */
bool http_method_known(struct slice name);

/* "Not Found" for 404. */
const char *http_status_text(int status);

#endif
