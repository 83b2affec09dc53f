/* Preprocessing: what transformers' processors make of pictures (processors.json), bit for bit; sizes and tiles of many
 * more; sentences of configurations and of pictures that cannot be. */
#include "image_support.h"

#include "image/preprocess.h"

#include <jansson.h>

static int integer_at(const json_t *list, size_t i) { return (int)json_integer_value(json_array_get(list, i)); }

static struct preprocess_config *config_of(const json_t *json) {
  struct preprocess_config *config = malloc(sizeof *config);
  struct error error = {0};
  char *text = json_dumps(json, 0);
  if (!preprocess_config_parse(slice_text(text), config, &error)) fail_msg("%s: %s", text, error.text);
  free(text);
  return config;
}

static json_t *fixture_json(void) {
  struct slice text = fixture_read("", "processors.json");
  json_error_t error;
  json_t *root = json_loadb((const char *)text.data, text.size, 0, &error);
  if (!root) fail_msg("processors.json: %s", error.text);
  fixture_free(text);
  return root;
}

/* Rows and columns as the processor tells them: of AREA's patches, of SPLIT's tiles, else not at all. */
static bool grid_is(const struct preprocess_config *config, const struct preprocess_plan *plan, int rows, int columns) {
  if (config->kind == PREPROCESS_AREA)
    return rows == plan->tile_height / config->patch_height && columns == plan->tile_width / config->patch_width;
  return config->kind != PREPROCESS_SPLIT || (rows == plan->rows && columns == plan->columns);
}

static bool exact_case(const struct preprocess_config *config, const json_t *row) {
  int width = integer_at(row, 0), height = integer_at(row, 1);
  struct image image;
  struct preprocess_plan plan;
  struct preprocess_layout layout = preprocess_layout_of(config);
  struct error error = {0};
  assert_true(image_init(&image, width, height, NULL));
  random_fill(image.pixels, image_bytes(width, height), (uint32_t)(width * 7 + height));
  if (!preprocess_measure(config, width, height, &plan, &error)) fail_msg("%d x %d: %s", width, height, error.text);
  size_t count = preprocess_count(&plan, &layout);
  float *numbers = malloc(count * sizeof *numbers);
  if (!preprocess_run(config, &plan, &layout, &image, numbers, &error))
    fail_msg("%d x %d: %s", width, height, error.text);
  bool right = plan.tiles == integer_at(row, 2) && grid_is(config, &plan, integer_at(row, 3), integer_at(row, 4)) &&
               count == (size_t)integer_at(row, 5) &&
               crc_of(numbers, count * sizeof *numbers) == (uint32_t)json_integer_value(json_array_get(row, 6));
  if (!right)
    print_error("%d x %d: %d tiles of %d x %d, %d x %d, %zu numbers\n", width, height, plan.tiles, plan.tile_width,
                plan.tile_height, plan.rows, plan.columns, count);
  free(numbers);
  image_release(&image);
  return right;
}

static bool plan_case(const struct preprocess_config *config, const json_t *row) {
  struct preprocess_plan plan;
  struct error error = {0};
  int width = integer_at(row, 0), height = integer_at(row, 1);
  if (!preprocess_measure(config, width, height, &plan, &error)) fail_msg("%d x %d: %s", width, height, error.text);
  bool right = plan.tiles == integer_at(row, 2) && grid_is(config, &plan, integer_at(row, 3), integer_at(row, 4)) &&
               (config->kind == PREPROCESS_AREA ||
                (plan.tile_height == integer_at(row, 5) && plan.tile_width == integer_at(row, 6)));
  if (!right)
    print_error("%d x %d: %d tiles of %d x %d, %d x %d\n", width, height, plan.tiles, plan.tile_width, plan.tile_height,
                plan.rows, plan.columns);
  return right;
}

static void run_all(const char *part, bool (*run)(const struct preprocess_config *, const json_t *), int least) {
  json_t *root = fixture_json();
  size_t i, c;
  json_t *entry, *row;
  int wrong = 0, count = 0;
  json_array_foreach(json_object_get(root, part), i, entry) {
    struct preprocess_config *config = config_of(json_object_get(entry, "config"));
    int before = wrong;
    json_array_foreach(json_object_get(entry, "cases"), c, row) {
      wrong += !run(config, row);
      count++;
    }
    if (wrong > before) {
      char *text = json_dumps(json_object_get(entry, "config"), 0);
      print_error("  by %s\n", text);
      free(text);
    }
    free(config);
  }
  json_decref(root);
  assert_int_equal(wrong, 0);
  assert_true(count >= least);
}

