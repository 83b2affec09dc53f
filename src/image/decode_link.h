/* One helper, as the program that it decodes for sees it: a process and a socket. Nothing that it says is believed. One
 * thread at a time. */
#ifndef SPATE_IMAGE_DECODE_LINK_H
#define SPATE_IMAGE_DECODE_LINK_H

#include "base/slice.h"
#include "image/image.h"

#include <sys/types.h>

struct decode_link {
  pid_t pid; /* 0: there is none */
  int socket;
  bool greeted;
  uint64_t busy_us; /* that it had images for */
};

/* Starts the process and does not wait for it. */
bool decode_link_start(struct decode_link *link, char *const *command, struct error *error);

/* Whether it waits for an image: not when it has ended, or has said what nobody asked for. */
bool decode_link_waits(const struct decode_link *link);

/* Waits until it says that it is in its sandbox. */
bool decode_link_greet(struct decode_link *link, int timeout_ms, struct error *error);

/* False with *lost where the helper is not to be used again: end it. */
bool decode_link_run(struct decode_link *link, struct slice file, int timeout_ms, struct image *image, bool *lost,
                     struct error *error);

/* Kills the process and waits for it. */
void decode_link_end(struct decode_link *link);

#endif
