/* Private to the room: one pull. pull.c is its course, pull_list.c asks for what there is, pull_blob.c fetches one
 * file, pull_place.c gives it its place in the cache. */
#ifndef SPATE_PULL_PULL_STATE_H
#define SPATE_PULL_PULL_STATE_H

#include "base/buffer.h"
#include "hub/hub_cache.h"
#include "hub/hub_choice.h"
#include "pull/fetch.h"
#include "pull/pull.h"

struct pull {
  const struct pull_options *options;
  struct pull_environment environment;
  struct fetch_context fetch;
  char commit[HUB_COMMIT_BYTES];
  char root[PATH_MAX], folder[PATH_MAX]; /* the cache, and the repository in it */
  char where[160];                       /* "The repository ORG/NAME" */
  struct hub_listing listing;
  struct hub_choice choice;
  const struct hub_file *at; /* the file that is being fetched; NULL: none */
  uint64_t done;             /* bytes of it that are there */
  uint64_t told_us;          /* when that was told last; 0: of this file not yet */
};

/* --- pull_list.c -------------------------------------------------------------------------------------------------- */

/* The commit of the revision, and its files. */
bool pull_list(struct pull *pull, struct error *error);

/* What the hub's refusal means, as a sentence; false always. */
bool pull_refusal(const struct pull *pull, const struct fetch_head *head, const char *file, struct error *error);

/* Is what was answered with this status worth another try? */
bool pull_may_retry(int status);

/* Waits after the n-th try, n from 1; seconds: as long as the hub asks for, 0 or less where it does not. False:
 * interrupted. */
bool pull_wait(const struct pull *pull, int n, int seconds, struct error *error);

/* Appends text percent-encoded, with / as it is where it separates folders. */
void pull_escape(struct buffer *out, const char *text, bool keep_slashes);

/* --- pull_blob.c -------------------------------------------------------------------------------------------------- */

/* Fetches the file into blobs/DIGEST unless it is there, and gives it its place while nobody else does. */
bool pull_blob(struct pull *pull, const struct hub_file *file, struct error *error);

/* Bytes of it that need not be fetched. */
uint64_t pull_blob_present(const struct pull *pull, const struct hub_file *file);

/* --- pull_place.c ------------------------------------------------------------------------------------------------- */

bool pull_blob_path(const struct pull *pull, const struct hub_file *file, const char *tail, char path[PATH_MAX],
                    struct error *error);

/* Its name in the snapshot: a link to the blob, or a file where a cache has no links. */
bool pull_link_path(const struct pull *pull, const struct hub_file *file, char path[PATH_MAX], struct error *error);

/* Is the file in the snapshot, with its size? */
bool pull_placed(const struct pull *pull, const struct hub_file *file);

/* Links the blob into the snapshot. One at a time for each digest. */
bool pull_place(const struct pull *pull, const struct hub_file *file, struct error *error);

/* Writes refs/REVISION, once all is there. */
bool pull_ref_write(const struct pull *pull, struct error *error);

/* Is there room for what is missing? */
bool pull_room_check(const struct pull *pull, uint64_t missing, struct error *error);

#endif
