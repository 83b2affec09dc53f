/* One helper, as the program that it decodes for sees it: a process that forks, and a socket to the child of it that
 * waits for an image. Nothing that a child says is believed. One thread at a time. */
#ifndef SPATE_IMAGE_DECODE_LINK_H
#define SPATE_IMAGE_DECODE_LINK_H

#include "base/slice.h"
#include "image/image.h"

#include <sys/types.h>

struct decode_link {
  pid_t pid;   /* 0: there is none */
  int control; /* to the helper */
  int child;   /* -1: none waits */
  bool greeted;
};

/* Starts the process, asks for a child, and waits for neither. */
bool decode_link_start(struct decode_link *link, char *const *command, struct error *error);

/* Asks for another child, which ends the one before. False when the helper is gone. */
bool decode_link_renew(struct decode_link *link, struct error *error);

/* Whether a child waits for an image, as far as is known: not when it has ended, or has said what nobody asked for. */
bool decode_link_waits(const struct decode_link *link);

/* Waits until the child says that it is in its sandbox. */
bool decode_link_greet(struct decode_link *link, int timeout_ms, struct error *error);

/* One image, and the last of this child. *lost: it gave no answer of any use. */
bool decode_link_run(struct decode_link *link, struct slice file, int timeout_ms, struct image *image, bool *lost,
                     struct error *error);

/* Kills the helper and its child. */
void decode_link_end(struct decode_link *link);

#endif
