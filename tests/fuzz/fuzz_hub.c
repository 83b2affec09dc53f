/* What the hub sends, and what people call its models: whatever is listed leads to no path outside of a folder, what is
 * wanted is listed, and nothing of pickle is. The first byte says what the rest is. */
#include "hub/hub_cache.h"
#include "hub/hub_choice.h"
#include "hub/hub_headers.h"
#include "http/http_proxy.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                                                             \
  do {                                                                                                                 \
    if (!(condition)) abort();                                                                                         \
  } while (0)

/* Joined to a folder, it stays below it. */
static void name_is_below(const char *name) {
  size_t size = strlen(name);
  REQUIRE(size > 0 && name[0] != '/' && name[size - 1] != '/' && !strstr(name, "//") && !strchr(name, '\\'));
  for (const char *at = name; at; at = strchr(at, '/')) {
    at += *at == '/';
    size_t segment = strcspn(at, "/");
    REQUIRE(segment > 0 && segment <= 255 && !(segment == 1 && at[0] == '.') &&
            !(segment == 2 && at[0] == '.' && at[1] == '.'));
  }
  for (const char *at = name; *at; at++) REQUIRE((unsigned char)*at >= ' ' && *at != 0x7f);
}

static void listing_check(struct hub_listing *listing, struct slice index) {
  static const char *const asked[] = {"", "Q8_0", "a.gguf"};
  struct hub_choice choice;
  for (int i = 0; i < listing->n; i++) {
    const char *digest = listing->files[i].digest;
    size_t size = strlen(digest);
    name_is_below(listing->files[i].name);
    REQUIRE((size == 40 || size == 64) && strspn(digest, "0123456789abcdef") == size);
  }
  for (size_t a = 0; a < sizeof asked / sizeof *asked; a++) {
    if (!hub_choose(listing, asked[a], "It", &choice, NULL)) continue;
    if (choice.kind == HUB_GGUF) REQUIRE(choice.model && choice.model->wanted);
    if (choice.index) hub_choose_shards(listing, choice.index, index, "It", NULL);
    for (int i = 0; i < listing->n; i++) {
      const char *dot = strrchr(listing->files[i].name, '.');
      if (listing->files[i].wanted) REQUIRE(!dot || (strcmp(dot, ".pkl") != 0 && strcmp(dot, ".pt") != 0));
    }
  }
}

/* A list, a NUL, an index. */
static void list_read(struct slice text) {
  struct hub_listing listing;
  const uint8_t *split = text.size ? memchr(text.data, 0, text.size) : NULL;
  size_t size = split ? (size_t)(split - text.data) : text.size;
  hub_listing_init(&listing);
  if (hub_listing_add(&listing, slice_make(text.data, size), NULL))
    listing_check(&listing, split ? slice_make(split + 1, text.size - size - 1) : slice_text("{}"));
  hub_listing_release(&listing);
}

static void id_read(const char *text) {
  struct hub_id id;
  char path[PATH_MAX];
  if (!hub_id_parse(&id, text, NULL)) return;
  REQUIRE(hub_repository_folder("/cache", id.repository, path, NULL));
  REQUIRE(strncmp(path, "/cache/models--", 15) == 0 && !strchr(path + 7, '/'));
  name_is_below(id.revision);
  REQUIRE(!strstr(id.choice, ".."));
}

static void headers_read(const char *text) {
  char url[256];
  uint64_t first, last, total;
  if (hub_link_next(text, url, sizeof url)) REQUIRE(*url && strlen(url) < sizeof url);
  hub_range_read(text, &first, &last, &total);
}

static void ways_read(const char *text) {
  static struct http_url from, to;
  const struct http_proxy_rules rules = {.https = text, .none = text};
  struct http_proxy proxy;
  bool found;
  http_url_parse(&from, slice_text("https://host:4/a/b?c"), NULL);
  if (http_url_follow(&to, &from, text, NULL)) REQUIRE(*to.host && to.target[0] == '/');
  if (http_proxy_find(&rules, &from, &proxy, &found, NULL) && found)
    REQUIRE(*proxy.address.host && strlen(proxy.credentials) < sizeof proxy.credentials);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char text[4096], commit[HUB_COMMIT_BYTES];
  if (size == 0) return 0;
  struct slice rest = slice_make(data + 1, size - 1);
  snprintf(text, sizeof text, "%.*s", (int)(rest.size < sizeof text ? rest.size : sizeof text - 1),
           (const char *)rest.data);
  switch (*data % 5) {
  case 0: list_read(rest); break;
  case 1: id_read(text); break;
  case 2: headers_read(text); break;
  case 3: ways_read(text); break;
  default:
    if (hub_commit_read(rest, commit, NULL)) REQUIRE(hub_is_commit(commit));
  }
  return 0;
}
