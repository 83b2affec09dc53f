/* TLS on a link: sealed bytes go between the socket and a session; a request waits for the handshake. */
#include "http/http_link.h"

#include <stdlib.h>

enum { SEALED_WRITES = 64 }; /* that wait for the peer to read */

struct sealed_write {
  uv_write_t uv;
  char bytes[];
};

static void on_written(uv_write_t *write, int status) {
  (void)status; /* the read that fails next tells */
  ((struct http_link *)write->data)->n_sealed--;
  free(write); /* the first of its sealed_write */
}

/* Hands what the session has to say to the socket. False: the link has failed. */
static bool output_flush(struct http_link *link) {
  struct slice output = tls_session_output(link->tls);
  if (output.size == 0) return true;
  struct sealed_write *write = link->n_sealed < SEALED_WRITES ? malloc(sizeof *write + output.size) : NULL;
  int failed = write ? 0 : UV_ENOMEM;
  if (write) {
    memcpy(write->bytes, output.data, output.size);
    write->uv.data = link;
    uv_buf_t bytes = uv_buf_init(write->bytes, (unsigned)output.size);
    failed = uv_write(&write->uv, (uv_stream_t *)&link->tcp, &bytes, 1, on_written);
  }
  tls_session_clear_output(link->tls);
  link->n_sealed += failed == 0;
  if (failed == 0) return true;
  free(write);
  if (link->exchange)
    http_link_fail(link, HTTP_END_CUT, "did not take the request", uv_strerror(failed));
  else
    http_link_close(link);
  return false;
}

static void broken_tell(struct http_link *link) {
  const char *doubt = tls_session_doubt(link->tls);
  if (!link->exchange)
    http_link_close(link);
  else if (doubt)
    http_link_fail(link, HTTP_END_REFUSED, "did not prove to be who it is", doubt);
  else if (!link->asked)
    http_link_fail(link, HTTP_END_REFUSED, "does not agree on TLS 1.2 or 1.3", NULL);
  else
    http_link_fail(link, HTTP_END_CUT, "broke TLS", NULL);
}

/* Seals the request once, when it may go. */
static bool request_seal(struct http_link *link) {
  const struct buffer *bytes = &link->exchange->bytes;
  if (link->asked || !tls_session_ready(link->tls)) return true;
  link->asked = true;
  if (tls_session_write(link->tls, buffer_slice(bytes))) return true;
  http_link_fail(link, HTTP_END_CUT, "did not take the request", NULL);
  return false;
}

/* One step: TLS may come before the first byte, and a response in pieces. */
static int session_read(struct http_link *link, char *bytes, size_t room) {
  int size = tls_session_read(link->tls, bytes, room);
  if (link->exchange && size != TLS_BROKEN && !request_seal(link)) return TLS_BROKEN;
  return size;
}

/* The bytes of a read are the client's, so that those within come into a place of their own. */
static void session_pump(struct http_link *link) {
  char bytes[16 << 10]; /* a record's */
  int size = session_read(link, bytes, sizeof bytes);
  while (size > 0 && !link->closing) {
    if (!link->exchange) { /* nobody has asked for it */
      http_link_close(link);
      return;
    }
    http_link_take(link, bytes, (size_t)size);
    if (!link->closing) size = session_read(link, bytes, sizeof bytes);
  }
  if (link->closing || (size != TLS_BROKEN && !output_flush(link))) return;
  if (size == TLS_BROKEN)
    broken_tell(link);
  else if (size == TLS_END && link->exchange)
    http_link_take_end(link);
  else if (size == TLS_END)
    http_link_close(link);
}

void http_link_tls_take(struct http_link *link, const char *bytes, size_t size) {
  if (tls_session_feed(link->tls, slice_make(bytes, size)))
    session_pump(link);
  else if (link->exchange)
    http_link_fail(link, HTTP_END_CUT, "sent what there is no memory for", NULL);
  else
    http_link_close(link);
}

bool http_link_tls_begin(struct http_link *link) {
  link->tls = tls_client_session_new(link->client->tls, link->client->address.host);
  if (link->tls) return true;
  http_link_fail(link, HTTP_END_REFUSED, "cannot be spoken to", "there is no memory for TLS");
  return false;
}

bool http_link_tls_send(struct http_link *link) {
  link->asked = false;
  session_pump(link); /* begins the handshake, where there was none */
  return !link->closing;
}
