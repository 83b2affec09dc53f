/* Which format a file has, and what is refused before a decoder sees it. */
#include "image/decode.h"

#include "base/limits.h"
#include "image/decode_formats.h"

#include <strings.h>

static const struct {
  const char *name, *mime, *other_mime;
  bool (*decode)(struct slice file, struct image *image, int *orientation, struct error *error);
} formats[] = {
    [IMAGE_JPEG] = {"JPEG", "image/jpeg", "image/jpg", jpeg_decode},
    [IMAGE_PNG] = {"PNG", "image/png", "image/x-png", png_decode},
    [IMAGE_WEBP] = {"WebP", "image/webp", "image/webp", webp_decode},
};

/* Formats that people send and that there is no decoder for, by their first bytes. */
static const struct {
  const char *name, *magic;
  int offset;
} strangers[] = {
    {"GIF", "GIF8", 0}, {"BMP", "BM", 0},           {"TIFF", "II*", 0},         {"TIFF", "MM", 0},
    {"PDF", "%PDF", 0}, {"AVIF", "ftypavif", 4},    {"HEIF", "ftyphei", 4},     {"HEIF", "ftypmif1", 4},
    {"SVG", "<svg", 0}, {"XML or SVG", "<?xml", 0}, {"JPEG XL", "\xff\x0a", 0},
};

static bool has_at(struct slice file, size_t offset, const char *magic) {
  return file.size >= offset && slice_starts(slice_make(file.data + offset, file.size - offset), magic);
}

enum image_format image_format_find(struct slice file) {
  if (slice_starts(file, "\xff\xd8\xff")) return IMAGE_JPEG;
  if (slice_starts(file, "\x89PNG\r\n\x1a\n")) return IMAGE_PNG;
  if (slice_starts(file, "RIFF") && has_at(file, 8, "WEBP")) return IMAGE_WEBP;
  return IMAGE_UNKNOWN;
}

static bool stranger_refuse(struct slice file, struct error *error) {
  for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
    if (has_at(file, (size_t)strangers[i].offset, strangers[i].magic))
      return error_set(error, ERROR_UNSUPPORTED, "The image is a %s file, expected JPEG, PNG or WebP: convert it.",
                       strangers[i].name);
  return error_set(error, ERROR_INVALID,
                   "The image is neither JPEG, PNG nor WebP by its first bytes: send one of these.");
}

static bool mime_is(struct slice mime, const char *name) {
  return mime.size == strlen(name) && strncasecmp((const char *)mime.data, name, mime.size) == 0;
}

bool image_file_check(struct slice file, struct slice mime, struct error *error) {
  if (file.size == 0) return error_set(error, ERROR_INVALID, "The image has no bytes: send a JPEG, PNG or WebP file.");
  if (file.size > LIMIT_IMAGE_BYTES)
    return error_set(error, ERROR_LIMIT, "The image is %zu bytes, but it may have %d: compress it or scale it down.",
                     file.size, LIMIT_IMAGE_BYTES);
  enum image_format format = image_format_find(file);
  if (format == IMAGE_UNKNOWN) return stranger_refuse(file, error);
  if (mime.size == 0 || mime_is(mime, formats[format].mime) || mime_is(mime, formats[format].other_mime)) return true;
  return error_set(error, ERROR_INVALID, "The image is said to be %.*s, but by its first bytes it is %s: call it %s.",
                   SLICE_ARGS(mime), formats[format].name, formats[format].mime);
}

bool image_decode(struct slice file, struct image *image, struct error *error) {
  int orientation = 1;
  if (!image_file_check(file, (struct slice){0}, error)) return false;
  if (!formats[image_format_find(file)].decode(file, image, &orientation, error)) return false;
  if (image_orient(image, orientation, error)) return true;
  image_release(image);
  return false;
}
