/* URLs, by libhttp-parser, and the system's resolver. */
#include "http/http_address.h"

#include "base/slice.h"

#include <http_parser.h>
#include <netdb.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

enum { HTTP_URL_BYTES = 1024 };

/* Of several addresses the first that takes a connection, for a name may stand for some on which nobody listens. */
static void address_choose(struct http_address *address, const struct addrinfo *list) {
  const struct addrinfo *chosen = list;
  for (const struct addrinfo *one = list; list->ai_next && one; one = one->ai_next) {
    int fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool taken = fd >= 0 && connect(fd, one->ai_addr, one->ai_addrlen) == 0;
    if (fd >= 0) close(fd);
    if (!taken) continue;
    chosen = one;
    break;
  }
  memcpy(&address->socket, chosen->ai_addr, chosen->ai_addrlen);
}

static bool address_find(struct http_address *address, const char *host, int port, struct error *error) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
  char service[16];
  snprintf(service, sizeof service, "%d", port);
  int failed = getaddrinfo(host, service, &hints, &list);
  if (failed) return error_set(error, ERROR_IO, "%s cannot be found: %s.", host, gai_strerror(failed));
  address_choose(address, list);
  freeaddrinfo(list);
  return true;
}

static struct slice url_part(const char *url, const struct http_parser_url *parts, enum http_parser_url_fields field) {
  bool there = parts->field_set & (1 << field);
  return slice_make(url + parts->field_data[field].off, there ? parts->field_data[field].len : 0);
}

bool http_address_find(struct http_address *address, const char *url, struct error *error) {
  const unsigned strange = 1 << UF_QUERY | 1 << UF_FRAGMENT | 1 << UF_USERINFO;
  struct http_parser_url parts;
  char name[256];
  http_parser_url_init(&parts);
  bool sound = strlen(url) < HTTP_URL_BYTES && http_parser_parse_url(url, strlen(url), false, &parts) == 0;
  struct slice host = url_part(url, &parts, UF_HOST), path = url_part(url, &parts, UF_PATH);
  if (!sound || strncasecmp(url, "http://", 7) != 0 || host.size >= sizeof name ||
      path.size >= sizeof address->prefix || (parts.field_set & strange))
    return error_set(error, ERROR_INVALID, "\"%.200s\" is no address of a server, expected http://HOST:PORT.", url);
  int port = parts.field_set & (1 << UF_PORT) ? parts.port : 80;
  snprintf(name, sizeof name, "%.*s", (int)host.size, (const char *)host.data);
  bool colons = strchr(name, ':') != NULL;
  snprintf(address->authority, sizeof address->authority, "%s%s%s:%d", colons ? "[" : "", name, colons ? "]" : "",
           port);
  while (path.size && path.data[path.size - 1] == '/') path.size--;
  snprintf(address->prefix, sizeof address->prefix, "%.*s", (int)path.size, (const char *)path.data);
  return address_find(address, name, port, error);
}
