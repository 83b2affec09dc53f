/* preprocessor_config.json: the fields that change pixels, and what they must be to each other. */
#include "image/preprocess_config.h"

#include "image/preprocess_fields.h"
#include "image/preprocess_sizes.h"

static bool size_missing(const struct reading *reading, const char *name, const char *expected) {
  return error_set(reading->error, ERROR_FORMAT, "preprocessor_config.json: %s lacks what %s takes: %s.", name,
                   reading->processor->name, expected);
}

static bool size_check(const struct reading *reading) {
  const struct preprocess_size *size = &reading->config->size;
  bool both = size->height && size->width;
  switch (reading->config->kind) {
  case PREPROCESS_AREA:
    return (size->shortest_edge && size->longest_edge && size->shortest_edge <= size->longest_edge) ||
           size_missing(reading, "size", "a shortest_edge and a longest_edge that is not less");
  case PREPROCESS_SPLIT:
  case PREPROCESS_FIT:
    return size->longest_edge || both || size_missing(reading, "size", "longest_edge, or height and width");
  case PREPROCESS_GRID:
    return size->shortest_edge || both || size_missing(reading, "size", "shortest_edge, or height and width");
  default:
    return size->shortest_edge || both || (size->max_height && size->max_width) ||
           size_missing(reading, "size", "shortest_edge, height and width, or max_height and max_width");
  }
}

static bool size_read(const struct reading *reading) {
  struct preprocess_config *config = reading->config;
  const json_t *size = reading_field(reading, "size");
  if (size && !size_take(reading, size, "size", reading->processor->edge, &config->size)) return false;
  if (config->kind == PREPROCESS_AREA &&
      (!whole_read(reading, "min_pixels", LIMIT_IMAGE_PIXELS, &config->size.shortest_edge) ||
       !whole_read(reading, "max_pixels", LIMIT_IMAGE_PIXELS, &config->size.longest_edge)))
    return false;
  return size_check(reading);
}

static bool crop_read(const struct reading *reading) {
  struct preprocess_config *config = reading->config;
  struct preprocess_size crop = {.height = config->crop_height, .width = config->crop_width};
  const json_t *value = reading_field(reading, "crop_size");
  if (value && !size_take(reading, value, "crop_size", EDGE_SQUARE, &crop)) return false;
  if (config->crops && !(crop.height && crop.width)) return size_missing(reading, "crop_size", "height and width");
  config->crop_height = crop.height;
  config->crop_width = crop.width;
  return true;
}

static bool patch_read(const struct reading *reading) {
  struct preprocess_config *config = reading->config;
  struct preprocess_size patch = {.height = config->patch_height, .width = config->patch_width};
  const json_t *value = reading_field(reading, "patch_size");
  if (value && !size_take(reading, value, "patch_size", EDGE_SQUARE, &patch)) return false;
  if (!patch.height || !patch.width) return size_missing(reading, "patch_size", "height and width");
  config->patch_height = patch.height;
  config->patch_width = patch.width;
  return true;
}

/* --- fields of one kind alone ----------------------------------------------------------------------------------- */

static bool area_read(const struct reading *reading) {
  struct preprocess_config *config = reading->config;
  if (!patch_read(reading) || !whole_read(reading, "merge_size", 16, &config->merge) ||
      !whole_read(reading, "temporal_patch_size", 16, &config->frames))
    return false;
  if (config->patch_height != config->patch_width || config->patch_height > 256)
    return error_set(reading->error, ERROR_FORMAT,
                     "preprocessor_config.json: patch_size is %d × %d, expected a square of at most 256.",
                     config->patch_height, config->patch_width);
  return true;
}

static bool split_read(const struct reading *reading) {
  struct preprocess_size most = {.longest_edge = reading->config->split_edge};
  const json_t *value = reading_field(reading, "max_image_size");
  if (value && !size_take(reading, value, "max_image_size", EDGE_SHORTEST, &most)) return false;
  if (!most.longest_edge) return size_missing(reading, "max_image_size", "longest_edge");
  reading->config->split_edge = most.longest_edge;
  return bool_read(reading, "do_image_splitting", &reading->config->splits);
}

static bool pan_read(const struct reading *reading) {
  struct preprocess_config *config = reading->config;
  if (!bool_read(reading, "do_pan_and_scan", &config->pans) ||
      !whole_read(reading, "pan_and_scan_min_crop_size", LIMIT_IMAGE_SIDE, &config->pan_least) ||
      !whole_read(reading, "pan_and_scan_max_num_crops", LIMIT_IMAGE_TILES - 1, &config->pan_most) ||
      !number_read(reading, "pan_and_scan_min_ratio_to_activate", &config->pan_ratio))
    return false;
  if (config->pans && !(config->pan_least && config->pan_most && config->pan_ratio > 0))
    return error_set(reading->error, ERROR_FORMAT,
                     "preprocessor_config.json: do_pan_and_scan needs pan_and_scan_min_crop_size, "
                     "pan_and_scan_max_num_crops and a pan_and_scan_min_ratio_to_activate over 0.");
  return true;
}

