/* Files that are small and want much: what becomes of each, its sentence, and what memory it takes. Each is decoded by
 * a child of its own, whose largest size is looked at where no sanitizer adds to it. What no pixel depends on is not
 * unpacked, so that most of them are pictures.
 */
#include "image_support.h"

#include "base/buffer.h"
#include "base/limits.h"
#include "image/decode.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { WIDTH = 29, HEIGHT = 19, MANY = 100000, BLOCK = 16 << 20, BLOCKS = 64 };

/* --- making files ------------------------------------------------------------------------------------------------- */

static void add(struct buffer *file, const void *bytes, size_t size) {
  if (!buffer_append(file, bytes, size)) abort();
}

static void add_big(struct buffer *file, uint32_t number, int bytes) {
  uint8_t to[4];
  for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
  add(file, to, (size_t)bytes);
}

static void add_little(struct buffer *file, uint32_t number, int bytes) {
  uint8_t to[4];
  for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(number >> 8 * i);
  add(file, to, (size_t)bytes);
}

static void chunk(struct buffer *file, const char *name, const void *data, size_t size) {
  uint32_t sum = (uint32_t)crc32(0, (const uint8_t *)name, 4);
  add_big(file, (uint32_t)size, 4);
  add(file, name, 4);
  add(file, data, size);
  add_big(file, size ? (uint32_t)crc32(sum, data, (uInt)size) : sum, 4);
}

static void png_begin(struct buffer *file, uint32_t width, uint32_t height, int depth, int colour, int interlaced) {
  uint8_t head[13] = {(uint8_t)(width >> 24),
                      (uint8_t)(width >> 16),
                      (uint8_t)(width >> 8),
                      (uint8_t)width,
                      (uint8_t)(height >> 24),
                      (uint8_t)(height >> 16),
                      (uint8_t)(height >> 8),
                      (uint8_t)height,
                      (uint8_t)depth,
                      (uint8_t)colour,
                      0,
                      0,
                      (uint8_t)interlaced};
  add(file, "\x89PNG\r\n\x1a\n", 8);
  chunk(file, "IHDR", head, sizeof head);
}

static void png_pixels(struct buffer *file) {
  static uint8_t plain[HEIGHT * (1 + 3 * WIDTH)], packed[4096];
  uLong size = sizeof packed;
  if (compress(packed, &size, plain, sizeof plain) != Z_OK) abort();
  chunk(file, "IDAT", packed, size);
}

static void png_small(struct buffer *file) { png_begin(file, WIDTH, HEIGHT, 8, 2, 0); }

static void png_end(struct buffer *file) {
  png_pixels(file);
  chunk(file, "IEND", NULL, 0);
}

/* A zlib stream of a gibibyte of zeros in a mebibyte: a block that stands for itself, again and again. */
static struct buffer gibibyte(const char *before, size_t size) {
  struct buffer out;
  uint8_t *zeros = calloc(1, BLOCK), *packed = malloc(BLOCK);
  z_stream z = {.next_in = zeros, .avail_in = BLOCK, .next_out = packed, .avail_out = BLOCK};
  buffer_init(&out, LIMIT_IMAGE_BYTES);
  add(&out, before, size);
  if (deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) != Z_OK || deflate(&z, Z_FULL_FLUSH) != Z_OK) abort();
  add(&out, "\x78\xda", 2);
  for (int i = 0; i < BLOCKS; i++) add(&out, packed, z.total_out);
  deflateEnd(&z);
  free(zeros), free(packed);
  return out;
}

static void png_packed(struct buffer *file, const char *name, const char *before, size_t size) {
  struct buffer bomb = gibibyte(before, size);
  struct slice bytes = buffer_slice(&bomb);
  chunk(file, name, bytes.data, bytes.size);
  buffer_release(&bomb);
}

static void png_profile(struct buffer *file) {
  png_small(file), png_packed(file, "iCCP", "profile\0\0", 9), png_end(file);
}

static void png_packed_text(struct buffer *file) {
  png_small(file), png_packed(file, "zTXt", "key\0\0", 5), png_end(file);
}

static void png_language_text(struct buffer *file) {
  png_small(file), png_packed(file, "iTXt", "key\0\1\0\0\0", 8), png_end(file);
}

