/* An HTTP/1.1 server: N network loops, each a thread that owns its connections. It knows requests and bytes; what they
 * mean is the handler's. Server functions may be called from any thread, loop functions on the loop's thread, and every
 * callback runs on the thread of the request's loop. Signals are the caller's. */
#ifndef SPATE_HTTP_HTTP_SERVER_H
#define SPATE_HTTP_HTTP_SERVER_H

#include "base/error.h"
#include "http/http_request.h"

#include <stddef.h>
#include <stdint.h>

struct http_server;
struct buffer;

enum { HTTP_EXTRA_HEAD_BYTES = 4096 };

struct http_options {
  const char *host;                      /* name or address to listen on */
  int port;                              /* 0: any free one, see http_server_port */
  int loops;                             /* network threads, ≥ 1 */
  const char *unix_path;                 /* listen at this path, for this user alone, instead of on an address; NULL */
  const char *tls_certificate, *tls_key; /* PEM files, both or neither */
  int max_per_peer;                      /* connections of one address; more are answered 429; 0: any number */
  int max_connections;                   /* of all loops together; more are answered 503 */
  size_t bodies_bytes;                   /* of the bodies that are arriving, all together; more are answered 503 */
  /* Deadlines in milliseconds. Each is absolute: a byte now and then does not move it. */
  int head_ms;       /* from the first byte of a head (or from accept) to its end */
  int body_ms;       /* from the head to the end of the body, plus 1 ms for each LIMIT_BODY_BYTES_PER_MS bytes of it */
  int keep_alive_ms; /* an idle connection between requests; 0: each answer ends its connection */
  int stall_ms;      /* with output waiting, in what time the client must take LIMIT_STALL_BYTES of it, or all */
  int linger_ms;     /* after an answer that ends the connection, how long unread input is thrown away */
};

/* 127.0.0.1:8000, one loop, 4096 connections, LIMIT_BODIES_BYTES of bodies, 10 s for a head, 10 s for a body, 5 s idle,
 * 30 s stalled, 2 s linger. */
struct http_options http_options_default(void);

/* For want of which room a request was refused before it was handled. */
enum http_refusal {
  HTTP_REFUSED_NOT,
  HTTP_REFUSED_PEER,        /* max_per_peer */
  HTTP_REFUSED_CONNECTIONS, /* max_connections */
  HTTP_REFUSED_BODIES,      /* bodies_bytes */
  HTTP_REFUSALS,
};

/* How one request went: for metrics and the access log. */
struct http_summary {
  int status; /* 0: the client left before an answer began */
  enum http_refusal refusal;
  uint64_t bytes_in;    /* head and body */
  uint64_t bytes_out;   /* head and body, handed to the kernel */
  uint64_t duration_us; /* from the first byte of the head to the last byte handed to the kernel */
  bool aborted;         /* the connection ended before the answer was whole */
};

/* user is the pointer given to http_server_open. Only handle is required. */
struct http_callbacks {
  /* First and last on each loop's thread; loops start one after another. start may watch descriptors and set the loop's
   * user pointer; at stop nothing is watched any more. A false start stops the server with the error. */
  bool (*loop_start)(struct http_loop *loop, void *user, struct error *error);
  void (*loop_stop)(struct http_loop *loop, void *user);

  /* The head has come: returns the largest body to accept, in bytes (absent: LIMIT_BODY_BYTES). It may also answer at
   * once (404, 405, 415): the body is then not read and handle is not called. */
  size_t (*head)(struct http_request *request, void *user);

  /* Head and body have come. Answers now or later. */
  void (*handle)(struct http_request *request, void *user);

  /* After HTTP_STOP: the client has taken all output, go on writing. */
  void (*drain)(struct http_request *request, void *user);

  /* The connection ended before the answer was complete: cancel the work. At most once, only after handle. A client
   * that shuts down its sending side counts as gone. */
  void (*close)(struct http_request *request, void *user);

  /* The JSON of an answer to a mistake. Absent: {"error": sentence}. The path is empty when the head was refused. */
  void (*error_body)(struct http_request *request, int status, const char *sentence, struct buffer *out, void *user);

  /* An answer's head is being written: may add lines that each end in \r\n, HTTP_EXTRA_HEAD_BYTES at most. */
  void (*answer_head)(struct http_request *request, struct buffer *out, void *user);

  /* The last call for each request, refused heads included (their method and path are then empty). */
  void (*finish)(struct http_request *request, const struct http_summary *summary, void *user);
};

/* Listens and starts the loops. NULL with a sentence when the address is in use or cannot be had. */
struct http_server *http_server_open(const struct http_options *options, const struct http_callbacks *callbacks,
                                     void *user, struct error *error);

/* 0 at a path. */
int http_server_port(const struct http_server *server);

/* Connections open now, in all loops, without those being refused. */
int http_server_connections(const struct http_server *server);

/* Stops accepting, closes idle connections, lets running requests finish until deadline_ms from now, then closes what
 * is left and ends the loops. Returns at once; may be called again with a shorter deadline. Not for signal handlers. */
void http_server_drain(struct http_server *server, int deadline_ms);

/* Waits until every loop has ended (after a drain). */
void http_server_join(struct http_server *server);

/* Drains with no delay, joins, frees. */
void http_server_close(struct http_server *server);

/* Loops, on their own thread. */
void *http_loop_user(const struct http_loop *loop);
void http_loop_set_user(struct http_loop *loop, void *user);

/* Calls back whenever fd is readable, until it is unwatched or the loop ends. fd stays the caller's, and open until
 * then. */
bool http_loop_watch(struct http_loop *loop, int fd, void (*readable)(struct http_loop *loop, void *argument),
                     void *argument, struct error *error);

/* Lets go of fd, which may be closed then. Not in loop_stop, where nothing is watched any more. */
void http_loop_unwatch(struct http_loop *loop, int fd);

/* While a request is not answered: calls work on a thread beside the loops, one at a time, then done on the loop's.
 * Works with different turns (below HTTP_TURNS) are taken round robin, those with the same in the order of their
 * coming. Work that has not begun when its client leaves or the loop ends is left out; done is called in any case,
 * perhaps after the loop's connections have gone. False: no memory. */
enum { HTTP_TURNS = 128 };
bool http_request_work(struct http_request *request, int turn, void (*work)(void *argument),
                       void (*done)(struct http_loop *loop, void *argument), void *argument);

/* Of a loop on a thread of its own, for what may wait for long: it is waited for when the loop ends. False also when
 * LIMIT_LOOP_THREADS of the same work are under way in this loop. */
bool http_loop_work_alone(struct http_loop *loop, void (*work)(void *argument),
                          void (*done)(struct http_loop *loop, void *argument), void *argument);

/* The request of this id if it is still unanswered and its client still there, else NULL. */
struct http_request *http_find(struct http_loop *loop, uint64_t id);

#endif
