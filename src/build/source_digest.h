/* What an engine's base is known by: the hash of the checkpoint's bytes that its weights are made of, in the order in
 * which the plan reads them. pack_weights finds it on its way; here it is found before anything is packed. */
#ifndef SPATE_BUILD_SOURCE_DIGEST_H
#define SPATE_BUILD_SOURCE_DIGEST_H

#include "base/hash.h"
#include "build/draft.h"

/* Reads all of those bytes once. The draft is settled. */
bool source_digest(const struct draft *draft, struct hash128 *digest, struct error *error);

#endif