static void test_exact(void **state) {
  (void)state;
  run_all("exact", exact_case, 70);
}

static void test_plans(void **state) {
  (void)state;
  run_all("plans", plan_case, 700);
}

/* Patches of a tile are the tile's pixels in another order. */
static void test_patches(void **state) {
  (void)state;
  struct preprocess_config *config = malloc(sizeof *config);
  struct preprocess_plan plan;
  struct preprocess_layout whole = {0}, layouts[] = {{7, 1, 1}, {7, 2, 1}, {14, 4, 3}, {56, 1, 2}};
  struct image image;
  assert_true(preprocess_config_parse(
      slice_text("{\"image_processor_type\": \"SiglipImageProcessor\", \"size\": {\"height\": 56, \"width\": 112}}"),
      config, NULL));
  assert_true(image_init(&image, 100, 60, NULL));
  random_fill(image.pixels, image_bytes(100, 60), 1);
  assert_true(preprocess_measure(config, 100, 60, &plan, NULL));
  float *plain = malloc(sizeof(float) * preprocess_count(&plan, &whole));
  assert_true(preprocess_run(config, &plan, &whole, &image, plain, NULL));
  for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++) {
    int p = layouts[l].patch, m = layouts[l].merge, f = layouts[l].frames, across = 112 / p, n = 0;
    float *patches = malloc(sizeof(float) * preprocess_count(&plan, &layouts[l]));
    assert_true(preprocess_run(config, &plan, &layouts[l], &image, patches, NULL));
    for (int by = 0; by < 56 / p / m; by++)
      for (int bx = 0; bx < across / m; bx++)
        for (int my = 0; my < m; my++)
          for (int mx = 0; mx < m; mx++)
            for (int c = 0; c < 3; c++)
              for (int frame = 0; frame < f; frame++)
                for (int y = 0; y < p; y++)
                  for (int x = 0; x < p; x++, n++) {
                    int row = (by * m + my) * p + y, column = (bx * m + mx) * p + x;
                    if (patches[n] != plain[(c * 56 + row) * 112 + column]) fail_msg("layout %zu, number %d", l, n);
                  }
    free(patches);
  }
  struct error error = {0};
  assert_false(preprocess_run(config, &plan, &(struct preprocess_layout){16, 1, 1}, &image, plain, &error));
  assert_string_equal(
      error.text,
      "Tiles of 112 × 56 pixels cannot be cut into blocks of 16: preprocessor_config.json is another model's.");
  free(plain);
  image_release(&image);
  free(config);
}

#define TYPE(name) "{\"image_processor_type\": \"" name "ImageProcessor\""

