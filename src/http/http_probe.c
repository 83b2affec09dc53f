/* A request of HTTP/1.0 over a blocking socket, TLS through OpenSSL's socket BIO; libhttp-parser reads the answer. */
#include "http/http_probe.h"

#include "base/clock.h"
#include "base/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <http_parser.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ_BYTES = 16 << 10 };

/* --- connections -------------------------------------------------------------------------------------------------- */

/* A connected socket, or -1 with errno. */
static int socket_connect(const struct sockaddr *address, socklen_t size, int seconds) {
  struct timeval limit = {.tv_sec = seconds};
  int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd, address, size) == 0) return fd;
  int reason = errno;
  close(fd);
  errno = reason;
  return -1;
}

static int path_connect(const struct http_probe *probe, struct error *error) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(probe->unix_path) >= sizeof address.sun_path) {
    error_set(error, ERROR_INVALID, "The path of the socket has %zu bytes, expected at most %zu.",
              strlen(probe->unix_path), sizeof address.sun_path - 1);
    return -1;
  }
  strcpy(address.sun_path, probe->unix_path);
  int fd = socket_connect((struct sockaddr *)&address, sizeof address, probe->seconds);
  if (fd < 0) error_set(error, ERROR_IO, "%s cannot be reached: %s.", probe->unix_path, strerror(errno));
  return fd;
}

static int host_connect(const struct http_probe *probe, struct error *error) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
  char service[16];
  int fd = -1;
  snprintf(service, sizeof service, "%d", probe->port);
  int failed = getaddrinfo(probe->host, service, &hints, &list);
  if (failed) {
    error_set(error, ERROR_IO, "%s cannot be found: %s.", probe->host, gai_strerror(failed));
    return -1;
  }
  for (const struct addrinfo *one = list; one && fd < 0; one = one->ai_next)
    fd = socket_connect(one->ai_addr, one->ai_addrlen, probe->seconds);
  if (fd < 0) error_set(error, ERROR_IO, "%s:%d cannot be reached: %s.", probe->host, probe->port, strerror(errno));
  freeaddrinfo(list);
  return fd;
}

/* --- the request -------------------------------------------------------------------------------------------------- */

/* Who is asked for, told to a host of many names; a number is none (RFC 6066), and is proved as one. */
static bool host_name(const struct http_probe *probe, BIO *tls) {
  SSL *ssl = NULL;
  unsigned char number[sizeof(struct in6_addr)];
  const char *host = probe->unix_path ? "localhost" : probe->host;
  bool numeric = inet_pton(AF_INET, host, number) == 1 || inet_pton(AF_INET6, host, number) == 1;
  return BIO_get_ssl(tls, &ssl) == 1 && (!probe->proof || SSL_set1_host(ssl, host) == 1) &&
         (numeric || SSL_set_tlsext_host_name(ssl, host) == 1);
}

/* Frees what it returns with the socket in it. */
static BIO *bio_of(const struct http_probe *probe, int fd, SSL_CTX *context) {
  BIO *plain = BIO_new_socket(fd, BIO_CLOSE);
  if (!plain) close(fd);
  if (!plain || !context) return plain;
  if (probe->proof) {
    SSL_CTX_set_default_verify_paths(context);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  }
  BIO *tls = BIO_new_ssl(context, 1);
  if (tls && host_name(probe, tls)) return BIO_push(tls, plain);
  BIO_free(tls);
  BIO_free(plain);
  return NULL;
}

static bool request_send(const struct http_probe *probe, BIO *bio, const char *path) {
  struct buffer request;
  bool colons = !probe->unix_path && strchr(probe->host, ':');
  buffer_init(&request, LIMIT_HEAD_BYTES);
  buffer_print(&request, "GET %s HTTP/1.0\r\nHost: ", path);
  if (probe->unix_path)
    buffer_text(&request, "localhost\r\n");
  else
    buffer_print(&request, "%s%s%s:%d\r\n", colons ? "[" : "", probe->host, colons ? "]" : "", probe->port);
  if (probe->bearer) buffer_print(&request, "Authorization: Bearer %s\r\n", probe->bearer);
  bool sent = buffer_text(&request, "\r\n") && BIO_write(bio, request.data, (int)request.size) == (int)request.size;
  buffer_release(&request);
  return sent;
}

/* --- the answer --------------------------------------------------------------------------------------------------- */

struct answer {
  struct buffer *body; /* NULL: the status is enough */
  bool heard, head, complete;
};

/* The head is all that is wanted where the body is not. */
static int on_head(http_parser *parser) {
  struct answer *answer = parser->data;
  answer->head = parser->status_code >= 200;
  return answer->head && !answer->body;
}

static int on_body(http_parser *parser, const char *at, size_t size) {
  struct answer *answer = parser->data;
  return !answer->body || !buffer_append(answer->body, at, size);
}

static int on_complete(http_parser *parser) {
  struct answer *answer = parser->data;
  answer->complete = answer->head;
  return answer->head;
}

/* Until the answer is whole, as far as it is wanted; status 0 when it is no HTTP or does not come in time. */
static int answer_read(const struct http_probe *probe, BIO *bio, struct answer *answer) {
  static const http_parser_settings settings = {
      .on_headers_complete = on_head, .on_body = on_body, .on_message_complete = on_complete};
  uint64_t end_us = clock_us() + (uint64_t)probe->seconds * 1000000u;
  char bytes[READ_BYTES];
  http_parser parser = {.data = answer};
  http_parser_init(&parser, HTTP_RESPONSE);
  while (HTTP_PARSER_ERRNO(&parser) == HPE_OK && clock_us() < end_us) {
    int size = BIO_read(bio, bytes, sizeof bytes);
    if (size < 0) break;
    answer->heard |= size > 0;
    http_parser_execute(&parser, &settings, bytes, (size_t)size);
    if (size == 0) break;
  }
  return answer->head && (answer->complete || !answer->body) ? (int)parser.status_code : 0;
}

static int answer_refuse(const struct answer *answer, struct error *error) {
  if (answer->body && answer->body->failed)
    error_set(error, ERROR_LIMIT, "Its answer has more than %zu bytes.", answer->body->max);
  else if (answer->head)
    error_set(error, ERROR_IO, "Its answer is cut short.");
  else
    error_set(error, ERROR_IO,
              answer->heard ? "What listens there does not answer in HTTP."
                            : "It took the connection and gave no answer.");
  return 0;
}

static int probe_ask(const struct http_probe *probe, const char *path, struct buffer *body, struct error *error) {
  struct answer answer = {.body = body};
  int fd = probe->unix_path ? path_connect(probe, error) : host_connect(probe, error);
  if (fd < 0) return 0;
  SSL_CTX *context = probe->tls ? SSL_CTX_new(TLS_client_method()) : NULL;
  BIO *bio = bio_of(probe, fd, context);
  bool asked = bio && (context || !probe->tls) && request_send(probe, bio, path);
  int status = asked ? answer_read(probe, bio, &answer) : 0;
  BIO_free_all(bio);
  SSL_CTX_free(context);
  return status ? status : answer_refuse(&answer, error);
}

int http_probe_status(const struct http_probe *probe, const char *path, struct error *error) {
  return probe_ask(probe, path, NULL, error);
}

int http_probe_get(const struct http_probe *probe, const char *path, struct buffer *body, struct error *error) {
  return probe_ask(probe, path, body, error);
}
