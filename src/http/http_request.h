/* One HTTP request and its answer. A request belongs to its connection, which belongs to one loop: everything here is
 * for that loop's thread. Other threads keep the id and let the loop's thread look it up with http_find. A pointer to a
 * request is good until the finish callback has returned; finish never runs inside a call of this header, so a
 * callback may go on using the request after answering it. */
#ifndef SPATE_HTTP_HTTP_REQUEST_H
#define SPATE_HTTP_HTTP_REQUEST_H

#include "base/buffer.h"
#include "base/limits.h"
#include "base/slice.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct http_connection;
struct http_loop;

struct http_header {
  struct slice name, value; /* value without the white space around it */
};

/* The head after the gate and the parser; its slices point into bytes that the request owns. */
struct http_head {
  struct slice method; /* "GET" */
  struct slice path;   /* percent-decoded: "/v1/models" */
  struct slice query;  /* what follows '?', still encoded: see http_query.h */
  struct http_header header[LIMIT_HEADERS];
  int n_header;
  int minor_version; /* of HTTP/1.x: 0 or 1 */
  bool keep_alive;   /* the client's wish */
  bool chunked;
  uint64_t content_length; /* 0 when there is no body or it is chunked */
};

struct http_request {
  uint64_t id; /* never 0, not used again by this server */
  struct http_loop *loop;
  struct http_connection *connection;
  struct http_head head;
  struct slice body; /* whole while handle runs, then gone */
  void *user;        /* the handler's own */
  void *note;        /* the same, for the finish callback, which frees it */
};

/* A body that somebody else reads. It counts among those that arrive until it is released, or discounted before. */
struct http_body {
  struct buffer bytes;
  size_t charged;
  atomic_size_t *room; /* of all bodies; NULL: there is none to give back to */
};

/* While handle runs: the request's body becomes the caller's, its bytes where they are. */
void http_body_take(struct http_request *request, struct http_body *body);
/* Any thread, before the server is closed. */
void http_body_discount(struct http_body *body);
void http_body_release(struct http_body *body);

/* The value of the first header of this name (in any case), or a slice whose data is NULL. */
struct slice http_request_header(const struct http_request *request, const char *name);

/* Answers with a whole body. headers is NULL or lines that each end in \r\n ("Retry-After: 1\r\n"); content_type may be
 * NULL when the body is empty. HEAD, 204 and 304 send no body. Does nothing when the client is gone. */
void http_respond(struct http_request *request, int status, const char *content_type, const char *headers,
                  struct slice body);

/* Answers {"error": sentence}, or what the error_body callback writes. */
void http_respond_error(struct http_request *request, int status, const char *headers, const char *sentence);

enum http_flow {
  HTTP_PROCEED,
  HTTP_STOP, /* LIMIT_CONNECTION_OUTPUT_BYTES wait for the client (this write is among them): pause until drain */
  HTTP_GONE, /* the client has closed; the close callback follows */
};

/* Answers piece by piece: begin, write any number of times, end. Each write is one chunk (HTTP/1.1). */
void http_stream_begin(struct http_request *request, int status, const char *content_type, const char *headers);
enum http_flow http_stream_write(struct http_request *request, struct slice piece);
void http_stream_end(struct http_request *request);

#endif
