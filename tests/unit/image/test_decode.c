/* Decoding in this process: the pixels of each fixture are PIL's (decode.tsv), what is malformed has its sentence. */
#include "image_support.h"

#include "base/limits.h"
#include "image/data_url.h"
#include "image/decode.h"
#include "image/decode_formats.h"

static void test_pixels(void **state) {
  (void)state;
  struct slice table = fixture_read("", "decode.tsv");
  char *rest = NULL, *line = strtok_r((char *)(uintptr_t)table.data, "\n", &rest);
  int wrong = 0, count = 0;
  for (; line; line = strtok_r(NULL, "\n", &rest), count++) {
    char name[64];
    int width, height;
    unsigned crc;
    assert_int_equal(sscanf(line, "%63s %d %d %x", name, &width, &height, &crc), 4);
    struct slice file = fixture_read("decode", name);
    struct image image;
    struct error error = {0};
    if (!image_decode(file, &image, &error)) {
      print_error("%s: %s\n", name, error.text);
      wrong++;
    } else if (image.width != width || image.height != height ||
               crc_of(image.pixels, image_bytes(width, height)) != crc) {
      print_error("%s: %d x %d are not PIL's pixels, which are %d x %d\n", name, image.width, image.height, width,
                  height);
      wrong++;
    }
    image_release(&image);
    fixture_free(file);
  }
  fixture_free(table);
  assert_int_equal(wrong, 0);
  assert_true(count >= 59);
}

static const struct {
  const char *file;
  enum error_code code;
  const char *sentence;
} refusals[] = {
    {"animation.webp", ERROR_UNSUPPORTED,
     "The WebP image is an animation, expected a single picture: send one of its frames."},
    {"bomb_60000.png", ERROR_LIMIT, "The image is 60000 × 60000 pixels, but a side may have 16384: scale it down."},
    {"bomb_chunk.png", ERROR_INVALID, "The PNG image ends before its last row: it was cut off, send it whole."},
    {"bomb_pixels.png", ERROR_LIMIT,
     "The image is 16000 × 16000, 256000000 pixels, but it may have 50331648: scale it down."},
    {"cut.jpg", ERROR_INVALID, "The JPEG image ends before its end marker: it was cut off, send it whole."},
    {"cut.png", ERROR_INVALID, "The PNG image ends before its last row: it was cut off, send it whole."},
    {"cut.webp", ERROR_INVALID, "The WebP image ends before its last row: it was cut off, send it whole."},
    {"empty.png", ERROR_INVALID, "The image has no bytes: send a JPEG, PNG or WebP file."},
    {"head.webp", ERROR_INVALID, "The WebP image is malformed: send another."},
    {"malformed.webp", ERROR_INVALID, "The WebP image is malformed: send another."},
    {"many_scans.jpg", ERROR_LIMIT, "The JPEG image has more than 100 scans: save it anew."},
    {"no_end.jpg", ERROR_INVALID, "The JPEG image ends before its end marker: it was cut off, send it whole."},
    {"no_palette.png", ERROR_INVALID, "The PNG image is malformed (IDAT: Missing PLTE before IDAT): send another."},
    {"no_pixels.png", ERROR_INVALID, "The PNG image is malformed (IEND: out of place): send another."},
    {"no_tables.jpg", ERROR_INVALID,
     "The JPEG image is malformed (Quantization table 0x00 was not defined): send another."},
    {"no_width.png", ERROR_INVALID, "The PNG image is malformed (Invalid IHDR data): send another."},
    {"page.svg", ERROR_UNSUPPORTED, "The image is a SVG file, expected JPEG, PNG or WebP: convert it."},
    {"picture.gif", ERROR_UNSUPPORTED, "The image is a GIF file, expected JPEG, PNG or WebP: convert it."},
    {"strange_depth.png", ERROR_INVALID, "The PNG image is malformed (Invalid IHDR data): send another."},
    {"tall.jpg", ERROR_LIMIT, "The image is 29 × 65500 pixels, but a side may have 16384: scale it down."},
    {"text.png", ERROR_INVALID, "The image is neither JPEG, PNG nor WebP by its first bytes: send one of these."},
    {"twelve_bits.jpg", ERROR_INVALID,
     "The JPEG image is malformed (Unsupported JPEG data precision 12): send another."},
    {"two_components.jpg", ERROR_UNSUPPORTED, "The JPEG image has 2 components, expected 1, 3 or 4: convert it."},
    {"wrong_sum.png", ERROR_INVALID, "The PNG image is malformed (IDAT: invalid code lengths set): send another."},
};

