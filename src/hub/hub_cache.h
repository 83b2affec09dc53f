/* The folder in which huggingface_hub, transformers and others keep what they have fetched, and the way of a model in
 * it: models--ORG--NAME/ with refs/REVISION (a commit), snapshots/COMMIT/FILE (a link) and blobs/DIGEST. */
#ifndef SPATE_HUB_HUB_CACHE_H
#define SPATE_HUB_HUB_CACHE_H

#include "hub/hub_id.h"
#include "hub/hub_listing.h"

#include <limits.h>

/* $HF_HOME, or huggingface/ below $XDG_CACHE_HOME or ~/.cache. False: there is no home. */
bool hub_home(char path[PATH_MAX], struct error *error);

/* $HF_HUB_CACHE, or hub/ below the home. */
bool hub_cache_root(char path[PATH_MAX], struct error *error);

/* A path that a variable of the environment names, whose ~/ is the home. False: there is none, or it is too long. */
bool hub_named_path(char path[PATH_MAX], const char *named, struct error *error);

/* "models--ORG--NAME" below the root, or "models--NAME". */
bool hub_repository_folder(const char *root, const char *repository, char path[PATH_MAX], struct error *error);

/* What refs/ says that the id's revision is; false without a sentence: nothing. */
bool hub_cache_commit(const char *folder, const struct hub_id *id, char commit[HUB_COMMIT_BYTES]);

/* The folder or file to open for a model in the cache. False: it is not there, or not whole; the sentence says how to
 * fetch it. No network. */
bool hub_cache_find(const struct hub_id *id, char path[PATH_MAX], struct error *error);

/* The path of a model that somebody named: as it is where there is such a file or folder or it looks like no id, else
 * what the cache has. */
bool hub_model_path(const char *model, char path[PATH_MAX], struct error *error);

#endif