static const struct {
  const char *text, *sentence;
} bad_configs[] = {
    {"", "preprocessor_config.json: Not valid JSON at line 1, column 0: '[' or '{' expected near end of file."},
    {"[]", "preprocessor_config.json is not an object."},
    {"{\"size\": 3}", "preprocessor_config.json has no image_processor_type: take that of the model's own page."},
    {"{\"image_processor_type\": 7}",
     "preprocessor_config.json has no image_processor_type: take that of the model's own page."},
    {TYPE("Mllama") "}", "preprocessor_config.json is for MllamaImageProcessor, expected one for CLIP, Siglip, ViT, "
                         "Llava, LlavaNext, Idefics3, SmolVLM, Qwen2VL, Gemma3 or Pixtral."},
    {TYPE("CLIPx") "}", "preprocessor_config.json is for CLIPxImageProcessor, expected one for CLIP, Siglip, ViT, "
                        "Llava, LlavaNext, Idefics3, SmolVLM, Qwen2VL, Gemma3 or Pixtral."},
    {TYPE("CLIP") ", \"do_resize\": 1}", "preprocessor_config.json: do_resize is neither true nor false."},
    {TYPE("CLIP") ", \"resample\": 6}", "preprocessor_config.json: resample is not one of Pillow's filters, 0 to 5."},
    {TYPE("CLIP") ", \"resample\": \"bicubic\"}",
     "preprocessor_config.json: resample is not one of Pillow's filters, 0 to 5."},
    {TYPE("CLIP") ", \"rescale_factor\": \"1/255\"}",
     "preprocessor_config.json: rescale_factor is not a number of at most a million."},
    {TYPE("CLIP") ", \"rescale_factor\": 1e7}",
     "preprocessor_config.json: rescale_factor is not a number of at most a million."},
    {TYPE("CLIP") ", \"image_mean\": [0.5, 0.5]}",
     "preprocessor_config.json: image_mean has 2 numbers, expected one for each of 3 channels."},
    {TYPE("CLIP") ", \"image_std\": [0.5, 0.5, 0]}",
     "preprocessor_config.json: image_std has a 0, by which nothing can be divided."},
    {TYPE("CLIP") ", \"image_std\": [0.5, 0.5, \"x\"]}",
     "preprocessor_config.json: image_std is not a number of at most a million."},
    {TYPE("CLIP") ", \"size\": 0}", "preprocessor_config.json: size is not a whole number of 1 to 16384."},
    {TYPE("CLIP") ", \"size\": 16385}", "preprocessor_config.json: size is not a whole number of 1 to 16384."},
    {TYPE("CLIP") ", \"size\": {\"height\": 2.5, \"width\": 3}}",
     "preprocessor_config.json: size.height is not a whole number of 1 to 16384."},
    {TYPE("CLIP") ", \"size\": {\"height\": 5}}", "preprocessor_config.json: size lacks what CLIP takes: "
                                                  "shortest_edge, height and width, or max_height and max_width."},
    {TYPE("CLIP") ", \"size\": {}}", "preprocessor_config.json: size lacks what CLIP takes: shortest_edge, height and "
                                     "width, or max_height and max_width."},
    {TYPE("CLIP") ", \"size\": \"large\"}", "preprocessor_config.json: size is not a whole number of 1 to 16384."},
    {TYPE("CLIP") ", \"crop_size\": {\"shortest_edge\": 5}}",
     "preprocessor_config.json: crop_size lacks what CLIP takes: height and width."},
    {TYPE("CLIP") ", \"crop_size\": -1}", "preprocessor_config.json: crop_size is not a whole number of 1 to 16384."},
    {TYPE("Qwen2VL") ", \"size\": {\"shortest_edge\": 5}}",
     "preprocessor_config.json: size lacks what Qwen2VL takes: a shortest_edge and a longest_edge that is not less."},
    {TYPE("Qwen2VL") ", \"min_pixels\": 500, \"max_pixels\": 400}",
     "preprocessor_config.json: size lacks what Qwen2VL takes: a shortest_edge and a longest_edge that is not less."},
    {TYPE("Qwen2VL") ", \"max_pixels\": 50331649}",
     "preprocessor_config.json: max_pixels is not a whole number of 1 to 50331648."},
    {TYPE("Qwen2VL") ", \"merge_size\": 17}", "preprocessor_config.json: merge_size is not a whole number of 1 to 16."},
    {TYPE("Qwen2VL") ", \"patch_size\": {\"height\": 14, \"width\": 16}}",
     "preprocessor_config.json: patch_size is 14 × 16, expected a square of at most 256."},
    {TYPE("Qwen2VL") ", \"temporal_patch_size\": 0}",
     "preprocessor_config.json: temporal_patch_size is not a whole number of 1 to 16."},
    {TYPE("Pixtral") ", \"size\": {\"shortest_edge\": 5}}",
     "preprocessor_config.json: size lacks what Pixtral takes: longest_edge, or height and width."},
    {TYPE("Pixtral") ", \"patch_size\": {\"height\": 14}}",
     "preprocessor_config.json: patch_size lacks what Pixtral takes: height and width."},
    {TYPE("SmolVLM") ", \"max_image_size\": {\"height\": 5}}",
     "preprocessor_config.json: max_image_size lacks what SmolVLM takes: longest_edge."},
    {TYPE("SmolVLM") ", \"do_image_splitting\": \"yes\"}",
     "preprocessor_config.json: do_image_splitting is neither true nor false."},
    {TYPE("SmolVLM") ", \"size\": {\"shortest_edge\": 5}}",
     "preprocessor_config.json: size lacks what SmolVLM takes: longest_edge, or height and width."},
    {TYPE("Gemma3") ", \"do_pan_and_scan\": true}",
     "preprocessor_config.json: do_pan_and_scan needs pan_and_scan_min_crop_size, pan_and_scan_max_num_crops and a "
     "pan_and_scan_min_ratio_to_activate over 0."},
    {TYPE("Gemma3") ", \"pan_and_scan_max_num_crops\": 256}",
     "preprocessor_config.json: pan_and_scan_max_num_crops is not a whole number of 1 to 255."},
    {TYPE("LlavaNext") ", \"image_grid_pinpoints\": []}",
     "preprocessor_config.json: image_grid_pinpoints is not a list of 1 to 256 sizes."},
    {TYPE("LlavaNext") ", \"image_grid_pinpoints\": 5}",
     "preprocessor_config.json: image_grid_pinpoints is not a list of 1 to 256 sizes."},
    {TYPE("LlavaNext") ", \"image_grid_pinpoints\": [[224, 448, 3]]}",
     "preprocessor_config.json: image_grid_pinpoints[0] is not a height and a width."},
    {TYPE("LlavaNext") ", \"image_grid_pinpoints\": [[224, 450]]}",
     "preprocessor_config.json: image_grid_pinpoints[0] is 224 × 450, expected multiples of 224, the side of a tile, "
     "and fewer than 256 tiles."},
    {TYPE("LlavaNext") ", \"crop_size\": 8, \"image_grid_pinpoints\": [[128, 128]]}",
     "preprocessor_config.json: image_grid_pinpoints[0] is 128 × 128, expected multiples of 8, the side of a tile, and "
     "fewer than 256 tiles."},
    {TYPE("LlavaNext") ", \"image_grid_pinpoints\": [[224, \"x\"]]}",
     "preprocessor_config.json: image_grid_pinpoints is not a whole number of 1 to 16384."},
    {TYPE("LlavaNext") "}", "preprocessor_config.json: image_grid_pinpoints[0] is 336 × 672, expected multiples of "
                            "224, the side of a tile, and fewer than 256 tiles."},
    {TYPE("Llava") ", \"do_pad\": 3}", "preprocessor_config.json: do_pad is neither true nor false."},
};

