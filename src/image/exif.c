/* The one number of EXIF data that changes pixels: how the camera was held. A TIFF header (byte order, 42, where the
 * first directory is), then a directory: a count, and entries of 12 bytes (tag, type, count, value). */
#include "image/decode_formats.h"

enum { TAG_ORIENTATION = 0x112, TYPE_SHORT = 3, TYPE_LONG = 4, ENTRY_BYTES = 12 };

static uint32_t number_at(struct slice tiff, size_t at, size_t bytes, bool little) {
  uint32_t value = 0;
  for (size_t i = 0; i < bytes; i++) value = value << 8 | tiff.data[little ? at + bytes - 1 - i : at + i];
  return value;
}

static int entry_orientation(struct slice tiff, size_t at, bool little) {
  uint32_t type = number_at(tiff, at + 2, 2, little), value = 0;
  if (number_at(tiff, at + 4, 4, little) != 1) return 1;
  if (type == TYPE_SHORT) value = number_at(tiff, at + 8, 2, little);
  if (type == TYPE_LONG) value = number_at(tiff, at + 8, 4, little);
  return value >= 1 && value <= 8 ? (int)value : 1;
}

int exif_orientation(struct slice exif) {
  struct slice tiff = exif;
  if (exif.size >= 6 && memcmp(exif.data, "Exif\0\0", 6) == 0) tiff = slice_make(exif.data + 6, exif.size - 6);
  if (tiff.size < 8) return 1;
  bool little = slice_starts(tiff, "II");
  if (!little && !slice_starts(tiff, "MM")) return 1;
  size_t at = number_at(tiff, 4, 4, little);
  if (number_at(tiff, 2, 2, little) != 42 || at > tiff.size - 2) return 1;
  size_t count = number_at(tiff, at, 2, little), room = (tiff.size - at - 2) / ENTRY_BYTES;
  for (size_t i = 0; i < count && i < room; i++) {
    size_t entry = at + 2 + i * ENTRY_BYTES;
    if (number_at(tiff, entry, 2, little) == TAG_ORIENTATION) return entry_orientation(tiff, entry, little);
  }
  return 1;
}
