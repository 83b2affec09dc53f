/* What the hub knows a file by: the SHA-256 of a large one, of a small one git's SHA-1 of a blob. */
#ifndef SPATE_PULL_BLOB_DIGEST_H
#define SPATE_PULL_BLOB_DIGEST_H

#include "base/slice.h"
#include "hub/hub_listing.h"

struct blob_digest;

/* Of a file's bytes, which follow; NULL: no memory. */
struct blob_digest *blob_digest_new(const struct hub_file *file);
void blob_digest_update(struct blob_digest *digest, struct slice bytes);

/* In hexadecimal; frees it. False: it could not be computed. */
bool blob_digest_finish(struct blob_digest *digest, char out[HUB_DIGEST_BYTES]);

#endif
