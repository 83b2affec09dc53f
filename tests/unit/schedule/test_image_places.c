/* Where tokens of images are and what they see, against what transformers makes of prompts
 * (tools/make_vision_family_fixtures.py). */
#include "schedule/image_places.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST = 4096, IMAGES = 8 };

static json_t *fixture_load(const char *path) {
  json_t *cases = json_load_file(path, 0, NULL);
  if (!json_is_array(cases)) fail_msg("%s cannot be read", path);
  return cases;
}

static int32_t number_at(const json_t *array, size_t i) {
  return (int32_t)json_integer_value(json_array_get(array, i));
}

static int32_t spans_read(const json_t *images, struct image_span *spans) {
  for (size_t i = 0; i < json_array_size(images); i++) {
    const json_t *image = json_array_get(images, i);
    spans[i] = (struct image_span){number_at(image, 0), number_at(image, 1), number_at(image, 2)};
  }
  return (int32_t)json_array_size(images);
}

/* All at once, and in steps of each size. */
static void test_places(void **state) {
  (void)state;
  json_t *cases = fixture_load(FIXTURES "/vision/qwen2_vl/places.json"), *one;
  size_t index;
  json_array_foreach(cases, index, one) {
    static int32_t position[MOST][3];
    struct image_span spans[IMAGES];
    const json_t *places = json_object_get(one, "places");
    int32_t n = spans_read(json_object_get(one, "images"), spans);
    int32_t count = (int32_t)json_array_size(json_array_get(places, 0));
    for (int32_t step = 1; step <= count; step++)
      for (int32_t at = 0; at < count; at += step) {
        int32_t here = count - at < step ? count - at : step;
        image_positions(spans, n, at, here, position);
        for (int32_t i = 0; i < here; i++)
          for (size_t axis = 0; axis < 3; axis++)
            assert_int_equal(at + position[i][axis], number_at(json_array_get(places, axis), (size_t)(at + i)));
      }
    image_positions(spans, n, count, 2, position);
    for (int axis = 0; axis < 3; axis++) {
      assert_int_equal(count + position[0][axis], json_integer_value(json_object_get(one, "next")));
      assert_int_equal(position[1][axis], position[0][axis] + 1);
    }
  }
  json_decref(cases);
}

static void test_see(void **state) {
  (void)state;
  static const struct image_span spans[] = {{2, 2, 2}, {6, 1, 3}, {12, 1, 2}};
  static const int32_t expected[] = {0, 1, 5, 5, 5, 5, 8, 8, 8, 9, 10};
  int32_t see[11];
  image_see(spans, 3, 0, 11, see);
  for (int i = 0; i < 11; i++) assert_int_equal(see[i], expected[i]);
  image_see(spans, 3, 6, 5, see);
  for (int i = 0; i < 5; i++) assert_int_equal(see[i], expected[6 + i] - 6);
  image_see(spans, 3, 4, 7, see); /* the first two tokens of an image are in the cache */
  for (int i = 0; i < 7; i++) assert_int_equal(see[i], expected[4 + i] - 4);
}

/* Steps end before an image that they would cut, or behind one that they begin with. */
static void test_steps(void **state) {
  (void)state;
  static const struct image_span spans[] = {{2, 2, 2}, {6, 1, 3}};
  static const int32_t cases[][3] = {{0, 1, 1}, {0, 2, 2}, {0, 3, 2}, {2, 3, 6},   {0, 6, 6}, {0, 7, 6},
                                     {6, 8, 9}, {6, 9, 9}, {0, 9, 9}, {1, 12, 12}, {3, 5, 6}, {7, 8, 9}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(image_step_end(spans, 2, cases[i][0], cases[i][1]), cases[i][2]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_places), cmocka_unit_test(test_see),
                                     cmocka_unit_test(test_steps)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