static void test_bad_configs(void **state) {
  (void)state;
  struct preprocess_config *config = malloc(sizeof *config);
  int wrong = 0;
  for (size_t i = 0; i < sizeof bad_configs / sizeof *bad_configs; i++) {
    struct error error = {0};
    bool parsed = preprocess_config_parse(slice_text(bad_configs[i].text), config, &error);
    if (parsed || strcmp(error.text, bad_configs[i].sentence) != 0) {
      print_error("%s\n    %s\n", bad_configs[i].text, parsed ? "(parsed)" : error.text);
      wrong++;
    }
  }
  free(config);
  assert_int_equal(wrong, 0);
}

static const struct {
  const char *config;
  int width, height;
  const char *sentence;
} bad_pictures[] = {
    {TYPE("CLIP") "}", 1, 16384,
     "The image would be resized to 224 × 3670016 pixels for this model, expected sides of 1 to 16384 and at most "
     "50331648 pixels: send one that is less long or less narrow."},
    {TYPE("CLIP") "}", 0, 5,
     "The image would be resized to 0 × 5 pixels for this model, expected sides of 1 to 16384 and at most 50331648 "
     "pixels: send one that is less long or less narrow."},
    {TYPE("CLIP") "}", 16384, 16384,
     "The image would be resized to 16384 × 16384 pixels for this model, expected sides of 1 to 16384 and at most "
     "50331648 pixels: send one that is less long or less narrow."},
    {TYPE("CLIP") ", \"do_center_crop\": false, \"size\": {\"max_height\": 5, \"max_width\": 5}}", 1, 16000,
     "The image would be resized to 0 × 5 pixels for this model, expected sides of 1 to 16384 and at most 50331648 "
     "pixels: send one that is less long or less narrow."},
    {TYPE("Qwen2VL") "}", 201, 1,
     "The image is 201 × 1 pixels, but this model takes none that is over 200 times as long as wide: cut it."},
    {TYPE("Qwen2VL") ", \"do_resize\": false}", 28, 29,
     "The image is 28 × 29 pixels, but this model, which resizes none, takes multiples of 28: resize it."},
    {TYPE("Gemma3") ", \"do_pan_and_scan\": true, \"pan_and_scan_min_crop_size\": 1, \"pan_and_scan_max_num_crops\": "
                    "4, \"pan_and_scan_min_ratio_to_activate\": 1.2}",
     9, 2, "The image of 9 × 2 pixels cannot be cut into 4 parts: send one of another shape."},
    {TYPE("Gemma3") ", \"size\": {\"shortest_edge\": 5}, \"do_pan_and_scan\": true, \"pan_and_scan_min_crop_size\": 1, "
                    "\"pan_and_scan_max_num_crops\": 4, \"pan_and_scan_min_ratio_to_activate\": 1.2}",
     8, 2, "preprocessor_config.json cuts an image into parts and states no height and width for them."},
    {TYPE("SmolVLM") ", \"size\": {\"longest_edge\": 4096}, \"max_image_size\": {\"longest_edge\": 16}}", 400, 300,
     "The image would become 49153 tiles of 16 × 16 pixels, expected at most 256 and 50331648 pixels together: scale "
     "it down."},
    {TYPE("SmolVLM") ", \"size\": {\"longest_edge\": 4096}, \"max_image_size\": {\"longest_edge\": 10000}}", 400, 300,
     "The image would be resized to 10000 × 10000 pixels for this model, expected sides of 1 to 16384 and at most "
     "50331648 pixels: send one that is less long or less narrow."},
    {TYPE("Pixtral") ", \"size\": {\"longest_edge\": 5}}", 1, 16000,
     "The image would be resized to 0 × 16 pixels for this model, expected sides of 1 to 16384 and at most 50331648 "
     "pixels: send one that is less long or less narrow."},
    {TYPE("LlavaNext") ", \"do_center_crop\": false, \"do_resize\": false, \"crop_size\": 112, "
                       "\"image_grid_pinpoints\": [[224, 224]]}",
     50, 50,
     "preprocessor_config.json makes tiles of 112 × 112 pixels beside a whole of 224 × 224: they must be alike."},
    {TYPE("LlavaNext") ", \"size\": 16000, \"crop_size\": 336}", 50, 50, /* what is cut away is in memory, too */
     "The image would be resized to 16000 × 16000 pixels for this model, expected sides of 1 to 16384 and at most "
     "50331648 pixels: send one that is less long or less narrow."},
};