/* The pixels' own stream goes on behind the last one. */
static void png_pixel_stream(struct buffer *file) {
  png_small(file), png_packed(file, "IDAT", "", 0), chunk(file, "IEND", NULL, 0);
}

/* Of an odd height, so that the last pass does not end with the last row. */
static void png_pixel_passes(struct buffer *file) {
  png_begin(file, WIDTH, HEIGHT, 8, 2, 1), png_packed(file, "IDAT", "", 0), chunk(file, "IEND", NULL, 0);
}

static void png_chunks(struct buffer *file, const char *name, const void *data, size_t size) {
  png_small(file);
  for (int i = 0; i < MANY; i++) chunk(file, name, data, size);
  png_end(file);
}

static void png_texts(struct buffer *file) { png_chunks(file, "tEXt", "key\0value", 9); }
static void png_unknown(struct buffer *file) { png_chunks(file, "spAt", "?", 1); }
static void png_suggestions(struct buffer *file) { png_chunks(file, "sPLT", "key\0\10\1\2\3\4\0\1", 11); }
static void png_orientations(struct buffer *file) {
  png_chunks(file, "eXIf", "II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22);
}

static void png_frames(struct buffer *file) {
  uint8_t control[26] = {[7] = WIDTH, [11] = HEIGHT}, data[20] = {0};
  png_small(file);
  chunk(file, "acTL", "\0\1\x86\xa0\0\0\0\0", 8);
  png_pixels(file);
  for (int i = 0; i < MANY; i++) chunk(file, "fcTL", control, sizeof control), chunk(file, "fdAT", data, sizeof data);
  chunk(file, "IEND", NULL, 0);
}

static void png_large_exif(struct buffer *file) {
  uint8_t *data = calloc(1, 18 << 20);
  memcpy(data, "II*", 4);
  png_small(file), chunk(file, "eXIf", data, 18 << 20), png_end(file);
  free(data);
}

/* The largest picture, all of it in a few bytes that are not there. */
static void png_large(struct buffer *file) {
  png_begin(file, 16384, 3072, 16, 6, 1), png_pixels(file), chunk(file, "IEND", NULL, 0);
}

static void png_many_colours(struct buffer *file) {
  static uint8_t palette[3 * 257];
  png_begin(file, WIDTH, HEIGHT, 8, 3, 0), chunk(file, "PLTE", palette, sizeof palette), png_end(file);
}

static void png_long_chunk(struct buffer *file) {
  png_small(file), add_big(file, 0x7fffffff, 4), add(file, "tEXt", 4), png_end(file);
}

/* --- */

static void jpeg_begin(struct buffer *file, int frame, uint32_t width, uint32_t height, int components) {
  static const uint8_t ones[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  add(file, "\xff\xd8\xff\xdb\0\x43\0", 7), add(file, ones, sizeof ones);
  for (int kind = 0; kind < 2; kind++) { /* a code of one bit for 0, of DC and of AC */
    add(file, "\xff\xc4\0\x14", 4), add_big(file, (uint32_t)kind << 4, 1);
    add(file, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 17);
  }
  add_big(file, 0xff00u | (uint32_t)frame, 2), add_big(file, 8 + 3 * (uint32_t)components, 2), add_big(file, 8, 1);
  add_big(file, height, 2), add_big(file, width, 2), add_big(file, (uint32_t)components, 1);
  for (int i = 0; i < components; i++) add_big(file, (uint32_t)(i + 1) << 16 | 0x1100u, 3);
}

static void jpeg_scan(struct buffer *file, int components, int last) {
  add(file, "\xff\xda", 2), add_big(file, 6 + 2 * (uint32_t)components, 2), add_big(file, (uint32_t)components, 1);
  for (int i = 0; i < components; i++) add_big(file, (uint32_t)(i + 1) << 8, 2);
  add_big(file, 0, 1), add_big(file, (uint32_t)last, 1), add_big(file, 0, 1), add_big(file, 0, 4);
}

/* All its coefficients are kept; none is in the file. */
static void jpeg_progressive(struct buffer *file) {
  jpeg_begin(file, 0xc2, 16384, 3072, 4), jpeg_scan(file, 4, 0), add(file, "\xff\xd9", 2);
}

/* Each scan of the largest picture goes over all of it. */
static void jpeg_scans(struct buffer *file) {
  jpeg_begin(file, 0xc2, 16384, 3072, 1);
  for (int i = 0; i < LIMIT_IMAGE_SCANS; i++) jpeg_scan(file, 1, 0);
  add(file, "\xff\xd9", 2);
}

static void jpeg_large(struct buffer *file) {
  jpeg_begin(file, 0xc0, 65535, 65535, 3), jpeg_scan(file, 3, 63), add(file, "\xff\xd9", 2);
}

static void jpeg_segments(struct buffer *file, int marker, const char *text, size_t size, int count) {
  uint8_t *data = calloc(1, size);
  if (text) memcpy(data, text, strlen(text));
  add(file, "\xff\xd8", 2);
  for (int i = 0; i < count; i++)
    add_big(file, 0xff00u | (uint32_t)marker, 2), add_big(file, (uint32_t)size + 2, 2), add(file, data, size);
  struct buffer rest;
  buffer_init(&rest, 1 << 16);
  jpeg_begin(&rest, 0xc0, WIDTH, HEIGHT, 1), jpeg_scan(&rest, 1, 63), add(&rest, "\xff\xd9", 2);
  struct slice bytes = buffer_slice(&rest);
  add(file, bytes.data + 2, bytes.size - 2);
  buffer_release(&rest), free(data);
}

static void jpeg_exif(struct buffer *file) { jpeg_segments(file, 0xe1, "Exif", 65000, 300); }
static void jpeg_comments(struct buffer *file) { jpeg_segments(file, 0xfe, NULL, 4, MANY); }
static void jpeg_profiles(struct buffer *file) { jpeg_segments(file, 0xe2, "ICC_PROFILE", 65000, 300); }
static void jpeg_tables(struct buffer *file) { jpeg_segments(file, 0xdb, "\1\1", 65, MANY); }

/* --- */

static void webp_chunk(struct buffer *file, const char *name, const void *data, size_t size) {
  add(file, name, 4), add_little(file, (uint32_t)size, 4), add(file, data, size), add(file, "", size & 1);
}

static void webp_begin(struct buffer *file, int flags) {
  uint8_t head[10] = {(uint8_t)flags, [4] = WIDTH - 1, [7] = HEIGHT - 1};
  add(file, "RIFF", 4), add_little(file, 0x00fffff0, 4), add(file, "WEBP", 4);
  webp_chunk(file, "VP8X", head, sizeof head);
}

static void webp_frames(struct buffer *file) {
  static const uint8_t frame[16 + 8 + 5] = {[16] = 'V', 'P', '8', 'L', 5, 0, 0, 0, 0x2f};
  webp_begin(file, 2), webp_chunk(file, "ANIM", "\0\0\0\0\0\0", 6);
  for (int i = 0; i < MANY; i++) webp_chunk(file, "ANMF", frame, sizeof frame);
}

static void webp_chunks(struct buffer *file) {
  webp_begin(file, 0);
  for (int i = 0; i < MANY; i++) webp_chunk(file, "spAt", "??", 2);
}

/* Lossless: 14 bits a side and no more. */
static void webp_large(struct buffer *file) {
  add(file, "RIFF", 4), add_little(file, 4 + 8 + 6, 4), add(file, "WEBP", 4);
  webp_chunk(file, "VP8L", "\x2f\xff\xff\xff\x0f\0", 6);
}

/* --- what becomes of them ----------------------------------------------------------------------------------------- */

static const struct {
  const char *name;
  void (*make)(struct buffer *file);
  int mebibytes;        /* that decoding may take */
  const char *sentence; /* NULL: a picture */
} bombs[] = {
    {"PNG, iCCP of a gibibyte", png_profile, 4, NULL},
    {"PNG, zTXt of a gibibyte", png_packed_text, 4, NULL},
    {"PNG, iTXt of a gibibyte", png_language_text, 4, NULL},
    {"PNG, pixels of a gibibyte", png_pixel_stream, 4, "The PNG image has more data than its rows take: save it anew."},
    {"PNG, interlaced, the same", png_pixel_passes, 4, "The PNG image has more data than its rows take: save it anew."},
    {"PNG, 10^5 texts", png_texts, 4, NULL},
    {"PNG, 10^5 chunks nobody knows", png_unknown, 4, NULL},
    {"PNG, 10^5 palettes", png_suggestions, 4, NULL},
    {"PNG, 10^5 orientations", png_orientations, 4, NULL},
    {"PNG, 10^5 frames", png_frames, 4, NULL},
    {"PNG, EXIF of 18 MiB", png_large_exif, 40, NULL},
    {"PNG, the largest", png_large, 160, "The PNG image is malformed (Not enough image data): send another."},
    {"PNG, 257 colours", png_many_colours, 4, "The PNG image is malformed (PLTE: invalid): send another."},
    {"PNG, a chunk of 2 GiB", png_long_chunk, 4,
     "The PNG image ends before its last row: it was cut off, send it whole."},
    {"JPEG, the largest, progressive", jpeg_progressive, 600, NULL},
    {"JPEG, the largest, 100 times", jpeg_scans, 300, NULL},
    {"JPEG, 65535 a side", jpeg_large, 4,
     "The JPEG image is malformed (Maximum supported image dimension is 65500 pixels): send another."},
    {"JPEG, 300 EXIF segments", jpeg_exif, 24, NULL},
    {"JPEG, 10^5 comments", jpeg_comments, 4, NULL},
    {"JPEG, 300 parts of a profile", jpeg_profiles, 4, NULL},
    {"JPEG, 10^5 tables", jpeg_tables, 4, NULL},
    {"WebP, 10^5 frames", webp_frames, 4,
     "The WebP image is an animation, expected a single picture: send one of its frames."},
    {"WebP, 10^5 chunks nobody knows", webp_chunks, 4,
     "The WebP image ends before its last row: it was cut off, send it whole."},
    {"WebP, the largest", webp_large, 4,
     "The image is 16384 × 16384, 268435456 pixels, but it may have 50331648: scale it down."},
};

struct outcome {
  bool decoded;
  int mebibytes, milliseconds;
  struct error error;
};

static int largest_kib(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (int)usage.ru_maxrss;
}

/* In the child: what decoding came to, to the pipe. */
static void outcome_send(struct slice file, int to) {
  struct outcome outcome = {0};
  struct image image = {0};
  int before = largest_kib();
  outcome.decoded = image_decode(file, &image, &outcome.error);
  image_release(&image);
  outcome.milliseconds = (int)(clock() * 1000 / CLOCKS_PER_SEC);
  outcome.mebibytes = (largest_kib() - before) / 1024;
  _exit(write(to, &outcome, sizeof outcome) == sizeof outcome ? 0 : 1);
}

static struct outcome outcome_of(struct slice file) {
  struct outcome outcome = {0};
  int ends[2], status;
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) outcome_send(file, ends[1]);
  close(ends[1]);
  ssize_t got = read(ends[0], &outcome, sizeof outcome);
  close(ends[0]);
  assert_int_equal(waitpid(child, &status, 0), child);
  if (got != sizeof outcome) fail_msg("The child ended with status %d", status);
  return outcome;
}

static void test_bombs(void **state) {
  (void)state;
  int wrong = 0;
  for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
    struct buffer file;
    buffer_init(&file, LIMIT_IMAGE_BYTES);
    bombs[i].make(&file);
    struct outcome outcome = outcome_of(buffer_slice(&file));
    const char *expected = bombs[i].sentence ? bombs[i].sentence : "",
               *text = outcome.decoded ? "" : outcome.error.text;
    bool bad = strcmp(expected, text) != 0 || (!SANITIZED && outcome.mebibytes > bombs[i].mebibytes);
    printf("%s%s (%zu bytes): %d MiB, %d ms, %s\n", bad ? "NOT " : "", bombs[i].name, buffer_slice(&file).size,
           outcome.mebibytes, outcome.milliseconds, outcome.decoded ? "a picture" : text);
    wrong += bad;
    buffer_release(&file);
  }
  assert_int_equal(wrong, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bombs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
