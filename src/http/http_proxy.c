/* http://[USER:PASSWORD@]HOST[:PORT], with or without the scheme. */
#include "http/http_proxy.h"

#include "base/base64.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { PROXY_BYTES = 512 };

static const char *variable(const char *small, const char *large) {
  const char *value = getenv(small);
  return value && *value ? value : getenv(large);
}

struct http_proxy_rules http_proxy_environment(void) {
  return (struct http_proxy_rules){.https = variable("https_proxy", "HTTPS_PROXY"),
                                   .http = variable("http_proxy", "HTTP_PROXY"),
                                   .all = variable("all_proxy", "ALL_PROXY"),
                                   .none = variable("no_proxy", "NO_PROXY")};
}

/* --- who needs none ----------------------------------------------------------------------------------------------- */

/* "example.org", ".example.org" or "*.example.org", each with or without a port, or "*". */
static bool entry_matches(struct slice entry, const struct http_url *server) {
  const uint8_t *colon = entry.size ? memchr(entry.data, ':', entry.size) : NULL;
  bool numbers = colon && memchr(colon + 1, ':', entry.size - (size_t)(colon + 1 - entry.data)); /* of IPv6 */
  if (colon && !numbers) {
    size_t at = (size_t)(colon - entry.data);
    if (!slice_is(slice_make(colon + 1, entry.size - at - 1), server->port)) return false;
    entry.size = at;
  }
  if (slice_is(entry, "*")) return true;
  size_t skip = slice_starts(entry, "*.") ? 2 : slice_starts(entry, ".");
  const char *tail = (const char *)entry.data + skip;
  size_t size = entry.size - skip, host = strlen(server->host);
  if (size == 0 || size > host || strncasecmp(server->host + host - size, tail, size) != 0) return false;
  return size == host || server->host[host - size - 1] == '.';
}

static bool needs_none(const char *list, const struct http_url *server) {
  for (const char *at = list ? list : ""; *at; at += strspn(at, ", \t")) {
    size_t size = strcspn(at, ", \t");
    if (entry_matches(slice_make(at, size), server)) return true;
    at += size;
  }
  return false;
}

/* --- the proxy ---------------------------------------------------------------------------------------------------- */

static bool refuse(struct error *error) {
  return error_set(error, ERROR_INVALID,
                   "The proxy that the environment names cannot be used, expected http://[USER:PASSWORD@]HOST:PORT.");
}

static int digit(char c) {
  const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | ('A' <= c && c <= 'F' ? 0x20 : 0)) : NULL;
  return at ? (int)(at - digits) : -1;
}

/* Undoes percent-encoding, for a password may have any byte. */
static bool credentials_read(struct http_proxy *proxy, const char *text, size_t size) {
  struct buffer plain, coded;
  buffer_init(&plain, PROXY_BYTES);
  buffer_init(&coded, sizeof proxy->credentials - 1);
  for (size_t i = 0; i < size; i++) {
    bool escape = text[i] == '%' && size - i > 2 && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
    uint8_t byte = (uint8_t)text[i];
    if (escape) byte = (uint8_t)(digit(text[i + 1]) << 4 | digit(text[i + 2]));
    buffer_append(&plain, &byte, 1);
    if (escape) i += 2;
  }
  if (!memchr(text, ':', size)) buffer_text(&plain, ":");
  bool fits = !plain.failed && base64_encode(buffer_slice(&plain), &coded);
  if (fits) snprintf(proxy->credentials, sizeof proxy->credentials, "%.*s", (int)coded.size, coded.data);
  buffer_release(&plain);
  buffer_release(&coded);
  return fits;
}

static bool proxy_read(struct http_proxy *proxy, const char *text, struct error *error) {
  char url[PROXY_BYTES];
  *proxy = (struct http_proxy){0};
  const char *host = strstr(text, "://") ? strstr(text, "://") + 3 : text, *at = strrchr(host, '@');
  if (host != text && strncasecmp(text, "http://", 7) != 0) return refuse(error);
  if (at && !credentials_read(proxy, host, (size_t)(at - host))) return refuse(error);
  int size = snprintf(url, sizeof url, "http://%s", at ? at + 1 : host);
  return (size < (int)sizeof url && http_address_parse(&proxy->address, url, NULL)) || refuse(error);
}

bool http_proxy_find(const struct http_proxy_rules *rules, const struct http_url *server, struct http_proxy *proxy,
                     bool *found, struct error *error) {
  const char *text = server->tls ? rules->https : rules->http;
  if (!text || !*text) text = rules->all;
  *found = text && *text && !needs_none(rules->none, server);
  return !*found || proxy_read(proxy, text, error);
}