static void test_refused(void **state) {
  (void)state;
  int wrong = 0;
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    struct slice file = fixture_read("bad", refusals[i].file);
    struct image image = {0};
    struct error error = {0};
    bool decoded = image_decode(file, &image, &error);
    if (decoded || error.code != refusals[i].code || strcmp(error.text, refusals[i].sentence) != 0) {
      print_error("    {\"%s\", %d, \"%s\"},\n", refusals[i].file, error.code, decoded ? "(decoded)" : error.text);
      wrong++;
    }
    if (decoded) image_release(&image);
    fixture_free(file);
  }
  assert_int_equal(wrong, 0);
}

/* Each beginning of a file is refused or, where all pixels are there, decoded: never more than that. */
static void test_every_cut(void **state) {
  (void)state;
  static const char *const names[] = {"progressive.jpg",  "held_6.jpg",    "interlaced.png", "held_before.png",
                                      "lossy_alpha.webp", "lossless.webp", "held_bare.webp"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct slice file = fixture_read("decode", names[i]);
    int decoded = 0;
    for (size_t size = 0; size < file.size; size += size < 64 ? 1 : 7) {
      uint8_t *cut = malloc(size ? size : 1);
      memcpy(cut, file.data, size);
      struct image image = {0};
      struct error error = {0};
      if (image_decode(slice_make(cut, size), &image, &error)) {
        decoded++;
        image_release(&image);
      } else {
        assert_true(error.text[0] && !image.pixels);
      }
      free(cut);
    }
    assert_true(decoded <= 12); /* a PNG's end and a WebP's EXIF are not waited for */
    fixture_free(file);
  }
}

static void test_said_to_be(void **state) {
  (void)state;
  static const struct {
    const char *file, *mime, *sentence; /* NULL: taken */
  } rows[] = {
      {"grey.jpg", "image/jpeg", NULL},
      {"grey.jpg", "IMAGE/JPG", NULL},
      {"grey.png", "image/png", NULL},
      {"lossy.webp", "image/webp", NULL},
      {"lossy.webp", "", NULL},
      {"grey.jpg", "image/png",
       "The image is said to be image/png, but by its first bytes it is JPEG: call it image/jpeg."},
      {"grey.png", "image/webp",
       "The image is said to be image/webp, but by its first bytes it is PNG: call it image/png."},
      {"lossy.webp", "text/html",
       "The image is said to be text/html, but by its first bytes it is WebP: call it image/webp."},
      {"../bad/picture.gif", "image/png", "The image is a GIF file, expected JPEG, PNG or WebP: convert it."},
      {"../bad/page.svg", "image/svg+xml", "The image is a SVG file, expected JPEG, PNG or WebP: convert it."},
      {"../bad/text.png", "image/png",
       "The image is neither JPEG, PNG nor WebP by its first bytes: send one of these."},
      {"../bad/empty.png", "image/png", "The image has no bytes: send a JPEG, PNG or WebP file."},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct slice file = fixture_read("decode", rows[i].file);
    struct error error = {0};
    bool taken = image_file_check(file, slice_text(rows[i].mime), &error);
    assert_int_equal(taken, rows[i].sentence == NULL);
    if (!taken) assert_string_equal(error.text, rows[i].sentence);
    fixture_free(file);
  }
  struct error error = {0};
  uint8_t *large = calloc(1, LIMIT_IMAGE_BYTES + 1);
  memcpy(large, "\xff\xd8\xff", 3);
  assert_false(image_file_check(slice_make(large, LIMIT_IMAGE_BYTES + 1), slice_text(""), &error));
  assert_string_equal(error.text,
                      "The image is 20971521 bytes, but it may have 20971520: compress it or scale it down.");
  assert_int_equal(error.code, ERROR_LIMIT);
  assert_true(image_file_check(slice_make(large, LIMIT_IMAGE_BYTES), slice_text(""), &error));
  free(large);
}

static void test_sizes(void **state) {
  (void)state;
  struct error error = {0};
  assert_true(image_size_check(16384, 3072, &error));
  assert_false(image_size_check(16385, 1, &error));
  assert_string_equal(error.text, "The image is 16385 × 1 pixels, but a side may have 16384: scale it down.");
  assert_false(image_size_check(16384, 3073, &error));
  assert_string_equal(error.text,
                      "The image is 16384 × 3073, 50348032 pixels, but it may have 50331648: scale it down.");
  assert_false(image_size_check(5, 0, &error));
  assert_string_equal(error.text, "The image is 5 × 0 pixels: it is empty, send another.");
  assert_false(image_size_check(UINT64_MAX, UINT64_MAX, &error));
}

