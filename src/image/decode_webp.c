/* WebP through libwebp. Animations are refused: their first picture is another library's. */
#include "image/decode_formats.h"

#include <webp/decode.h>

enum { CHUNK_HEAD = 8, RIFF_HEAD = 12 };

static size_t little_at(const uint8_t *at) {
  return (size_t)at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24;
}

/* RIFF: after its head come chunks, each of a name, a size and so many bytes, padded to an even number. */
static int chunk_orientation(struct slice file) {
  size_t at = RIFF_HEAD;
  while (file.size - at >= CHUNK_HEAD) {
    size_t size = little_at(file.data + at + 4), room = file.size - at - CHUNK_HEAD;
    if (size > room) return 1;
    if (memcmp(file.data + at, "EXIF", 4) == 0) return exif_orientation(slice_make(file.data + at + CHUNK_HEAD, size));
    if (size == room) return 1;
    at += CHUNK_HEAD + size + (size & 1);
  }
  return 1;
}

static bool status_refuse(VP8StatusCode status, struct error *error) {
  switch (status) {
  case VP8_STATUS_OUT_OF_MEMORY:
    return error_set(error, ERROR_MEMORY, "There is no memory to decode the WebP image: send a smaller one.");
  case VP8_STATUS_NOT_ENOUGH_DATA:
  case VP8_STATUS_SUSPENDED:
    return error_set(error, ERROR_INVALID, "The WebP image ends before its last row: it was cut off, send it whole.");
  case VP8_STATUS_UNSUPPORTED_FEATURE:
    return error_set(error, ERROR_UNSUPPORTED,
                     "The WebP image has a feature that libwebp does not decode: save it anew.");
  default: return error_set(error, ERROR_INVALID, "The WebP image is malformed: send another.");
  }
}

bool webp_decode(struct slice file, struct image *image, int *orientation, struct error *error) {
  WebPDecoderConfig config;
  *image = (struct image){0};
  if (!WebPInitDecoderConfig(&config))
    return error_set(error, ERROR_INTERNAL, "libwebp is another version than the one that was compiled with.");
  VP8StatusCode status = WebPGetFeatures(file.data, file.size, &config.input);
  if (status != VP8_STATUS_OK) return status_refuse(status, error);
  if (config.input.has_animation)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The WebP image is an animation, expected a single picture: send one of its frames.");
  if (!image_size_check((uint64_t)config.input.width, (uint64_t)config.input.height, error)) return false;
  if (!image_init(image, config.input.width, config.input.height, error)) return false;
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = image->pixels;
  config.output.u.RGBA.stride = 3 * image->width;
  config.output.u.RGBA.size = image_bytes(image->width, image->height);
  status = WebPDecode(file.data, file.size, &config);
  if (status == VP8_STATUS_OK) {
    *orientation = chunk_orientation(file);
    return true;
  }
  image_release(image);
  return status_refuse(status, error);
}
