/* Resizing: 200 odd sizes by all filters are PIL's bytes (resize.tsv), on each set of passes. */
#include "image_support.h"

#include "image/resize.h"
#include "image/resize_passes.h"

static void test_bytes_of_pil(void **state) {
  (void)state;
  struct slice table = fixture_read("", "resize.tsv");
  char *rest = NULL;
  int count = 0, wrong = 0;
  for (char *line = strtok_r((char *)(uintptr_t)table.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    unsigned seed, crc;
    int filter, width, height, to_width, to_height;
    assert_int_equal(sscanf(line, "%u %d %d %d %d %d %x", &seed, &filter, &width, &height, &to_width, &to_height, &crc),
                     7);
    struct image image, resized;
    assert_true(image_init(&image, width, height, NULL));
    random_fill(image.pixels, image_bytes(width, height), seed);
    assert_true(image_resize(image_view(&image), (enum resample)filter, to_width, to_height, &resized, NULL));
    if (crc_of(resized.pixels, image_bytes(to_width, to_height)) != crc) {
      print_error("case %u: filter %d, %d x %d to %d x %d\n", seed, filter, width, height, to_width, to_height);
      wrong++;
    }
    image_release(&image);
    image_release(&resized);
    count++;
  }
  fixture_free(table);
  assert_int_equal(wrong, 0);
  assert_int_equal(count, 200);
}

/* A part of a picture is resized as if it were alone. */
static void test_part(void **state) {
  (void)state;
  struct image image, alone, first, second;
  assert_true(image_init(&image, 50, 40, NULL) && image_init(&alone, 21, 17, NULL));
  random_fill(image.pixels, image_bytes(50, 40), 3);
  struct image_view part = image_part(image_view(&image), 9, 5, 21, 17);
  for (int y = 0; y < 17; y++)
    memcpy(alone.pixels + image_bytes(21, y), part.pixels + (size_t)y * part.stride, image_bytes(21, 1));
  static const int sizes[][2] = {{10, 9}, {21, 9}, {10, 17}, {21, 17}, {64, 70}};
  for (int filter = 0; filter < RESAMPLE_COUNT; filter++)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      int w = sizes[i][0], h = sizes[i][1];
      assert_true(image_resize(part, (enum resample)filter, w, h, &first, NULL));
      assert_true(image_resize(image_view(&alone), (enum resample)filter, w, h, &second, NULL));
      assert_memory_equal(first.pixels, second.pixels, image_bytes(w, h));
      image_release(&first);
      image_release(&second);
    }
  image_release(&image);
  image_release(&alone);
}

/* What no machine of the tests may choose gives the same bytes. */
extern const struct resize_passes resize_passes_baseline;

static void test_all_passes(void **state) {
  (void)state;
  const struct resize_passes *passes[] = {resize_passes_choose(), &resize_passes_baseline};
  enum { FROM = 67, ROWS = 41, WIDE = FROM + PASS_SLACK };
  uint8_t pixels[FROM * 3], wide[PASS_ROWS][WIDE * 4], out[2][PASS_ROWS][100 * 3], columns[2][333], matrix[ROWS * 333];
  random_fill(matrix, sizeof matrix, 5);
  for (int filter = RESAMPLE_LANCZOS; filter < RESAMPLE_COUNT; filter++)
    for (int to = 1; to <= 100; to += 11) {
      struct resize_axis axis, down;
      assert_true(resize_axis_init(&axis, (enum resample)filter, FROM, to, NULL));
      assert_true(resize_axis_init(&down, (enum resample)filter, ROWS, to, NULL));
      for (int p = 0; p < 2; p++) {
        uint8_t *from[PASS_ROWS], *results[PASS_ROWS];
        for (int r = 0; r < PASS_ROWS; r++) {
          random_fill(pixels, sizeof pixels, (uint32_t)r);
          passes[p]->widen(pixels, FROM, wide[r]);
          from[r] = wide[r];
          results[r] = out[p][r];
        }
        passes[p]->along_rows(&axis, from, results);
        passes[p]->along_columns(&down, to / 2, matrix + 333 * down.first[to / 2], 333, 333, columns[p]);
      }
      for (int r = 0; r < PASS_ROWS; r++) assert_memory_equal(out[0][r], out[1][r], (size_t)to * 3);
      assert_memory_equal(columns[0], columns[1], sizeof columns[0]);
      resize_axis_release(&axis);
      resize_axis_release(&down);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bytes_of_pil),
      cmocka_unit_test(test_part),
      cmocka_unit_test(test_all_passes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
