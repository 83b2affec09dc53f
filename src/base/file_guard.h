/* Keeps a mapped file that shrinks from killing the process: touching a page past the new end would raise SIGBUS; a
 * guarded mapping then gets zeros there instead, so that its user reaches the next file_intact and stops with a
 * sentence. Faults elsewhere go where they went before. Any thread. */
#ifndef SPATE_BASE_FILE_GUARD_H
#define SPATE_BASE_FILE_GUARD_H

#include "base/file.h"

/* From now on, until file_guard_remove, which must come before file_close. False when too many files are guarded. */
bool file_guard_add(const struct file *file);
void file_guard_remove(const struct file *file);

/* True once a guarded file has given zeros for a page: it shrank, even if it has its old size again, or its disk
 * failed. What was read of it since then is not to be used. */
bool file_guard_tripped(const struct file *file);

#endif
