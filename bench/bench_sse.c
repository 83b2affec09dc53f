/* What an event of a stream costs: CPU time of the network thread for src/http/ with its server-sent events, against a
 * bare libuv loop that writes the same bytes, made beforehand. Both send one event to each of N_STREAM clients in every
 * round of their loop, as the server does after a step; they take turns, and the median of the ratios counts.
 *
 * usage: bench_sse [PAIRS]   (default 15) */
#include "http/http_server.h"
#include "http/sse.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum { N_STREAM = 64, N_STEP = 1000, PAIRS_MAX = 99 };

static const char object[] = /* the size that OpenAI's chunks have */
    "{\"id\":\"cmpl-0123456789abcdef\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"SmolLM2-"
    "135M\","
    "\"choices\":[{\"index\":0,\"text\":\" the\",\"logprobs\":null,\"finish_reason\":null}]}      ";

/* One sender: who its streams are is its own. */
struct sender {
  int go;     /* readable: the sender's thread sends a step after each poll */
  int n_step; /* sent */
  atomic_int n_begun;
  double started, seconds; /* of the thread's CPU time */
  uint64_t stream[N_STREAM];
  uv_tcp_t listener, client[N_STREAM];
  uv_poll_t poll;
};

static double cpu_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void fail(const char *what) {
  fprintf(stderr, "bench_sse: %s\n", what);
  exit(1);
}

/* True when there is a step to send. */
static bool step_begin(struct sender *sender) {
  if (sender->n_step == 0) sender->started = cpu_now();
  if (sender->n_step++ < N_STEP) return true;
  sender->seconds = cpu_now() - sender->started;
  uint64_t count;
  if (read(sender->go, &count, sizeof count) < 0) fail("the descriptor is gone");
  return false;
}

/* --- the clients: they read and forget, until the server closes -------------------------------------------------- */

static void *clients_read(void *argument) {
  int *sockets = argument;
  static char bytes[1 << 18];
  struct pollfd wait[N_STREAM];
  for (int i = 0; i < N_STREAM; i++) wait[i] = (struct pollfd){.fd = sockets[i], .events = POLLIN};
  for (int n_open = N_STREAM; n_open > 0;) {
    poll(wait, N_STREAM, -1);
    for (int i = 0; i < N_STREAM; i++) {
      if (wait[i].fd < 0 || !wait[i].revents || recv(wait[i].fd, bytes, sizeof bytes, 0) > 0) continue;
      close(wait[i].fd);
      wait[i].fd = -1;
      n_open--;
    }
  }
  return NULL;
}

static void clients_run(struct sender *sender, int port) {
  int sockets[N_STREAM];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  static const char get[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
  for (int i = 0; i < N_STREAM; i++) {
    sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(sockets[i], (struct sockaddr *)&address, sizeof address) < 0) fail("a client cannot connect");
    if (send(sockets[i], get, sizeof get - 1, MSG_NOSIGNAL) < 0) fail("a client cannot ask");
  }
  pthread_t thread;
  pthread_create(&thread, NULL, clients_read, sockets);
  while (atomic_load(&sender->n_begun) < N_STREAM) usleep(1000);
  uint64_t one = 1;
  if (write(sender->go, &one, sizeof one) < 0) fail("the sender cannot be told to go");
  pthread_join(thread, NULL);
}

/* --- src/http/ --------------------------------------------------------------------------------------------------- */

static void http_step(struct http_loop *loop, void *argument) {
  struct sender *sender = argument;
  bool more = step_begin(sender);
  for (int i = 0; i < N_STREAM; i++) {
    struct http_request *request = http_find(loop, sender->stream[i]);
    if (!request) fail("a stream is gone");
    if (!more) {
      http_stream_end(request);
      continue;
    }
    struct buffer event;
    buffer_init(&event, LIMIT_RESPONSE_BYTES);
    sse_write_event(&event, slice_text(object));
    http_stream_write(request, buffer_slice(&event));
    buffer_release(&event);
  }
}

static bool http_start(struct http_loop *loop, void *user, struct error *error) {
  return http_loop_watch(loop, ((struct sender *)user)->go, http_step, user, error);
}

static void http_begin(struct http_request *request, void *user) {
  struct sender *sender = user;
  http_stream_begin(request, 200, SSE_CONTENT_TYPE, NULL);
  sender->stream[atomic_fetch_add(&sender->n_begun, 1)] = request->id;
}

