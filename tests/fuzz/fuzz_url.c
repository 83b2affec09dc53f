/* URLs of strangers and the operator's prefixes: what was read once is read the same way again, has nothing in it that
 * could end a line of a head, and is never below a prefix whose path it leaves. */
#include "http/address_range.h"
#include "http/http_address.h"
#include "http/http_url.h"

#include <stdlib.h>

#define REQUIRE(condition)                                                                                             \
  do {                                                                                                                 \
    if (!(condition)) abort();                                                                                         \
  } while (0)

static void same(const struct http_url *a, const struct http_url *b) {
  REQUIRE(a->tls == b->tls && strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0);
  REQUIRE(strcmp(a->authority, b->authority) == 0 && strcmp(a->target, b->target) == 0 && a->path_size == b->path_size);
}

/* Written out and read again it is itself. */
static void read_again(const struct http_url *url) {
  static struct http_url again;
  static char text[2 * LIMIT_FETCH_URL_BYTES];
  size_t size = strlen(url->target), head;
  memcpy(text, url->tls ? "https://" : "http://", 8);
  head = url->tls ? 8 : 7;
  memcpy(text + head, url->authority, strlen(url->authority));
  head += strlen(url->authority);
  memcpy(text + head, url->target, size);
  if (head + size > LIMIT_FETCH_URL_BYTES) return; /* the / at its end was added */
  REQUIRE(http_url_parse(&again, slice_make(text, head + size), NULL));
  same(url, &again);
}

static void is_sound(const struct http_url *url) {
  size_t size = strlen(url->target);
  REQUIRE(url->target[0] == '/' && url->path_size >= 1 && url->path_size <= size && *url->host && *url->port);
  REQUIRE(url->path_size == size || url->target[url->path_size] == '?');
  for (const char *at = url->target; *at; at++) REQUIRE(*at > ' ' && *at < 0x7f && *at != '\\' && *at != '#');
  for (const char *at = url->authority; *at; at++) REQUIRE(*at > ' ' && *at < 0x7f && !strchr("/\\@?#%", *at));
  for (const char *at = url->target; (at = strstr(at, "/..")) && at < url->target + url->path_size; at++)
    REQUIRE(at[3] && !strchr("/?;", at[3]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct http_url url, prefix;
  struct address_range range;
  const uint8_t *split = size ? memchr(data, '\n', size) : NULL;
  struct slice first = slice_make(data, split ? (size_t)(split - data) : size);
  struct slice second = split ? slice_make(split + 1, size - first.size - 1) : slice_text("http://a/b");
  address_range_parse(&range, first, NULL);
  if (!http_url_parse(&url, first, NULL)) return 0;
  is_sound(&url);
  read_again(&url);
  if (!http_url_parse(&prefix, second, NULL)) return 0;
  if (http_url_below(&url, &prefix))
    REQUIRE(strcmp(url.authority, prefix.authority) == 0 && strncmp(url.target, prefix.target, prefix.path_size) == 0);
  return 0;
}
