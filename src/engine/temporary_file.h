/* A file that gets its name only when it is complete. Without a name (O_TMPFILE) until then where the file system and
 * /proc let it, so that nothing is left when the program is killed; else under a name beside the final one. One thread.
 */
#ifndef SPATE_ENGINE_TEMPORARY_FILE_H
#define SPATE_ENGINE_TEMPORARY_FILE_H

#include "base/error.h"

struct temporary_file {
  int descriptor; /* −1: none */
  char *path;     /* the final name; owned */
  char *name;     /* the temporary one; owned; NULL: none */
};

/* The path is copied. The sentences name it. */
bool temporary_file_open(struct temporary_file *file, const char *path, struct error *error);

/* The second way of temporary_file_open: PATH.HOST-0.part, or the next that nobody writes. A killed program leaves it
 * behind, for the next one of that host to remove. */
bool temporary_file_open_named(struct temporary_file *file, const char *path, struct error *error);

/* Flushes to the disk and gives the file its name, replacing what had it. */
bool temporary_file_commit(struct temporary_file *file, struct error *error);

/* Closes; removes what was not committed. */
void temporary_file_release(struct temporary_file *file);

/* "PATH cannot be WHAT: " and what errno says. */
bool temporary_file_refuse(const struct temporary_file *file, const char *what, struct error *error);

#endif