static void run_http(struct sender *sender) {
  struct http_options options = http_options_default();
  struct http_callbacks callbacks = {.loop_start = http_start, .handle = http_begin};
  struct error error;
  options.port = 0;
  struct http_server *server = http_server_open(&options, &callbacks, sender, &error);
  if (!server) fail(error.text);
  clients_run(sender, http_server_port(server));
  http_server_close(server);
}

/* --- libuv alone ------------------------------------------------------------------------------------------------- */

static char wire[512]; /* one event as it travels: a chunk with an SSE event in it */
static size_t wire_size;

static void plain_step(uv_poll_t *poll, int status, int events) {
  struct sender *sender = poll->data;
  (void)status, (void)events;
  bool more = step_begin(sender);
  uv_buf_t bytes = uv_buf_init(wire, (unsigned)wire_size);
  for (int i = 0; i < N_STREAM; i++) {
    uv_stream_t *stream = (uv_stream_t *)&sender->client[i];
    if (!more) {
      uv_close((uv_handle_t *)stream, NULL);
    } else if (uv_try_write(stream, &bytes, 1) != (int)wire_size) {
      fail("a client of the bare loop has fallen behind: run it on a quieter machine");
    }
  }
  if (more) return;
  uv_close((uv_handle_t *)poll, NULL);
  uv_close((uv_handle_t *)&sender->listener, NULL);
}

static void plain_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
  static char bytes[4096];
  (void)handle, (void)suggested;
  *buffer = uv_buf_init(bytes, sizeof bytes);
}

static void plain_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
  (void)stream, (void)size, (void)buffer; /* reading goes on, as it does in a server that notices who leaves */
}

static void plain_accept(uv_stream_t *listener, int status) {
  struct sender *sender = listener->data;
  int index = atomic_load(&sender->n_begun);
  uv_tcp_t *client = &sender->client[index];
  uv_tcp_init(listener->loop, client);
  if (status < 0 || uv_accept(listener, (uv_stream_t *)client) < 0) fail("the bare loop cannot accept");
  uv_tcp_nodelay(client, true);
  uv_read_start((uv_stream_t *)client, plain_alloc, plain_read);
  atomic_fetch_add(&sender->n_begun, 1);
}

static void *plain_thread(void *loop) {
  uv_run(loop, UV_RUN_DEFAULT);
  return NULL;
}

static void run_plain(struct sender *sender) {
  uv_loop_t loop;
  struct sockaddr_in address;
  int size = sizeof address;
  uv_loop_init(&loop);
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_tcp_init(&loop, &sender->listener);
  uv_tcp_bind(&sender->listener, (struct sockaddr *)&address, 0);
  sender->listener.data = sender->poll.data = sender;
  if (uv_listen((uv_stream_t *)&sender->listener, N_STREAM, plain_accept) < 0) fail("the bare loop cannot listen");
  uv_tcp_getsockname(&sender->listener, (struct sockaddr *)&address, &size);
  uv_poll_init(&loop, &sender->poll, sender->go);
  uv_poll_start(&sender->poll, UV_READABLE, plain_step);
  pthread_t thread;
  pthread_create(&thread, NULL, plain_thread, &loop);
  clients_run(sender, ntohs(address.sin_port));
  pthread_join(thread, NULL);
  uv_loop_close(&loop);
}

/* --- both -------------------------------------------------------------------------------------------------------- */

/* Microseconds of CPU time per event. */
static double measure(void (*run)(struct sender *sender)) {
  static struct sender sender;
  sender = (struct sender){.go = eventfd(0, EFD_NONBLOCK)};
  run(&sender);
  close(sender.go);
  return sender.seconds * 1e6 / ((double)N_STREAM * N_STEP);
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, compare);
  return values[count / 2];
}

int main(int argc, char **argv) {
  int pairs = argc > 1 ? atoi(argv[1]) : 15;
  if (pairs < 1 || pairs > PAIRS_MAX) fail("usage: bench_sse [PAIRS]");
  double http[PAIRS_MAX], plain[PAIRS_MAX], ratio[PAIRS_MAX];
  wire_size = (size_t)snprintf(wire, sizeof wire, "%zx\r\ndata: %s\n\n\r\n", sizeof object + 7, object);
  for (int i = 0; i < pairs; i++) {
    http[i] = measure(run_http);
    plain[i] = measure(run_plain);
    ratio[i] = http[i] / plain[i];
  }
  printf("%d streams, %d events each, %zu bytes: http + SSE %.2f us of CPU per event, libuv alone %.2f, ratio %.2f\n",
         N_STREAM, N_STEP, wire_size, median(http, pairs), median(plain, pairs), median(ratio, pairs));
  return 0;
}
