/* A request of HTTP/1.0 over a blocking socket, TLS through OpenSSL's socket BIO. */
#include "http/http_probe.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { REQUEST_BYTES = 512, STATUS_LINE_BYTES = 16 };

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

/* Sends the request and reads the beginning of the answer, at most size - 1 bytes of it. */
static bool ask(BIO *bio, const char *request, char *answer, int size) {
  int length = (int)strlen(request), have = 0;
  if (BIO_write(bio, request, length) != length) return false;
  while (have < size - 1) {
    int read = BIO_read(bio, answer + have, size - 1 - have);
    if (read <= 0) return false;
    have += read;
  }
  answer[have] = '\0';
  return true;
}

/* Frees what it returns with the socket in it. */
static BIO *bio_of(int fd, SSL_CTX *context) {
  BIO *plain = BIO_new_socket(fd, BIO_CLOSE);
  if (!plain) close(fd);
  if (!plain || !context) return plain;
  BIO *tls = BIO_new_ssl(context, 1);
  if (tls) return BIO_push(tls, plain);
  BIO_free(plain);
  return NULL;
}

int http_probe_status(const struct http_probe *probe, const char *path, struct error *error) {
  char request[REQUEST_BYTES], answer[STATUS_LINE_BYTES] = "";
  int status = 0;
  snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
  int fd = probe->unix_path ? path_connect(probe, error) : host_connect(probe, error);
  if (fd < 0) return 0;
  SSL_CTX *context = probe->tls ? SSL_CTX_new(TLS_client_method()) : NULL;
  BIO *bio = bio_of(fd, context);
  bool asked = bio && (context || !probe->tls) && ask(bio, request, answer, sizeof answer);
  if (!asked || sscanf(answer, "HTTP/1.%*1[01] %3d", &status) != 1 || status < 100) {
    error_set(error, ERROR_IO,
              asked ? "What listens there does not answer in HTTP." : "It took the connection and gave no answer.");
    status = 0;
  }
  BIO_free_all(bio);
  SSL_CTX_free(context);
  return status;
}
