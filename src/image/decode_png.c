/* PNG through libpng, which leaves by longjmp when something is wrong. Chunks that change no pixel are not parsed. */
#include "base/limits.h"
#include "image/decode_formats.h"

#include <png.h>
#include <setjmp.h>

struct png_reader {
  png_structp png;
  png_infop info;
  struct slice rest; /* of the file */
  struct image *image;
  size_t row_room; /* bytes that the row may still take from `rest`; SIZE_MAX outside of rows */
  struct error *error;
};

static void on_error(png_structp png, png_const_charp text) {
  struct png_reader *reader = png_get_error_ptr(png);
  error_set(reader->error, ERROR_INVALID, "The PNG image is malformed (%s): send another.", text);
  png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
  (void)png;
  (void)text;
}

static void on_read(png_structp png, png_bytep to, size_t size) {
  struct png_reader *reader = png_get_io_ptr(png);
  if (size > reader->rest.size) {
    error_set(reader->error, ERROR_INVALID, "The PNG image ends before its last row: it was cut off, send it whole.");
    png_longjmp(png, 1);
  }
  if (size > reader->row_room) {
    error_set(reader->error, ERROR_LIMIT, "The PNG image has more data than its rows take: save it anew.");
    png_longjmp(png, 1);
  }
  if (reader->row_room != SIZE_MAX) reader->row_room -= size;
  memcpy(to, reader->rest.data, size);
  reader->rest = slice_make(reader->rest.data + size, reader->rest.size - size);
}

_Noreturn static void leave(struct png_reader *reader) { png_longjmp(reader->png, 1); }

static void reader_begin(struct png_reader *reader) {
  static const png_byte ignored[] =
      "bKGD\0cHRM\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0tEXt\0tIME\0tRNS\0zTXt";
  png_structp png = reader->png;
  png_set_read_fn(png, reader, on_read);
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, ignored, sizeof ignored / 5);
  png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* image_size_check has its own, and a sentence */
  png_set_chunk_malloc_max(png, LIMIT_IMAGE_CHUNK_BYTES);
  png_set_chunk_cache_max(png, 16);
}

/* Three bytes a pixel, but two where 16-bit greys are to be cut off. */
static bool transforms_set(struct png_reader *reader) {
  png_structp png = reader->png;
  int type = png_get_color_type(png, reader->info), depth = png_get_bit_depth(png, reader->info);
  bool deep_grey = type == PNG_COLOR_TYPE_GRAY && depth == 16;
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
  if (depth == 16 && !deep_grey) png_set_strip_16(png);
  if (type & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png);
  if (!(type & PNG_COLOR_MASK_COLOR) && !deep_grey) png_set_gray_to_rgb(png);
  png_read_update_info(png, reader->info);
  return deep_grey;
}

/* In place, from the end: two bytes a pixel, the high one first, to three that are the same. */
static void greys_widen(struct image *image) {
  for (int y = 0; y < image->height; y++) {
    uint8_t *row = image->pixels + image_bytes(image->width, y);
    for (ptrdiff_t x = image->width - 1; x >= 0; x--) memset(row + 3 * x, row[2 * x] ? 255 : row[2 * x + 1], 3);
  }
}

/* With the last row libpng unpacks what is left of the pixels' stream, though nothing of it is wanted: a file of the
 * size that is allowed would unpack to 20 GiB. So no row may take more than twice what it is unpacked, and a little. */
static void rows_read(struct png_reader *reader, int passes) {
  enum { PIXEL_MOST = 8 }; /* bytes: four channels of 16 bits */
  struct image *image = reader->image;
  for (int i = 0; i < passes * image->height; i++) {
    reader->row_room = 2 * PIXEL_MOST * (size_t)image->width + LIMIT_IMAGE_SURPLUS_BYTES;
    png_read_row(reader->png, image->pixels + image_bytes(image->width, i % image->height), NULL);
  }
  reader->row_room = SIZE_MAX;
}

static void pixels_read(struct png_reader *reader) {
  struct image *image = reader->image;
  uint32_t width = png_get_image_width(reader->png, reader->info),
           height = png_get_image_height(reader->png, reader->info);
  if (!image_size_check(width, height, reader->error)) leave(reader);
  int passes = png_set_interlace_handling(reader->png);
  bool deep_grey = transforms_set(reader);
  if (png_get_rowbytes(reader->png, reader->info) != (size_t)width * (deep_grey ? 2 : 3)) {
    error_set(reader->error, ERROR_UNSUPPORTED,
              "The PNG image has %d channels of %d bits, which cannot be decoded: convert it.",
              png_get_channels(reader->png, reader->info), png_get_bit_depth(reader->png, reader->info));
    leave(reader);
  }
  if (!image_init(image, (int)width, (int)height, reader->error)) leave(reader);
  rows_read(reader, passes);
  if (deep_grey) greys_widen(image);
}

static int info_orientation(struct png_reader *reader) {
  png_uint_32 size = 0;
  png_bytep exif = NULL;
  if (!png_get_eXIf_1(reader->png, reader->info, &size, &exif)) return 1;
  return exif_orientation(slice_make(exif, size));
}

/* What follows the pixels may have the orientation; that it may be cut off or malformed is no matter, as for PIL. */
static int tail_orientation(struct png_reader *reader) {
  reader->error = NULL;
  if (setjmp(png_jmpbuf(reader->png)) == 0) png_read_end(reader->png, reader->info);
  return info_orientation(reader);
}

static bool reader_run(struct png_reader *reader) {
  if (setjmp(png_jmpbuf(reader->png)) != 0) return false;
  reader_begin(reader);
  png_read_info(reader->png, reader->info);
  pixels_read(reader);
  return true;
}

bool png_decode(struct slice file, struct image *image, int *orientation, struct error *error) {
  struct png_reader reader = {.rest = file, .image = image, .error = error, .row_room = SIZE_MAX};
  *image = (struct image){0};
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  reader.info = reader.png ? png_create_info_struct(reader.png) : NULL;
  bool done =
      reader.info ? reader_run(&reader) : error_set(error, ERROR_MEMORY, "There is no memory to decode a PNG image.");
  if (done) *orientation = tail_orientation(&reader);
  png_destroy_read_struct(&reader.png, &reader.info, NULL);
  if (!done) image_release(image);
  return done;
}
