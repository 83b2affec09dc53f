/* Gemma 3 with images: a SigLIP encoder, whose patches become fewer rows by averaging squares of them, a norm and one
 * matrix, which checkpoints store transposed. In the decoder an image's tokens see each other whatever their order. A
 * checkpoint without an encoder's tensors is one of texts. */
#include "model/decoder_names.h"
#include "model/family.h"
#include "model/gemma3_text.h"
#include "model/vision_tower.h"

#include <stdio.h>

static const struct architecture architectures[] = {{"Gemma3ForConditionalGeneration", "gemma3"}, {0}};

/* What configs leave out: the defaults of transformers' config classes. */
static const struct vision_tower vision_defaults = {.hidden = 768,
                                                    .feed_forward = 3072,
                                                    .n_layer = 12,
                                                    .n_head = 12,
                                                    .channels = 3,
                                                    .image = 224,
                                                    .patch = 16,
                                                    .eps = 1e-6,
                                                    .act = ACT_GELU_TANH,
                                                    .patch_bias = true,
                                                    .post_norm = true,
                                                    .mean = true,
                                                    .merge = 1,
                                                    .mark = 262144};

static const char *const tower_prefixes[] = {"vision_tower.vision_model.", "model.vision_tower.vision_model.",
                                             "model.vision_tower.", "vision_tower.", NULL};
static const char *const projector_prefixes[] = {"multi_modal_projector.", "model.multi_modal_projector.", NULL};

/* Rows of an image, a square number, and so the patches that each is the mean of. */
static bool rows_read(struct vision_tower *t, const struct checkpoint *c, int *rows, struct error *error) {
  int grid = t->image / t->patch, side = 1;
  *rows = 256;
  if (!config_int(c, (struct config_key){"mm_tokens_per_image", NULL}, CONFIG_OPTIONAL, 1, PLAN_AREA, rows, error))
    return false;
  while (side * side < *rows) side++;
  t->merge = grid / side;
  if (side * side == *rows && grid % side == 0 && t->merge >= 1 && t->merge <= PLAN_MERGE) return true;
  return error_set(
      error, ERROR_INVALID,
      "config.json: mm_tokens_per_image is %d, expected a square whose root divides the image's %d patches "
      "a side into at most %d.",
      *rows, grid, PLAN_MERGE);
}

/* All of an image's tokens are within a window, so that each sees every other. */
static bool windows_check(const struct plan *decoder, int rows, struct error *error) {
  for (int i = 0; i < decoder->n_group; i++) {
    int window = plan_groups(decoder)[i].window;
    if (window > 0 && window < rows)
      return error_set(error, ERROR_UNSUPPORTED,
                       "config.json: sliding_window is %d, and an image has %d tokens, which must see each other.",
                       window, rows);
  }
  return true;
}

static bool tower_read(struct vision_tower *t, const struct checkpoint *c, int *rows, struct error *error) {
  *t = vision_defaults;
  t->prefix = tensor_prefix_find(c, tower_prefixes, "embeddings.patch_embedding.weight");
  return config_int(c, (struct config_key){"image_token_index", NULL}, CONFIG_OPTIONAL, 0, LIMIT_VOCAB - 1, &t->mark,
                    error) &&
         config_int(c, (struct config_key){"image_token_id", NULL}, CONFIG_OPTIONAL, 0, LIMIT_VOCAB - 1, &t->mark,
                    error) &&
         vision_tower_read(t, c, error) && rows_read(t, c, rows, error);
}

static void projector_add(const struct vision_tower *t, const struct checkpoint *checkpoint, const struct plan *decoder,
                          int in, struct plan_builder *builder) {
  const char *prefix = tensor_prefix_find(checkpoint, projector_prefixes, "mm_input_projection_weight");
  char name[TENSOR_NAME_BYTES];
  struct op op = op_make(OP_LINEAR, -1);
  op.in[0] = in;
  op.out = plan_add_value(builder, decoder->hidden, ROWS_OUTPUTS);
  snprintf(name, sizeof name, "%.60smm_input_projection_weight", prefix);
  op.weight[0] = plan_add_ordered(builder, "vision_projector", name, decoder->hidden, t->hidden, ORDER_TRANSPOSED);
  op.args.linear.norm = NORM_RMS;
  op.args.linear.eps = (float)t->eps;
  snprintf(name, sizeof name, "%.60smm_soft_emb_norm.weight", prefix);
  op.weight[2] = plan_add_vector(builder, name, t->hidden, 1); /* stored as an offset from one */
  plan_add_op(builder, &op);
}

static bool encoder_missing(const struct checkpoint *checkpoint) {
  char name[TENSOR_NAME_BYTES];
  snprintf(name, sizeof name, "%.60sembeddings.patch_embedding.weight",
           tensor_prefix_find(checkpoint, tower_prefixes, "embeddings.patch_embedding.weight"));
  return checkpoint_find(checkpoint, name) == NULL;
}

static bool vision_build(const struct checkpoint *checkpoint, const struct plan *decoder, struct plan_builder *builder,
                         struct error *error) {
  struct vision_tower tower;
  int rows;
  if (encoder_missing(checkpoint)) return true;
  if (!tower_read(&tower, checkpoint, &rows, error) || !windows_check(decoder, rows, error)) return false;
  projector_add(&tower, checkpoint, decoder, vision_tower_build(&tower, builder), builder);
  builder->head.vision.mutual = 1;
  builder->head.vision.text = TEXT_PAN;
  return true;
}

const struct family gemma3_vision_family = {.title = "Gemma 3 with images",
                                            .architectures = architectures,
                                            .build = gemma3_text_build,
                                            .build_vision = vision_build};
