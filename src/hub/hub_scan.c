/* A folder on the disk as a listing. */
#include "hub/hub_listing.h"

#include "base/limits.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 8 };

static bool folder_scan(struct hub_listing *listing, const char *root, const char *below, int depth,
                        struct error *error);

static bool entry_scan(struct hub_listing *listing, const char *root, const char *name, int depth,
                       struct error *error) {
  char path[PATH_MAX];
  struct stat status;
  int size = snprintf(path, sizeof path, "%s/%s", root, name);
  if (size >= (int)sizeof path || stat(path, &status) != 0) return true; /* a link to what is not there */
  if (S_ISDIR(status.st_mode)) return depth == DEPTH_MAX || folder_scan(listing, root, name, depth + 1, error);
  return !S_ISREG(status.st_mode) || hub_listing_put(listing, slice_text(name), (uint64_t)status.st_size, error);
}

static bool folder_scan(struct hub_listing *listing, const char *root, const char *below, int depth,
                        struct error *error) {
  char path[PATH_MAX], name[LIMIT_HUB_NAME_BYTES];
  bool good = true;
  if (snprintf(path, sizeof path, "%s/%s", root, below) >= (int)sizeof path) return true;
  DIR *directory = opendir(path);
  if (!directory) return error_set(error, ERROR_IO, "%s cannot be read: %s.", path, strerror(errno));
  for (const struct dirent *entry; good && (entry = readdir(directory));) {
    if (entry->d_name[0] == '.') continue;
    int size = snprintf(name, sizeof name, "%s%s%s", below, *below ? "/" : "", entry->d_name);
    if (size < (int)sizeof name) good = entry_scan(listing, root, name, depth, error);
  }
  closedir(directory);
  return good;
}

bool hub_listing_scan(struct hub_listing *listing, const char *folder, struct error *error) {
  return folder_scan(listing, folder, "", 0, error);
}