static void test_bad_pictures(void **state) {
  (void)state;
  struct preprocess_config *config = malloc(sizeof *config);
  int wrong = 0;
  for (size_t i = 0; i < sizeof bad_pictures / sizeof *bad_pictures; i++) {
    struct preprocess_plan plan;
    struct error error = {0};
    if (!preprocess_config_parse(slice_text(bad_pictures[i].config), config, &error)) fail_msg("%s", error.text);
    bool measured = preprocess_measure(config, bad_pictures[i].width, bad_pictures[i].height, &plan, &error);
    if (measured || strcmp(error.text, bad_pictures[i].sentence) != 0) {
      print_error("%s %d x %d\n    %s\n", bad_pictures[i].config, bad_pictures[i].width, bad_pictures[i].height,
                  measured ? "(measured)" : error.text);
      wrong++;
    }
  }
  free(config);
  assert_int_equal(wrong, 0);
}

/* What a processor's own file holds, and names of older files. */
static void test_where_configs_are(void **state) {
  (void)state;
  static const char *const texts[] = {
      "{\"processor_class\": \"X\", \"image_processor\": " TYPE(
          "Siglip") ", \"size\": {\"height\": 20, \"width\": 30}}}",
      "{\"feature_extractor_type\": \"SiglipFeatureExtractor\", \"size\": {\"height\": 20, \"width\": 30}}",
      "{\"image_processor_type\": \"SiglipImageProcessorFast\", \"size\": {\"height\": 20, \"width\": 30, "
      "\"shortest_edge\": null}, \"resample\": null}",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct preprocess_config *config = malloc(sizeof *config);
    assert_true(preprocess_config_parse(slice_text(texts[i]), config, NULL));
    assert_true(config->kind == PREPROCESS_WHOLE && config->size.height == 20 && config->size.width == 30);
    assert_int_equal(config->resample, RESAMPLE_BICUBIC);
    free(config);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exact),       cmocka_unit_test(test_plans),        cmocka_unit_test(test_patches),
      cmocka_unit_test(test_bad_configs), cmocka_unit_test(test_bad_pictures), cmocka_unit_test(test_where_configs_are),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
