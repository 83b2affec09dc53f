/* What a process that decodes gives up before it sees the first untrusted byte. */
#ifndef SPATE_IMAGE_DECODE_SANDBOX_H
#define SPATE_IMAGE_DECODE_SANDBOX_H

#include "base/error.h"

#include <stdbool.h>

/* From here on this process can read and write HELPER_DESCRIPTOR, ask for memory and end: the kernel kills it when it
 * calls anything else. It has LIMIT_HELPER_MEBIBYTES of memory and LIMIT_HELPER_SECONDS of time; no file, no other
 * process, no new privileges. For a process of one thread. */
bool sandbox_enter(struct error *error);

#endif
