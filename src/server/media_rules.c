/* The operator's lists. */
#include "server/media_rules.h"

#include "http/tls.h"

#include <stdlib.h>

enum { DEFAULT_SECONDS = 10, SCHEME_MAX = 32 };

/* One text of a list: adds it. */
typedef bool (*entry_read)(struct media_rules *rules, struct slice text, struct error *error);

static bool prefix_read(struct media_rules *rules, struct slice text, struct error *error) {
  if (rules->n_prefix == LIMIT_FETCH_PREFIXES)
    return error_set(error, ERROR_LIMIT, "--allow-media-url-prefix has more than %d prefixes.", LIMIT_FETCH_PREFIXES);
  struct http_url *prefix = &rules->prefix[rules->n_prefix++];
  if (!http_url_parse(prefix, text, error))
    return error_prefix(error, "--allow-media-url-prefix %.*s: ", SLICE_ARGS(text));
  return !http_url_has_query(prefix) ||
         error_set(error, ERROR_INVALID, "--allow-media-url-prefix %.*s: A prefix ends before the ? of a query.",
                   SLICE_ARGS(text));
}

static bool range_read(struct media_rules *rules, struct slice text, struct error *error) {
  if (rules->guard.n == LIMIT_FETCH_RANGES)
    return error_set(error, ERROR_LIMIT, "--allow-media-address has more than %d ranges.", LIMIT_FETCH_RANGES);
  return address_range_parse(&rules->range[rules->guard.n++], text, error) ||
         error_prefix(error, "--allow-media-address: ");
}

/* Several stand with commas between them; an empty text is none, as an image's variable cannot be unset. */
static bool list_read(struct media_rules *rules, const char *const *texts, int n, entry_read read,
                      struct error *error) {
  for (int i = 0; i < n; i++)
    for (const char *at = texts[i]; *at;) {
      size_t size = strcspn(at, ",");
      if (!read(rules, slice_make(at, size), error)) return false;
      at += size + (at[size] == ',');
    }
  return true;
}

static bool rules_fill(struct media_rules *rules, const struct media_options *options, struct error *error) {
  if (options->timeout_s < 0 || options->timeout_s > LIMIT_FETCH_SECONDS)
    return error_set(error, ERROR_INVALID, "--media-timeout is %d, expected 0 to %d.", options->timeout_s,
                     LIMIT_FETCH_SECONDS);
  rules->timeout_s = options->timeout_s ? options->timeout_s : DEFAULT_SECONDS;
  rules->guard.ranges = rules->range;
  rules->prefix = calloc(LIMIT_FETCH_PREFIXES, sizeof *rules->prefix);
  if (!rules->prefix) return error_set(error, ERROR_MEMORY, "Out of memory for a list of addresses.");
  if (!list_read(rules, options->prefixes, options->n_prefix, prefix_read, error) ||
      !list_read(rules, options->ranges, options->n_range, range_read, error))
    return false;
  if (rules->n_prefix == 0) return true;
  rules->tls = tls_client_context_open(error);
  return rules->tls != NULL;
}

struct media_rules *media_rules_open(const struct media_options *options, struct error *error) {
  struct media_rules *rules = calloc(1, sizeof *rules);
  if (!rules) {
    error_set(error, ERROR_MEMORY, "Out of memory for a list of addresses.");
    return NULL;
  }
  bool filled = rules_fill(rules, options, error);
  if (filled && rules->n_prefix > 0) return rules;
  media_rules_free(rules);
  return NULL;
}

void media_rules_free(struct media_rules *rules) {
  if (!rules) return;
  tls_context_free(rules->tls);
  free(rules->prefix);
  free(rules);
}

bool media_is_address(struct slice text) {
  size_t at = 0, most = text.size < SCHEME_MAX ? text.size : SCHEME_MAX;
  while (at < most && text.data[at] != ':') at++;
  return at > 0 && at + 2 < text.size && memcmp(text.data + at, "://", 3) == 0;
}

bool media_rules_check(const struct media_rules *rules, struct slice text, struct http_url *url, struct error *error) {
  if (!http_url_parse(url, text, error)) return false;
  for (int i = 0; i < rules->n_prefix; i++)
    if (http_url_below(url, &rules->prefix[i])) return true;
  return error_set(error, ERROR_INVALID,
                   "%s://%.200s%.*s is below none of the addresses that this server fetches images from "
                   "(--allow-media-url-prefix): send its bytes as data:image/png;base64,...",
                   url->tls ? "https" : "http", url->authority, (int)(url->path_size < 100 ? url->path_size : 100),
                   url->target);
}
