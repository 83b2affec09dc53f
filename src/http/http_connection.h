/* Private to the room: one connection, its current request and its output. One request at a time: the next head is
 * looked at when the answer before it has gone to the kernel. http_accept.c makes it, http_connection.c and http_body.c
 * read, http_output.c writes, http_response.c formats answers. */
#ifndef SPATE_HTTP_HTTP_CONNECTION_H
#define SPATE_HTTP_HTTP_CONNECTION_H

#include "base/buffer.h"
#include "http/chunk_decoder.h"
#include "http/http_loop.h"

enum connection_state {
  CONNECTION_IDLE,    /* nothing of a request has come */
  CONNECTION_HEAD,    /* part of a head has */
  CONNECTION_BODY,    /* the head has, the body not */
  CONNECTION_ANSWER,  /* the handler has the request */
  CONNECTION_FLUSH,   /* the answer is complete; output may wait */
  CONNECTION_LINGER,  /* our side is shut down; what comes is thrown away so that the client reads the answer */
  CONNECTION_CLOSING, /* handles are closing; freed when they are */
};

struct http_answer {
  int status;      /* 0: not begun */
  bool keep_alive; /* the connection lives on after it */
  bool no_body;    /* HEAD, 204, 304 */
  bool chunked;
  bool stopped; /* HTTP_STOP was said, drain is owed */
};

struct http_connection {
  struct http_loop *loop;
  union http_socket socket;
  struct tls_session *tls; /* NULL: in the clear */
  uint64_t peer;           /* its address, when it is counted; 0: it is not */
  uv_timer_t deadline;
  uv_write_t write;
  uv_shutdown_t shutdown;
  int slot;
  int n_handle; /* open ones of socket and deadline */
  enum connection_state state;
  bool handled;  /* handle was called for this request */
  bool answered; /* its answer is complete */
  bool refused;  /* over a limit of connections */
  enum http_refusal refusal;
  bool eof;     /* the client will send no more */
  bool in_turn; /* on the loop's list */
  struct http_connection *next_turn;

  struct buffer input; /* bytes read and not yet understood */
  size_t scanned;      /* of input, by head_gate_find_end */

  struct http_request *request; /* NULL between requests */
  char *head_bytes;             /* the request's head points into them */
  struct buffer body;
  size_t charged; /* of body, to the room that all bodies share */
  struct chunk_decoder decoder;
  struct http_answer answer;
  uint64_t started_us, bytes_in, bytes_out;

  struct buffer flying, waiting; /* output: in the one uv_write, and behind it */
  bool in_flight;
  size_t stalled_at; /* bytes of flying that the kernel had not taken when the deadline was set */
};

/* http_accept.c */
void connection_accept(struct http_loop *loop);
void connection_discount(struct http_connection *connection);  /* it is closed */
void connection_turn_away(struct http_connection *connection); /* answers one that is over a limit */

/* http_connection.c */
bool connection_start(struct http_connection *connection); /* it has been accepted: starts to read */
bool connection_open_request(struct http_connection *connection);
void connection_turn(struct http_connection *connection); /* its answer is with the kernel: finish it, go on */
void connection_drain(struct http_connection *connection);
void connection_close(struct http_connection *connection);
void connection_set_deadline(struct http_connection *connection, uint64_t ms);

void connection_drop_input(struct http_connection *connection, size_t size); /* it has been understood */
/* Answers for the handler and ends the connection: its framing cannot be trusted, or nobody waits for the rest. */
void connection_refuse(struct http_connection *connection, int status, const char *headers, const char *sentence);

/* http_body.c */
void body_start(struct http_connection *connection); /* the head is known: what body does the handler take? */
void body_read(struct http_connection *connection);  /* takes it from the input; calls the handler when it is whole */
void body_release(struct http_connection *connection);

/* http_output.c */
enum { OUTPUT_PIECES_MAX = 3 };
/* With no pieces: what TLS itself has to say. */
void output_send(struct http_connection *connection, const struct slice *pieces, int n_piece);
size_t output_pending(const struct http_connection *connection);
void output_end(struct http_connection *connection); /* the answer is complete: take a turn once all is sent */
void output_check_stall(struct http_connection *connection);

#endif
