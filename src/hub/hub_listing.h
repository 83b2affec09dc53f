/* What the hub says is in a repository: untrusted JSON, and names that become paths. */
#ifndef SPATE_HUB_HUB_LISTING_H
#define SPATE_HUB_HUB_LISTING_H

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { HUB_COMMIT_BYTES = 41, HUB_DIGEST_BYTES = 65 };

struct hub_file {
  const char *name; /* in the repository, with / between folders; leads nowhere out of a folder */
  uint64_t size;
  char digest[HUB_DIGEST_BYTES]; /* SHA-256 of a large file (64 digits), git's SHA-1 of a small one (40) */
  bool wanted;                   /* hub_choice.h says so */
};

struct hub_listing {
  struct hub_file *files; /* [n], in the hub's order */
  int n, room;
  struct arena arena; /* of names */
};

void hub_listing_init(struct hub_listing *listing);
void hub_listing_release(struct hub_listing *listing);

/* Adds what a page of .../tree/COMMIT?recursive=true has. False: it is not what the hub sends, or names what nobody
 * should write. */
bool hub_listing_add(struct hub_listing *listing, struct slice json, struct error *error);

/* Adds one file, without a digest. */
bool hub_listing_put(struct hub_listing *listing, struct slice name, uint64_t size, struct error *error);

/* Adds the regular files below a folder, or links to some, by their names there. False: it cannot be read. */
bool hub_listing_scan(struct hub_listing *listing, const char *folder, struct error *error);

/* NULL: there is none. */
const struct hub_file *hub_listing_find(const struct hub_listing *listing, const char *name);

/* The commit that .../revision/REVISION tells of. */
bool hub_commit_read(struct slice json, char commit[HUB_COMMIT_BYTES], struct error *error);

/* Is it a relative path that stays below its folder, without anything that a terminal would obey? */
bool hub_name_is_sound(struct slice name);

#endif
