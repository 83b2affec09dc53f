/* Who may ask: the API keys of a server. Constant once it listens; any thread. */
#ifndef SPATE_SERVER_ACCESS_H
#define SPATE_SERVER_ACCESS_H

#include "base/error.h"
#include "base/keyed_hash.h"

enum { ACCESS_KEYS = 64 }; /* as many as the engine knows tenants */

struct access {
  int n_key; /* 0: everybody may */
  struct hash_key secret;
  struct hash128 key[ACCESS_KEYS]; /* not the keys themselves: a dump of the memory does not show them */
  int min_priority[ACCESS_KEYS];   /* of each key's requests; of everybody's, when no keys are asked for */
};

/* keys: one or more, separated by commas; NULL: none are asked for. min_priorities: a number for all, or one for each
 * key; NULL: 0. */
bool access_init(struct access *access, const char *keys, const char *min_priorities, struct error *error);

/* The index of the key in an Authorization header ("Bearer KEY"), −1 if it holds none of ours; 0 when none are asked
 * for. Takes the same time whichever key is wrong, and wherever. */
int access_check(const struct access *access, struct slice authorization);

#endif
