/* A whole file mapped read-only. */
#ifndef SPATE_BASE_FILE_H
#define SPATE_BASE_FILE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct file {
  const uint8_t *data; /* mapped, read-only; NULL for an empty file */
  size_t size;         /* bytes, at the time of opening */
  int descriptor;
};

/* Maps path; the sentence names the path and the system's reason. What is no regular file is refused at once. */
bool file_open(struct file *file, const char *path, struct error *error);
void file_close(struct file *file);

/* True while the path names the open file: false once it was removed, or another was put in its place. */
bool file_named(int descriptor, const char *path);

/* True while the file still has the size it was mapped with: reading past a shrunk end would raise SIGBUS. */
bool file_intact(const struct file *file);

#endif
