/* RFC 3986, less what two readers could take in two ways. */
#include "http/http_url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

enum { DECODINGS = 8, HOST_MAX = 253 };

static bool refuse(struct error *error, const char *sentence) {
  return error_set(error, ERROR_INVALID, "%s", sentence);
}

static bool is_letter_or_digit(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_unreserved(uint8_t c) { return is_letter_or_digit(c) || (c && strchr("-._~", c)); }

static bool is_of_url(uint8_t c) { return is_unreserved(c) || (c && strchr("%:/?#[]@!$&'()*+,;=", c)); }

static int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that %XX stands for; −1: it is no percent-encoding. */
static int escape_value(struct slice text, size_t at) {
  if (text.data[at] != '%' || text.size - at < 3) return -1;
  int high = hex_digit(text.data[at + 1]), low = hex_digit(text.data[at + 2]);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static struct slice cut(struct slice text, size_t from) { return slice_make(text.data + from, text.size - from); }

/* --- paths -------------------------------------------------------------------------------------------------------- */

static bool is_separator(uint8_t c) { return c == '/' || c == '\\'; }

/* A segment . or .., with or without parameters (..;a) behind it. */
static bool has_dots(struct slice path) {
  for (size_t at = 0, begin; at < path.size; at++) {
    if (at > 0 && !is_separator(path.data[at - 1])) continue;
    for (begin = at; at < path.size && path.data[at] == '.'; at++) {
    }
    size_t dots = at - begin;
    bool ends = at == path.size || is_separator(path.data[at]) || path.data[at] == ';';
    if (ends && (dots == 1 || dots == 2)) return true;
  }
  return false;
}

/* Undoes every percent-encoding once, in place. */
static size_t decode_once(char *bytes, size_t size) {
  size_t to = 0;
  for (size_t at = 0; at < size; at++) {
    int value = escape_value(slice_make(bytes, size), at);
    bytes[to++] = value < 0 ? bytes[at] : (char)value;
    if (value >= 0) at += 2;
  }
  return to;
}

/* However often a server that it is sent to decodes it. */
static bool dots_check(struct slice path, struct error *error) {
  char bytes[LIMIT_FETCH_URL_BYTES];
  size_t size = path.size, before;
  int round = 0;
  memcpy(bytes, path.data, size);
  do {
    if (has_dots(slice_make(bytes, size)))
      return refuse(error, "The URL's path has a segment . or .., as it stands or percent-encoded: write the path that "
                           "is meant.");
    before = size;
    size = decode_once(bytes, size);
  } while (size < before && ++round < DECODINGS);
  return size == before || refuse(error, "The URL's path is percent-encoded again and again: encode it once.");
}

/* Appends to the target, which has room. */
static void path_write(struct http_url *url, struct slice path) {
  char *target = url->target;
  size_t size = 0;
  if (path.size == 0) target[size++] = '/';
  for (size_t at = 0; at < path.size; at++) {
    int value = escape_value(path, at);
    if (value < 0) {
      target[size++] = (char)path.data[at];
      continue;
    }
    if (is_unreserved((uint8_t)value))
      target[size++] = (char)value;
    else
      size += (size_t)snprintf(target + size, 4, "%%%02X", (unsigned)value);
    at += 2;
  }
  url->path_size = size;
}

static bool target_read(struct http_url *url, struct slice text, struct error *error) {
  const uint8_t *mark = text.size ? memchr(text.data, '?', text.size) : NULL;
  size_t path_size = mark ? (size_t)(mark - text.data) : text.size;
  struct slice path = slice_make(text.data, path_size), query = cut(text, path_size);
  if (text.size + 2 > sizeof url->target)
    return error_set(error, ERROR_LIMIT, "The URL has more than %zu bytes behind its host.", sizeof url->target - 2);
  for (size_t at = 0; at < text.size; at++) {
    if (text.data[at] == '%' && escape_value(text, at) < 0)
      return refuse(error, "The URL has a % that two hexadecimal digits do not follow: write %25 for it.");
    if (text.data[at] == '[' || text.data[at] == ']')
      return refuse(error, "The URL has brackets behind its host: write %5B and %5D for them.");
  }
  if (!dots_check(path, error)) return false;
  path_write(url, path);
  memcpy(url->target + url->path_size, query.data, query.size);
  url->target[url->path_size + query.size] = '\0';
  return true;
}

/* --- hosts -------------------------------------------------------------------------------------------------------- */

static bool host_refuse(struct error *error) {
  return refuse(error, "The URL has no host that is a name of letters, digits, - and _ between dots, or an address: "
                       "write https://HOST/PATH.");
}

static bool name_read(struct http_url *url, struct slice host, struct error *error) {
  if (host.size == 0 || host.size > HOST_MAX) return host_refuse(error);
  for (size_t i = 0; i < host.size; i++) {
    uint8_t c = host.data[i];
    bool edge = i == 0 || i + 1 == host.size || host.data[i - 1] == '.';
    if (!is_letter_or_digit(c) && c != '-' && c != '_' && (c != '.' || edge)) return host_refuse(error);
    url->host[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
  }
  url->host[host.size] = '\0';
  return true;
}

/* The number of IPv6 between brackets, as it is written shortest. */
static bool number_read(struct http_url *url, struct slice host, struct error *error) {
  struct in6_addr number;
  char text[INET6_ADDRSTRLEN];
  if (host.size >= sizeof text) return host_refuse(error);
  memcpy(text, host.data, host.size);
  text[host.size] = '\0';
  return (inet_pton(AF_INET6, text, &number) == 1 && inet_ntop(AF_INET6, &number, url->host, sizeof url->host)) ||
         host_refuse(error);
}

static bool port_read(struct http_url *url, struct slice digits, struct error *error) {
  unsigned port = 0;
  for (size_t i = 0; i < digits.size && port <= 65535; i++) {
    if (digits.data[i] < '0' || digits.data[i] > '9') port = 65536;
    port = port * 10 + (unsigned)(digits.data[i] - '0');
  }
  if (port < 1 || port > 65535) return refuse(error, "The URL's port is no number from 1 to 65535.");
  snprintf(url->port, sizeof url->port, "%u", port);
  return true;
}

static bool authority_read(struct http_url *url, struct slice text, struct error *error) {
  if (text.size && memchr(text.data, '@', text.size))
    return refuse(error, "The URL names a user, and none is told to a server: leave out what stands before the @.");
  bool number = text.size && text.data[0] == '[';
  const uint8_t *end = text.size ? memchr(text.data, number ? ']' : ':', text.size) : NULL;
  if (number && !end) return host_refuse(error);
  size_t host_end = end ? (size_t)(end - text.data) : text.size;
  struct slice rest = cut(text, host_end + number);
  snprintf(url->port, sizeof url->port, "%s", url->tls ? "443" : "80");
  if (!(number ? number_read(url, slice_make(text.data + 1, host_end - 1), error)
               : name_read(url, slice_make(text.data, host_end), error)))
    return false;
  if (rest.size && rest.data[0] != ':') return host_refuse(error);
  if (rest.size && !port_read(url, cut(rest, 1), error)) return false;
  bool usual = strcmp(url->port, url->tls ? "443" : "80") == 0;
  snprintf(url->authority, sizeof url->authority, "%s%s%s%s%s", number ? "[" : "", url->host, number ? "]" : "",
           usual ? "" : ":", usual ? "" : url->port);
  return true;
}

/* --- all of it ---------------------------------------------------------------------------------------------------- */

static bool starts_in_any_case(struct slice text, const char *start) {
  size_t size = strlen(start);
  return text.size >= size && strncasecmp((const char *)text.data, start, size) == 0;
}

static bool bytes_check(struct slice text, struct error *error) {
  for (size_t i = 0; i < text.size; i++) {
    if (!is_of_url(text.data[i]))
      return error_set(
          error, ERROR_INVALID,
          "The URL's byte %zu is 0x%02x, which no URL has: write it percent-encoded, and names of hosts in "
          "ASCII.",
          i + 1, text.data[i]);
    if (text.data[i] == '#') return refuse(error, "The URL has a fragment, which no server is told: leave out the #.");
  }
  return true;
}

bool http_url_parse(struct http_url *url, struct slice text, struct error *error) {
  size_t end;
  *url = (struct http_url){.tls = starts_in_any_case(text, "https://")};
  if (!url->tls && !starts_in_any_case(text, "http://"))
    return refuse(error, "The URL begins with neither http:// nor https://.");
  if (text.size > LIMIT_FETCH_URL_BYTES)
    return error_set(error, ERROR_LIMIT, "The URL has %zu bytes, expected at most %d.", text.size,
                     LIMIT_FETCH_URL_BYTES);
  if (!bytes_check(text, error)) return false;
  text = cut(text, url->tls ? 8 : 7);
  for (end = 0; end < text.size && text.data[end] != '/' && text.data[end] != '?'; end++) {
  }
  return authority_read(url, slice_make(text.data, end), error) && target_read(url, cut(text, end), error);
}

bool http_url_follow(struct http_url *url, const struct http_url *from, const char *location, struct error *error) {
  const char *scheme = from->tls ? "https:" : "http:";
  char whole[LIMIT_FETCH_URL_BYTES + 1];
  int size = location[0] != '/'   ? snprintf(whole, sizeof whole, "%s", location)
             : location[1] == '/' ? snprintf(whole, sizeof whole, "%s%s", scheme, location)
                                  : snprintf(whole, sizeof whole, "%s//%s%s", scheme, from->authority, location);
  if (size >= (int)sizeof whole)
    return error_set(error, ERROR_LIMIT, "The URL has more than %d bytes.", LIMIT_FETCH_URL_BYTES);
  whole[strcspn(whole, "#")] = '\0'; /* which is for readers alone */
  return http_url_parse(url, slice_text(whole), error);
}

bool http_url_same_origin(const struct http_url *a, const struct http_url *b) {
  return a->tls == b->tls && strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

bool http_url_has_query(const struct http_url *url) { return url->target[url->path_size] == '?'; }

bool http_url_below(const struct http_url *url, const struct http_url *prefix) {
  size_t size = prefix->path_size;
  if (!http_url_same_origin(url, prefix) || url->path_size < size || memcmp(url->target, prefix->target, size) != 0)
    return false;
  return prefix->target[size - 1] == '/' || url->path_size == size || url->target[size] == '/';
}
