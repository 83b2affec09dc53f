/* Images are few: each question walks them. */
#include "schedule/image_places.h"

static int32_t tokens_of(const struct image_span *image) { return image->lines * image->columns; }

static int32_t longer_side(const struct image_span *image) {
  return image->lines > image->columns ? image->lines : image->columns;
}

static void place_of(const struct image_span *images, int32_t n_image, int32_t index, int32_t place[3]) {
  int32_t less = 0; /* places that images before it have made unnecessary */
  for (int32_t i = 0; i < n_image && images[i].first <= index; i++) {
    const struct image_span *image = &images[i];
    int32_t within = index - image->first;
    if (within < tokens_of(image)) {
      int32_t first = image->first - less;
      place[0] = first, place[1] = first + within / image->columns, place[2] = first + within % image->columns;
      return;
    }
    less += tokens_of(image) - longer_side(image);
  }
  place[0] = place[1] = place[2] = index - less;
}

void image_positions(const struct image_span *images, int32_t n_image, int32_t at, int32_t count,
                     int32_t (*position)[3]) {
  for (int32_t i = 0; i < count; i++) {
    place_of(images, n_image, at + i, position[i]);
    for (int axis = 0; axis < 3; axis++) position[i][axis] -= at;
  }
}

void image_see(const struct image_span *images, int32_t n_image, int32_t at, int32_t count, int32_t *see) {
  for (int32_t i = 0; i < count; i++) see[i] = i;
  for (int32_t k = 0; k < n_image; k++) {
    int32_t first = images[k].first - at, end = first + tokens_of(&images[k]);
    for (int32_t i = first < 0 ? 0 : first; i < end && end <= count; i++) see[i] = end - 1;
  }
}

int32_t image_step_end(const struct image_span *images, int32_t n_image, int32_t at, int32_t end) {
  for (int32_t k = 0; k < n_image; k++) {
    int32_t first = images[k].first, behind = first + tokens_of(&images[k]);
    if (end > first && end < behind) return first > at ? first : behind;
  }
  return end;
}
