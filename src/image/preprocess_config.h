/* How a model wants its pictures: preprocessor_config.json as `transformers` writes it. */
#ifndef SPATE_IMAGE_PREPROCESS_CONFIG_H
#define SPATE_IMAGE_PREPROCESS_CONFIG_H

#include "base/limits.h"
#include "base/slice.h"
#include "image/resize.h"

/* What becomes of one picture. */
enum preprocess_kind {
  PREPROCESS_WHOLE, /* one tile: resized, its middle cut out (CLIP, SigLIP, LLaVA-1.5) */
  PREPROCESS_GRID,  /* the whole and the tiles of the best of some grids, with bars where it does not fill it
                       (LLaVA-NeXT) */
  PREPROCESS_SPLIT, /* tiles of a size of its own, then the whole (Idefics3, SmolVLM) */
  PREPROCESS_PAN,   /* the whole, then parts of a long one (Gemma 3) */
  PREPROCESS_AREA,  /* sides that are multiples of a block, an area within bounds (Qwen2-VL, Qwen2.5-VL) */
  PREPROCESS_FIT,   /* sides that are multiples of a patch, the longer one within a bound (Pixtral) */
};

struct preprocess_size { /* 0: not stated */
  int height, width, shortest_edge, longest_edge, max_height,
      max_width; /* pixels; areas' edges are numbers of pixels */
};

struct preprocess_config {
  enum preprocess_kind kind;
  enum resample resample;
  bool resizes, crops, rescales, normalizes;
  bool pads_square; /* before all else, with the mean colour (WHOLE) */
  bool splits;      /* SPLIT */
  bool pans;        /* PAN */
  struct preprocess_size size;
  int crop_height, crop_width;
  double rescale_factor, mean[3], std[3];
  int split_edge;                /* SPLIT: of a tile */
  int patch_height, patch_width; /* FIT, AREA (which has square ones) */
  int merge, frames;             /* AREA: patches that become one, on a side; how often a picture is repeated */
  int pan_least, pan_most;       /* PAN: pixels of a part's side, parts */
  double pan_ratio;              /* PAN: of the sides, from which on there are parts */
  int grid_count, grid[LIMIT_IMAGE_PINPOINTS][2]; /* GRID: heights and widths */
};

/* Reads the file's text: that of an image processor, or a processor's in which one is called image_processor. What it
 * does not state is the default of its image_processor_type. */
bool preprocess_config_parse(struct slice text, struct preprocess_config *config, struct error *error);

#endif