static bool pinpoints_take(const struct reading *reading, const json_t *list) {
  struct preprocess_config *config = reading->config;
  size_t count = json_array_size(list);
  if (count < 1 || count > LIMIT_IMAGE_PINPOINTS)
    return error_set(reading->error, ERROR_FORMAT,
                     "preprocessor_config.json: image_grid_pinpoints is not a list of 1 to %d sizes.",
                     LIMIT_IMAGE_PINPOINTS);
  for (size_t i = 0; i < count; i++) {
    const json_t *pair = json_array_get(list, i);
    if (json_array_size(pair) != 2)
      return error_set(reading->error, ERROR_FORMAT,
                       "preprocessor_config.json: image_grid_pinpoints[%zu] is not a height and a width.", i);
    for (size_t side = 0; side < 2; side++)
      if (!whole_take(reading, json_array_get(pair, side), "image_grid_pinpoints", LIMIT_IMAGE_SIDE,
                      &config->grid[i][side]))
        return false;
  }
  config->grid_count = (int)count;
  return true;
}

static bool grid_read(const struct reading *reading) {
  struct preprocess_config *config = reading->config;
  const json_t *list = reading_field(reading, "image_grid_pinpoints");
  if (list && !pinpoints_take(reading, list)) return false;
  int tile = edge_of_tile(config); /* which the size and the crop decide */
  for (int i = 0; i < config->grid_count; i++) {
    int rows = config->grid[i][0] / tile, columns = config->grid[i][1] / tile;
    if (rows * tile != config->grid[i][0] || columns * tile != config->grid[i][1] ||
        rows * columns >= LIMIT_IMAGE_TILES)
      return error_set(reading->error, ERROR_FORMAT,
                       "preprocessor_config.json: image_grid_pinpoints[%d] is %d × %d, expected multiples of %d, "
                       "the side of a tile, and fewer than %d tiles.",
                       i, config->grid[i][0], config->grid[i][1], tile, LIMIT_IMAGE_TILES);
  }
  return true;
}

static bool kind_read(const struct reading *reading) {
  switch (reading->config->kind) {
  case PREPROCESS_AREA: return area_read(reading);
  case PREPROCESS_FIT: return patch_read(reading);
  case PREPROCESS_SPLIT: return split_read(reading);
  case PREPROCESS_PAN: return pan_read(reading);
  case PREPROCESS_GRID: return grid_read(reading);
  default:
    return strcmp(reading->processor->name, "Llava") != 0 ||
           bool_read(reading, "do_pad", &reading->config->pads_square);
  }
}

/* --- the file --------------------------------------------------------------------------------------------------- */

static bool resample_read(const struct reading *reading) {
  const json_t *value = reading_field(reading, "resample");
  if (!value) return true;
  if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) >= RESAMPLE_COUNT)
    return error_set(reading->error, ERROR_FORMAT,
                     "preprocessor_config.json: resample is not one of Pillow's filters, 0 to %d.", RESAMPLE_COUNT - 1);
  reading->config->resample = (enum resample)json_integer_value(value);
  return true;
}

static bool fields_read(const struct reading *reading) {
  struct preprocess_config *config = reading->config;
  if (!bool_read(reading, "do_resize", &config->resizes) || !bool_read(reading, "do_center_crop", &config->crops) ||
      !bool_read(reading, "do_rescale", &config->rescales) ||
      !bool_read(reading, "do_normalize", &config->normalizes) || !resample_read(reading) ||
      !number_read(reading, "rescale_factor", &config->rescale_factor) ||
      !colours_read(reading, "image_mean", config->mean) || !colours_read(reading, "image_std", config->std))
    return false;
  for (int c = 0; c < 3; c++)
    if ((float)config->std[c] == 0)
      return error_set(reading->error, ERROR_FORMAT,
                       "preprocessor_config.json: image_std has a 0, by which nothing can be divided.");
  return size_read(reading) && crop_read(reading) && kind_read(reading);
}

bool preprocess_config_parse(struct slice text, struct preprocess_config *config, struct error *error) {
  if (text.size > LIMIT_PREPROCESSOR_CONFIG_BYTES)
    return error_set(error, ERROR_LIMIT, "preprocessor_config.json has %zu bytes, expected at most %d.", text.size,
                     LIMIT_PREPROCESSOR_CONFIG_BYTES);
  json_t *root = json_parse(text, error);
  if (!root) return error_prefix(error, "preprocessor_config.json: ");
  struct reading reading = {.fields = root, .config = config, .error = error};
  const json_t *inner = json_object_get(root, "image_processor");
  if (json_is_object(inner)) reading.fields = inner;
  bool done = json_is_object(root) ? processor_find(&reading) && fields_read(&reading)
                                   : error_set(error, ERROR_FORMAT, "preprocessor_config.json is not an object.");
  json_decref(root);
  return done;
}