static void test_orientation_bytes(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t size;
    int orientation;
  } rows[] = {
      {"", 0, 1},
      {"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 6},
      {"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\3\0\0", 28, 3},
      {"MM\0*\0\0\0\x08\0\1\1\x12\0\4\0\0\0\1\0\0\0\5", 22, 5},
      {"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0", 21, 1},         /* cut */
      {"II*\0\x08\0\0\0\1\0\x12\1\3\0\2\0\0\0\6\0\0\0", 22, 1},       /* two values */
      {"II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\6\0\0\0", 22, 1},       /* a text */
      {"II*\0\xff\xff\xff\xff\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 1}, /* elsewhere */
      {"II*\0\x15\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 1},
      {"II+\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 1},
      {"IM*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 1},
      {"II*\0\x08\0\0\0\xff\xff\x12\1\3\0\1\0\0\0\x09\0\0\0", 22, 1},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    uint8_t *exact = malloc(rows[i].size ? rows[i].size : 1);
    memcpy(exact, rows[i].bytes, rows[i].size);
    assert_int_equal(exif_orientation(slice_make(exact, rows[i].size)), rows[i].orientation);
    free(exact);
  }
}

static void test_base64(void **state) {
  (void)state;
  static const struct {
    const char *text, *bytes, *mime, *sentence;
  } rows[] = {
      {"", "", "", NULL},
      {"SGFsbG8=", "Hallo", "", NULL},
      {"SGFsbG8", "Hallo", "", NULL},
      {"SGFs\r\nbG8=\n", "Hallo", "", NULL},
      {"SGFsbG8h", "Hallo!", "", NULL},
      {"Pj8-Pz4_Pj8+Pw", ">?>?>?>?>?", "", NULL},
      {"SA==", "H", "", NULL},
      {"data:image/png;base64,SGFsbG8=", "Hallo", "image/png", NULL},
      {"DATA:image/jpeg;charset=x;BASE64,SGFsbG8", "Hallo", "image/jpeg", NULL},
      {"data:;base64,SA", "H", "", NULL},
      {"data:image/png;base64", "", "", "The image's data: URL has no comma: write data:image/png;base64,..."},
      {"data:image/png,SGFs", "", "", "The image's data: URL is not in base64: write data:image/png;base64,..."},
      {"data:,SGFs", "", "", "The image's data: URL is not in base64: write data:image/png;base64,..."},
      {"SGF*bG8=", "", "", "The image's base64 has the byte 0x2A at position 3: encode the file anew."},
      {"SGFs bG8=", "", "", "The image's base64 has the byte 0x20 at position 4: encode the file anew."},
      {"SGFsbG8=A", "", "", "The image's base64 has the byte 0x41 at position 8: encode the file anew."},
      {"SA===", "", "", "The image's base64 has the byte 0x3D at position 4: encode the file anew."},
      {"SGFsbG9=", "", "", "The image's base64 does not end with a whole byte: it was cut off, encode the file anew."},
      {"SGFsb", "", "", "The image's base64 does not end with a whole byte: it was cut off, encode the file anew."},
      {"SGFsbG8==", "", "", "The image's base64 does not end with a whole byte: it was cut off, encode the file anew."},
      {"=", "", "", "The image's base64 does not end with a whole byte: it was cut off, encode the file anew."},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct buffer out;
    struct slice mime;
    struct error error = {0};
    buffer_init(&out, LIMIT_IMAGE_BYTES);
    bool decoded = data_url_decode(slice_text(rows[i].text), &mime, &out, &error);
    if (decoded != !rows[i].sentence) fail_msg("%s: %s", rows[i].text, error.text);
    if (decoded) {
      if (!slice_is(buffer_slice(&out), rows[i].bytes)) fail_msg("%s: %.*s", rows[i].text, (int)out.size, out.data);
      assert_true(slice_equal(mime, slice_text(rows[i].mime)));
    } else {
      assert_string_equal(error.text, rows[i].sentence);
    }
    buffer_release(&out);
  }
}

static void test_base64_too_long(void **state) {
  (void)state;
  struct buffer out;
  struct slice mime;
  struct error error = {0};
  buffer_init(&out, 100);
  char text[200];
  memset(text, 'A', sizeof text);
  assert_false(data_url_decode(slice_make(text, sizeof text), &mime, &out, &error));
  assert_string_equal(error.text, "The image's base64 has 200 characters, more than 100 bytes: send less.");
  buffer_release(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_pixels),    cmocka_unit_test(test_refused),
      cmocka_unit_test(test_every_cut), cmocka_unit_test(test_said_to_be),
      cmocka_unit_test(test_sizes),     cmocka_unit_test(test_orientation_bytes),
      cmocka_unit_test(test_base64),    cmocka_unit_test(test_base64_too_long),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
