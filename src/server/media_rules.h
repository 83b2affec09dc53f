/* Which images that requests name by their address the server fetches: those that the operator's prefixes let it, from
 * hosts that are public, or in the ranges that the operator names besides. Constant once open; any thread. */
#ifndef SPATE_SERVER_MEDIA_RULES_H
#define SPATE_SERVER_MEDIA_RULES_H

#include "http/http_client.h"
#include "http/http_url.h"

struct media_options {
  const char *const *prefixes, *const *ranges; /* each text may be several with commas between them */
  int n_prefix, n_range;
  int timeout_s; /* for all images of a request; 0: 10 */
};

struct media_rules {
  struct http_url *prefix; /* [n_prefix] */
  int n_prefix;
  struct address_range range[LIMIT_FETCH_RANGES];
  struct http_guard guard;
  struct tls_context *tls;
  int timeout_s;
};

/* NULL with an error; also without one, when no prefix is given: nothing is fetched then. */
struct media_rules *media_rules_open(const struct media_options *options, struct error *error);
void media_rules_free(struct media_rules *rules); /* NULL is allowed */

/* Is it meant as an address, if not as one that is fetched: a scheme and ://? */
bool media_is_address(struct slice text);

/* Reads an address that may be fetched. False with a sentence. */
bool media_rules_check(const struct media_rules *rules, struct slice text, struct http_url *url, struct error *error);

#endif
