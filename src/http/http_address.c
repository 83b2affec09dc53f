/* URLs, by libhttp-parser. */
#include "http/http_address.h"

#include "base/slice.h"

#include <http_parser.h>
#include <stdio.h>
#include <strings.h>

enum { HTTP_URL_BYTES = 1024 };

static struct slice url_part(const char *url, const struct http_parser_url *parts, enum http_parser_url_fields field) {
  bool there = parts->field_set & (1 << field);
  return slice_make(url + parts->field_data[field].off, there ? parts->field_data[field].len : 0);
}

static bool url_refuse(const char *url, struct error *error) {
  return error_set(error, ERROR_INVALID, "\"%.200s\" is no address of a server, expected http://HOST:PORT.", url);
}

bool http_address_parse_any(struct http_address *address, const char *url, struct error *error) {
  const unsigned strange = 1 << UF_QUERY | 1 << UF_FRAGMENT | 1 << UF_USERINFO;
  struct http_parser_url parts;
  http_parser_url_init(&parts);
  bool sound = strlen(url) < HTTP_URL_BYTES && http_parser_parse_url(url, strlen(url), false, &parts) == 0;
  struct slice host = url_part(url, &parts, UF_HOST), path = url_part(url, &parts, UF_PATH);
  address->tls = strncasecmp(url, "https://", 8) == 0;
  if (!sound || (!address->tls && strncasecmp(url, "http://", 7) != 0) || host.size >= sizeof address->host ||
      path.size >= sizeof address->prefix || (parts.field_set & strange))
    return url_refuse(url, error);
  int usual = address->tls ? 443 : 80;
  snprintf(address->port, sizeof address->port, "%d", parts.field_set & (1 << UF_PORT) ? parts.port : usual);
  snprintf(address->host, sizeof address->host, "%.*s", (int)host.size, (const char *)host.data);
  bool colons = strchr(address->host, ':') != NULL;
  snprintf(address->authority, sizeof address->authority, "%s%s%s:%s", colons ? "[" : "", address->host,
           colons ? "]" : "", address->port);
  while (path.size && path.data[path.size - 1] == '/') path.size--;
  snprintf(address->prefix, sizeof address->prefix, "%.*s", (int)path.size, (const char *)path.data);
  return true;
}

bool http_address_parse(struct http_address *address, const char *url, struct error *error) {
  return http_address_parse_any(address, url, error) && (!address->tls || url_refuse(url, error));
}
