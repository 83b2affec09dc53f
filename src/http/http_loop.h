/* Private to the room: one network loop and what all loops share. Everything in a loop belongs to its thread once
 * http_loop_start has returned. */
#ifndef SPATE_HTTP_HTTP_LOOP_H
#define SPATE_HTTP_HTTP_LOOP_H

#include "http/http_server.h"
#include "http/peer_count.h"
#include "http/tls.h"
#include "http/work_queue.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

enum { HTTP_LISTEN_BACKLOG = 4096 };

struct http_watch;
struct http_work;

/* Of a listener or a connection. */
union http_socket {
  uv_handle_t handle;
  uv_stream_t stream;
  uv_tcp_t tcp;
  uv_pipe_t pipe;
};

struct http_shared {
  struct http_options options;
  struct http_callbacks callbacks;
  void *user;
  struct tls_context *tls;   /* NULL: in the clear */
  int unix_fd;               /* listens at options.unix_path until each loop has a copy, then −1 */
  bool bound;                /* options.unix_path is ours to remove */
  struct work_queue queue;   /* what all loops give to one thread */
  struct peer_count peers;   /* counted when options.max_per_peer is set */
  atomic_int n_connection;   /* in all loops, without the refused ones */
  atomic_size_t n_body_byte; /* of the bodies that are arriving, in all loops */
  pthread_mutex_t lock;      /* guards drain_at_ms and each loop's ended */
  uint64_t drain_at_ms;      /* on clock_ns's scale: when a drain closes what is left; 0: not draining */
};

struct http_loop {
  struct http_shared *shared;
  int index;
  void *user; /* the server's own */
  pthread_t thread;
  uv_sem_t started;
  bool start_failed;
  struct error start_error;

  uv_loop_t uv;
  union http_socket listener;
  union http_socket unwanted;        /* a connection that there was no memory for, while it is being closed */
  bool is_closing_unwanted, is_deaf; /* another one waits for that */
  uv_async_t wake;                   /* other threads ask the loop to look at drain_at_ms */
  uv_timer_t drain_timer;
  uv_prepare_t before_poll; /* both take the turns that are due: what happened in this round is */
  uv_check_t after_poll;    /* dealt with before the loop sleeps, without another system call */
  struct http_watch *watches;
  struct http_work *works; /* beside the loop, and not done */

  struct http_connection **slot; /* open connections by the low bits of their requests' ids */
  int n_slot, n_slot_used;
  int n_refused;                 /* of them over the connection limit */
  int *free_slot;                /* stack of n_slot - n_slot_used indices */
  struct http_connection *turns; /* list of connections whose answer is done */
  uint64_t n_request;            /* gives ids */
  bool draining, ended;
  char bytes[64 << 10]; /* what one read returns, consumed before the next */
};

/* Opens the loop's handles on an address. With port 0 *address gets the port that was found. */
bool http_loop_init(struct http_loop *loop, struct http_shared *shared, int index, struct sockaddr_storage *address,
                    struct error *error);
bool http_loop_start(struct http_loop *loop, struct error *error); /* starts the thread, waits for loop_start */
void http_loop_wake(struct http_loop *loop);                       /* any thread */
void http_loop_release(struct http_loop *loop); /* after its thread has ended, or was never started */

/* http_work.c: what the queue's thread runs; on the loop's: gives up works in the queue that have not begun, of a
 * request or (0) of all, which are done soon. */
void http_work_run(struct queued_work *queued);
void http_works_drop(struct http_loop *loop, uint64_t request);

/* http_watch.c: closes and frees what the loop still watches. */
void http_watches_close(struct http_loop *loop);
void http_watches_free(struct http_loop *loop);

/* For connections. */
bool http_loop_add(struct http_loop *loop, struct http_connection *connection, int *slot);
void http_loop_remove(struct http_loop *loop, int slot);
uint64_t http_loop_next_id(struct http_loop *loop, int slot);
void http_loop_take_turn(struct http_loop *loop, struct http_connection *connection);

#endif
