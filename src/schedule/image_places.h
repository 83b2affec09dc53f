/* Where the tokens of a sequence with images are and what they see, for decoders to which that matters: the places of
 * rotations with several axes, and images whose tokens see each other. Arithmetic alone; any thread. */
#ifndef SPATE_SCHEDULE_IMAGE_PLACES_H
#define SPATE_SCHEDULE_IMAGE_PLACES_H

#include <stdint.h>

/* Tokens of an image in a sequence that belong together: lines × columns of them from index `first` on. An image that
 * is seen in parts has a span of each. */
struct image_span {
  int32_t first, lines, columns;
};

/* Of a decoder whose plan_vision has `axes`: places of tokens [at, at + count), relative to `at` as batch.position has
 * them. A text's token has one place on all axes, the next free one; an image's are {p, p + line, p + column}, p being
 * the next free place before it, and behind it that is p + the longer side. So tokens that follow (generated ones) have
 * at + place, which is the same number less than the index forever: they may be asked for one by one. */
void image_positions(const struct image_span *images, int32_t n_image, int32_t at, int32_t count,
                     int32_t (*position)[3]);

/* Of a decoder whose plan_vision has `mutual`: batch.see of tokens [at, at + count), which end outside of images. They
 * may begin within one whose first tokens are in the cache already: these have seen all of it when they were computed.
 */
void image_see(const struct image_span *images, int32_t n_image, int32_t at, int32_t count, int32_t *see);

/* Of the same: where a step that computes tokens [at, end) must end instead, so that no image is cut: before the image
 * that `end` is in, or, where that has nothing before it, behind it. */
int32_t image_step_end(const struct image_span *images, int32_t n_image, int32_t at, int32_t end);

#endif
