/* What stands for a picture in a prompt, and which rows it has, against what transformers makes of pictures
 * (tools/make_vision_family_fixtures.py). */
#include "engine/image_text.h"
#include "engine/image_tiles.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST = 4096 };

static json_t *fixture_load(const char *path) {
  json_t *cases = json_load_file(path, 0, NULL);
  if (!json_is_array(cases)) fail_msg("%s cannot be read", path);
  return cases;
}

static int32_t number_at(const json_t *array, size_t i) {
  return (int32_t)json_integer_value(json_array_get(array, i));
}

static void test_tiles(void **state) {
  (void)state;
  json_t *cases = fixture_load(FIXTURES "/vision/llava_next/tiles.json"), *one;
  size_t index;
  json_array_foreach(cases, index, one) {
    static int32_t row[MOST];
    const json_t *t = json_object_get(one, "tiles"), *rows = json_object_get(one, "rows");
    struct image_tiles tiles = {number_at(t, 0), number_at(t, 1), number_at(t, 2), number_at(t, 3), number_at(t, 4)};
    assert_int_equal(image_tiles_count(&tiles), json_array_size(rows));
    image_tiles_rows(&tiles, row);
    for (size_t i = 0; i < json_array_size(rows); i++) assert_int_equal(row[i], number_at(rows, i));
  }
  json_decref(cases);
}

static void test_texts(void **state) {
  (void)state;
  json_t *cases = fixture_load(FIXTURES "/vision/texts.json"), *one;
  size_t index;
  json_array_foreach(cases, index, one) {
    const json_t *s = json_object_get(one, "shape");
    struct image_text_shape shape = {number_at(s, 0), number_at(s, 1), number_at(s, 2),
                                     number_at(s, 3), number_at(s, 4), number_at(s, 5)};
    struct plan plan = {.vision.text = (int32_t)json_integer_value(json_object_get(one, "text"))};
    struct buffer out;
    buffer_init(&out, 1 << 16);
    image_text_append(&plan, slice_text("~"), &shape, &out);
    buffer_append(&out, "", 1);
    assert_false(out.failed);
    assert_string_equal(out.data, json_string_value(json_object_get(one, "is")));
    buffer_release(&out);
  }
  json_decref(cases);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiles), cmocka_unit_test(test_texts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
