/* The two passes of resizing, for any machine and for some that have wider vectors; all give the same bytes. */
#ifndef SPATE_IMAGE_RESIZE_PASSES_H
#define SPATE_IMAGE_RESIZE_PASSES_H

#include "image/resize_axis.h"

enum { PASS_ROWS = 4 };

/* Pixels of four bytes that a pass along rows reads beyond the last one: their weights are 0. */
enum { PASS_SLACK = AXIS_UNIT };

struct resize_passes {
  /* Three bytes a pixel to four, PASS_SLACK more after them. */
  void (*widen)(const uint8_t *from, int width, uint8_t *to);
  /* PASS_ROWS rows of four bytes a pixel to rows of three. */
  void (*along_rows)(const struct resize_axis *axis, uint8_t *const from[PASS_ROWS], uint8_t *const to[PASS_ROWS]);
  /* One row of `bytes`, out of rows that are as long, `stride` apart; `from` is the first one that counts for it. */
  void (*along_columns)(const struct resize_axis *axis, int place, const uint8_t *from, size_t stride, size_t bytes,
                        uint8_t *to);
};

/* The best for this machine. */
const struct resize_passes *resize_passes_choose(void);

#endif
