/* The URL of a server is one that has no query, and not much of a path. */
#include "http/http_address.h"

#include "http/http_url.h"

#include <stdio.h>

static bool url_refuse(const char *url, struct error *error) {
  return error_set(error, ERROR_INVALID, "\"%.200s\" is no address of a server, expected http://HOST:PORT.", url);
}

bool http_address_parse_any(struct http_address *address, const char *url, struct error *error) {
  struct http_url parsed;
  if (!http_url_parse(&parsed, slice_text(url), NULL) || http_url_has_query(&parsed) ||
      parsed.path_size >= sizeof address->prefix)
    return url_refuse(url, error);
  size_t size = parsed.path_size;
  while (size && parsed.target[size - 1] == '/') size--;
  address->tls = parsed.tls;
  memcpy(address->host, parsed.host, sizeof address->host);
  memcpy(address->port, parsed.port, sizeof address->port);
  memcpy(address->authority, parsed.authority, sizeof address->authority);
  snprintf(address->prefix, sizeof address->prefix, "%.*s", (int)size, parsed.target);
  return true;
}

bool http_address_parse(struct http_address *address, const char *url, struct error *error) {
  return http_address_parse_any(address, url, error) && (!address->tls || url_refuse(url, error));
}
