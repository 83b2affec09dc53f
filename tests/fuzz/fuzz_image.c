/* Any bytes as an image, as a data: URL, or as preprocessor_config.json, by how they begin. A PNG's checksums are made
 * right first, or no mutation would come further than them. What decodes is within the limits and is preprocessed; what
 * a configuration makes of some sizes can be computed, and is as much as it says. */
#include "base/limits.h"
#include "image/data_url.h"
#include "image/decode.h"
#include "image/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NUMBERS_MAX = 1 << 20 };

/* Numbers of a plan lie in memory of exactly their size. */
static void picture_run(const struct preprocess_config *config, const struct image *image) {
  struct preprocess_plan plan;
  struct error error;
  struct preprocess_layout layout = preprocess_layout_of(config);
  if (!preprocess_measure(config, image->width, image->height, &plan, &error)) return;
  size_t count = preprocess_count(&plan, &layout);
  if (plan.tiles < 1 || plan.tiles > LIMIT_IMAGE_TILES || plan.tile_width < 1 || plan.tile_height < 1) abort();
  if (count > NUMBERS_MAX || (int64_t)plan.canvas_height * plan.canvas_width > NUMBERS_MAX) return;
  float *numbers = malloc(count * sizeof *numbers);
  if (preprocess_run(config, &plan, &layout, image, numbers, &error))
    for (size_t i = 0; i < count; i += 997)
      if (isnan(numbers[i])) abort();
  free(numbers);
}

static void config_fuzz(struct slice text) {
  static struct preprocess_config config;
  static const int sizes[][2] = {{1, 1}, {1, 300}, {300, 1}, {97, 61}, {61, 97}, {200, 200}, {16384, 1}, {16384, 3072}};
  struct error error;
  if (!preprocess_config_parse(text, &config, &error)) {
    if (!error.text[0]) abort();
    return;
  }
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct image image = {sizes[i][0], sizes[i][1], NULL};
    struct preprocess_plan plan;
    if (image.width * image.height > 1 << 16) {
      preprocess_measure(&config, image.width, image.height, &plan, &error);
      continue;
    }
    if (!image_init(&image, image.width, image.height, &error)) abort();
    memset(image.pixels, 7, image_bytes(image.width, image.height));
    picture_run(&config, &image);
    image_release(&image);
  }
}

static void url_fuzz(struct slice text) {
  struct buffer out;
  struct slice mime;
  struct error error;
  buffer_init(&out, LIMIT_IMAGE_BYTES);
  if (!data_url_decode(text, &mime, &out, &error) && !error.text[0]) abort();
  if (mime.size && (mime.data < text.data || mime.data + mime.size > text.data + text.size)) abort();
  image_file_check(buffer_slice(&out), mime, &error);
  buffer_release(&out);
}

static void checksums_mend(uint8_t *png, size_t size) {
  for (size_t at = 8; size - at >= 12;) {
    size_t length = (size_t)png[at] << 24 | (size_t)png[at + 1] << 16 | (size_t)png[at + 2] << 8 | png[at + 3];
    if (length > size - at - 12) return;
    uint32_t sum = (uint32_t)crc32(0, png + at + 4, (uInt)length + 4);
    for (int i = 0; i < 4; i++) png[at + 8 + length + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
    at += length + 12;
  }
}

static void image_fuzz(struct slice file) {
  static struct preprocess_config config;
  static const char text[] = "{\"image_processor_type\": \"SmolVLMImageProcessor\", \"size\": {\"longest_edge\": 60}, "
                             "\"max_image_size\": {\"longest_edge\": 20}}";
  struct image image;
  struct error error;
  uint8_t *copy = malloc(file.size ? file.size : 1);
  memcpy(copy, file.data, file.size);
  if (image_format_find(file) == IMAGE_PNG) checksums_mend(copy, file.size);
  if (image_decode(slice_make(copy, file.size), &image, &error)) {
    if (!image_size_check((uint64_t)image.width, (uint64_t)image.height, &error)) abort();
    if (!preprocess_config_parse(slice_text(text), &config, &error)) abort();
    if (image.width * image.height < 1 << 16) picture_run(&config, &image);
    image_release(&image);
  } else if (!error.text[0]) {
    abort();
  }
  free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice bytes = slice_make(data, size);
  if (slice_starts(bytes, "{"))
    config_fuzz(bytes);
  else if (slice_starts(bytes, "data:"))
    url_fuzz(bytes);
  else
    image_fuzz(bytes);
  return 0;
}
