/* Types of processors by name, and their defaults: those of transformers 5. */
#include "image/preprocess_fields.h"

#define CLIP_COLOURS .mean = {0.48145466, 0.4578275, 0.40821073}, .std = {0.26862954, 0.26130258, 0.27577711}
#define HALF_COLOURS .mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}
#define ALWAYS       .resizes = true, .rescales = true, .normalizes = true, .rescale_factor = 1.0 / 255

static const struct processor processors[] = {
    {"CLIP",
     EDGE_SHORTEST,
     {PREPROCESS_WHOLE, RESAMPLE_BICUBIC, ALWAYS, CLIP_COLOURS, .crops = true, .size.shortest_edge = 224,
      .crop_height = 224, .crop_width = 224}},
    {"Siglip",
     EDGE_SHORTEST,
     {PREPROCESS_WHOLE, RESAMPLE_BICUBIC, ALWAYS, HALF_COLOURS, .size = {.height = 224, .width = 224}}},
    {"ViT",
     EDGE_SQUARE,
     {PREPROCESS_WHOLE, RESAMPLE_BILINEAR, ALWAYS, HALF_COLOURS, .size = {.height = 224, .width = 224}}},
    {"Llava",
     EDGE_SHORTEST,
     {PREPROCESS_WHOLE, RESAMPLE_BICUBIC, ALWAYS, CLIP_COLOURS, .crops = true, .size.shortest_edge = 224,
      .crop_height = 224, .crop_width = 224}},
    {"LlavaNext",
     EDGE_SHORTEST,
     {PREPROCESS_GRID, RESAMPLE_BICUBIC, ALWAYS, CLIP_COLOURS, .crops = true, .size.shortest_edge = 224,
      .crop_height = 224, .crop_width = 224, .grid_count = 5,
      .grid = {{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}}}},
    {"Idefics3",
     EDGE_SHORTEST,
     {PREPROCESS_SPLIT, RESAMPLE_LANCZOS, ALWAYS, HALF_COLOURS, .splits = true, .size.longest_edge = 1456,
      .split_edge = 364}},
    {"SmolVLM",
     EDGE_SHORTEST,
     {PREPROCESS_SPLIT, RESAMPLE_LANCZOS, ALWAYS, HALF_COLOURS, .splits = true, .size.longest_edge = 1456,
      .split_edge = 364}},
    {"Qwen2VL",
     EDGE_SHORTEST,
     {PREPROCESS_AREA, RESAMPLE_BICUBIC, ALWAYS, CLIP_COLOURS,
      .size = {.shortest_edge = 56 * 56, .longest_edge = 28 * 28 * 1280}, .patch_height = 14, .patch_width = 14,
      .merge = 2, .frames = 2}},
    {"Gemma3",
     EDGE_SQUARE,
     {PREPROCESS_PAN, RESAMPLE_BILINEAR, ALWAYS, HALF_COLOURS, .size = {.height = 224, .width = 224}}},
    {"Pixtral",
     EDGE_SQUARE,
     {PREPROCESS_FIT, RESAMPLE_BICUBIC, ALWAYS, CLIP_COLOURS, .size.longest_edge = 1024, .patch_height = 16,
      .patch_width = 16}},
};

static bool name_is(struct slice name, const char *stem) {
  static const char *const endings[] = {"ImageProcessor", "ImageProcessorFast", "ImageProcessorPil",
                                        "FeatureExtractor"};
  size_t size = strlen(stem);
  if (!slice_starts(name, stem)) return false;
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
    if (slice_is(slice_make(name.data + size, name.size - size), endings[i])) return true;
  return false;
}

bool processor_find(struct reading *reading) {
  const json_t *type = reading_field(reading, "image_processor_type");
  if (!type) type = reading_field(reading, "feature_extractor_type");
  if (!json_is_string(type))
    return error_set(reading->error, ERROR_FORMAT,
                     "preprocessor_config.json has no image_processor_type: take that of the model's own page.");
  for (size_t i = 0; i < sizeof processors / sizeof *processors; i++)
    if (name_is(json_slice(type), processors[i].name)) {
      reading->processor = &processors[i];
      *reading->config = processors[i].defaults;
      return true;
    }
  return error_set(
      reading->error, ERROR_UNSUPPORTED,
      "preprocessor_config.json is for %.*s, expected one for CLIP, Siglip, ViT, Llava, LlavaNext, Idefics3, SmolVLM, "
      "Qwen2VL, Gemma3 or Pixtral.",
      SLICE_ARGS(json_slice(type)));
}
