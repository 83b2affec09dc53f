/* How fuzz_image changes images so that the change comes further than a decoder's first look: a file is taken apart
 * into what its format consists of (chunks of a PNG, segments of a JPEG, chunks of a WebP's RIFF), something is done to
 * one of these, and lengths and checksums are made right again. What a PNG's pixels are packed in is sometimes changed
 * unpacked. One change in eight is of any bytes, as are all of what is no image. */
#include "image/decode.h"

#include <stdlib.h>
#include <zlib.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

enum { PARTS = 64, NAME = 4, UNPACKED_MOST = 1 << 16, GROWTH = 64 };

struct part {
  uint8_t name[NAME]; /* of a JPEG: the second byte of its marker, and whether a length follows */
  uint8_t *data;      /* its own memory, `room` bytes */
  size_t size, room;
};

struct parts {
  struct part part[PARTS];
  int count;
};

static uint32_t big_at(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t little_at(const uint8_t *at) {
  return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static void part_add(struct parts *parts, const uint8_t *name, const uint8_t *data, size_t size) {
  struct part *part = &parts->part[parts->count++];
  *part = (struct part){.data = malloc(size + GROWTH), .size = size, .room = size + GROWTH};
  memcpy(part->name, name, NAME);
  if (size) memcpy(part->data, data, size);
}

static void parts_release(struct parts *parts) {
  for (int i = 0; i < parts->count; i++) free(parts->part[i].data);
}

/* --- taking apart ------------------------------------------------------------------------------------------------- */

static void png_part(struct parts *parts, const uint8_t *data, size_t size) {
  for (size_t at = 8; size - at >= 12 && parts->count < PARTS;) {
    size_t length = big_at(data + at), most = size - at - 12;
    if (length > most) length = most;
    part_add(parts, data + at + 4, data + at + 8, length);
    at += length + 12;
  }
}

static void webp_part(struct parts *parts, const uint8_t *data, size_t size) {
  for (size_t at = 12; at < size && size - at >= 8 && parts->count < PARTS;) {
    size_t length = little_at(data + at + 4), most = size - at - 8;
    if (length > most) length = most;
    part_add(parts, data + at, data + at + 8, length);
    at += 8 + length + (length & 1);
  }
}

static bool marker_bare(uint8_t marker) { return (marker >= 0xd0 && marker <= 0xd9) || marker == 1; }

/* A scan's data belongs to the marker before it: its part is cut at the next marker. */
static size_t scan_end(const uint8_t *data, size_t size, size_t at) {
  for (; at + 1 < size; at++)
    if (data[at] == 0xff && data[at + 1] != 0 && data[at + 1] != 0xff) return at;
  return size;
}

/* Markers with a length, then what follows them up to the next marker as a part of its own, whose name is zeros. */
static void jpeg_part(struct parts *parts, const uint8_t *data, size_t size) {
  for (size_t at = 0; at + 1 < size && parts->count + 1 < PARTS;) {
    uint8_t name[NAME] = {data[at + 1], !marker_bare(data[at + 1])};
    size_t from = at + 2, length = 0;
    if (name[1] && size - from >= 2) {
      length = (size_t)data[from] << 8 | data[from + 1];
      length = length < 2 ? 0 : length - 2;
      from += 2;
    }
    if (length > size - from) length = size - from;
    part_add(parts, name, data + from, length);
    at = scan_end(data, size, from + length);
    if (at > from + length) part_add(parts, (const uint8_t[NAME]){0}, data + from + length, at - from - length);
  }
}

/* --- putting together --------------------------------------------------------------------------------------------- */

struct writer {
  uint8_t *to;
  size_t size, room;
};

static void put(struct writer *writer, const void *data, size_t size) {
  if (size > writer->room - writer->size) size = writer->room - writer->size;
  if (size) memcpy(writer->to + writer->size, data, size);
  writer->size += size;
}

static void put_big(struct writer *writer, uint32_t number, int bytes) {
  uint8_t to[4];
  for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
  put(writer, to, (size_t)bytes);
}

static void put_little(struct writer *writer, uint32_t number) {
  uint8_t to[4];
  for (int i = 0; i < 4; i++) to[i] = (uint8_t)(number >> 8 * i);
  put(writer, to, 4);
}

static void png_write(const struct parts *parts, struct writer *writer) {
  put(writer, "\x89PNG\r\n\x1a\n", 8);
  for (int i = 0; i < parts->count; i++) {
    const struct part *part = &parts->part[i];
    put_big(writer, (uint32_t)part->size, 4);
    put(writer, part->name, NAME);
    put(writer, part->data, part->size);
    put_big(writer, (uint32_t)crc32(crc32(0, part->name, NAME), part->data, (uInt)part->size), 4);
  }
}

static void webp_write(const struct parts *parts, struct writer *writer) {
  size_t all = 4;
  for (int i = 0; i < parts->count; i++) all += 8 + parts->part[i].size + (parts->part[i].size & 1);
  put(writer, "RIFF", 4);
  put_little(writer, (uint32_t)all);
  put(writer, "WEBP", 4);
  for (int i = 0; i < parts->count; i++) {
    put(writer, parts->part[i].name, NAME);
    put_little(writer, (uint32_t)parts->part[i].size);
    put(writer, parts->part[i].data, parts->part[i].size);
    put(writer, "", parts->part[i].size & 1);
  }
}

static void jpeg_write(const struct parts *parts, struct writer *writer) {
  for (int i = 0; i < parts->count; i++) {
    const struct part *part = &parts->part[i];
    if (part->name[0]) put_big(writer, 0xff00u | part->name[0], 2);
    if (part->name[0] && part->name[1]) put_big(writer, (uint32_t)part->size + 2, 2);
    put(writer, part->data, part->size);
  }
}

/* --- what is done to a part --------------------------------------------------------------------------------------- */

static void part_change(struct part *part) {
  if (part->size == 0) part->data[part->size++] = 0;
  part->size = LLVMFuzzerMutate(part->data, part->size, part->room);
}

/* What a zlib stream holds is changed, and packed again. */
static void pixels_change(struct part *part) {
  static uint8_t plain[UNPACKED_MOST];
  z_stream in = {.next_in = part->data, .avail_in = (uInt)part->size, .next_out = plain, .avail_out = UNPACKED_MOST};
  if (inflateInit(&in) != Z_OK) return;
  inflate(&in, Z_SYNC_FLUSH);
  uLong size = in.total_out, packed = compressBound(UNPACKED_MOST);
  inflateEnd(&in);
  if (size == 0) return;
  size = LLVMFuzzerMutate(plain, size, UNPACKED_MOST);
  uint8_t *to = malloc(packed);
  if (compress2(to, &packed, plain, size, 1) == Z_OK) {
    free(part->data);
    part->data = to;
    part->size = part->room = packed;
  } else {
    free(to);
  }
}

static void part_delete(struct parts *parts, int at) {
  free(parts->part[at].data);
  parts->count--;
  memmove(parts->part + at, parts->part + at + 1, (size_t)(parts->count - at) * sizeof *parts->part);
}

static void part_swap(struct parts *parts, int a, int b) {
  struct part kept = parts->part[a];
  parts->part[a] = parts->part[b];
  parts->part[b] = kept;
}

/* A copy of part `from`, before part `at`. */
static void part_copy(struct parts *parts, int from, int at) {
  if (parts->count == PARTS) return;
  part_add(parts, parts->part[from].name, parts->part[from].data, parts->part[from].size);
  for (int i = parts->count - 1; i > at; i--) part_swap(parts, i, i - 1);
}

static void part_rename(struct part *part, enum image_format format, unsigned random) {
  static const char png[][NAME + 1] = {"IHDR", "PLTE", "IDAT", "IEND", "tRNS", "iCCP", "zTXt", "iTXt", "tEXt",
                                       "eXIf", "acTL", "fcTL", "fdAT", "gAMA", "bKGD", "sPLT", "cICP", "IDOT"},
                                 webp[][NAME + 1] = {"VP8 ", "VP8L", "VP8X", "ALPH", "ANIM",
                                                     "ANMF", "EXIF", "ICCP", "XMP "};
  static const uint8_t jpeg[] = {0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc8, 0xc9, 0xca, 0xcc, 0xd0, 0xd7, 0xd8,
                                 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xe0, 0xe1, 0xe2, 0xee, 0xfe, 0x01};
  if (format == IMAGE_PNG)
    memcpy(part->name, png[random % (sizeof png / sizeof *png)], NAME);
  else if (format == IMAGE_WEBP)
    memcpy(part->name, webp[random % (sizeof webp / sizeof *webp)], NAME);
  else
    part->name[0] = jpeg[random % sizeof jpeg], part->name[1] = !marker_bare(part->name[0]);
}

static void parts_change(struct parts *parts, enum image_format format, unsigned random) {
  int at = (int)(random / 16 % (unsigned)parts->count), other = (int)(random / 1024 % (unsigned)parts->count);
  switch (random % 16) {
  case 0: part_delete(parts, at); break;
  case 1: part_swap(parts, at, other); break;
  case 2: part_copy(parts, at, other); break;
  case 3: part_rename(&parts->part[at], format, random / 65536); break;
  case 4:
    part_copy(parts, at, other);
    part_rename(&parts->part[other], format, random / 65536);
    part_change(&parts->part[other]);
    break;
  case 5:
  case 6:
  case 7:
    if (format == IMAGE_PNG)
      pixels_change(&parts->part[at]);
    else
      part_change(&parts->part[at]);
    break;
  default: part_change(&parts->part[at]);
  }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed) {
  static const struct {
    void (*part)(struct parts *parts, const uint8_t *data, size_t size);
    void (*write)(const struct parts *parts, struct writer *writer);
  } formats[] = {[IMAGE_JPEG] = {jpeg_part, jpeg_write},
                 [IMAGE_PNG] = {png_part, png_write},
                 [IMAGE_WEBP] = {webp_part, webp_write}};
  unsigned random = (seed ^ seed >> 16) * 2654435761u;
  random ^= random >> 15;
  enum image_format format = image_format_find(slice_make(data, size));
  struct parts parts = {.count = 0};
  if (format != IMAGE_UNKNOWN && random % 8) formats[format].part(&parts, data, size);
  if (parts.count == 0) return LLVMFuzzerMutate(data, size, room);
  for (unsigned turns = 1 + random / 8 % 3; turns > 0 && parts.count; turns--, random = random * 1664525 + 1013904223)
    parts_change(&parts, format, random / 256);
  struct writer writer = {.to = data, .room = room};
  formats[format].write(&parts, &writer);
  parts_release(&parts);
  return writer.size;
}
