/* Encoders of any size in files of their own: Pixtral's, whose q and k have partners side by side there, and Qwen's,
 * whose matrix of patches is two, one for each frame of a film. */
#include "base/limits.h"
#include "model/mmproj_kinds.h"
#include "model/rotary_tower.h"
#include "model/vision_tower.h"

static const struct rotary_names pixtral_names = {.patch = "patch_embd",
                                                  .first_norm = "pre_ln",
                                                  .layers = "blk",
                                                  .attend_norm = "ln1",
                                                  .qkv = {"attn_q", "attn_k", "attn_v"},
                                                  .out = "attn_out",
                                                  .mlp_norm = "ln2",
                                                  .gate = "ffn_gate",
                                                  .up = "ffn_up",
                                                  .down = "ffn_down"};
static const struct rotary_names qwen25_names = {.patch = "patch_embd",
                                                 .second_frame = "v.patch_embd.weight.1",
                                                 .layers = "blk",
                                                 .attend_norm = "ln1",
                                                 .qkv = {"attn_q", "attn_k", "attn_v"},
                                                 .out = "attn_out",
                                                 .mlp_norm = "ln2",
                                                 .gate = "ffn_gate",
                                                 .up = "ffn_up",
                                                 .down = "ffn_down"};
static const struct rotary_names qwen2_names = {.patch = "patch_embd",
                                                .second_frame = "v.patch_embd.weight.1",
                                                .layers = "blk",
                                                .attend_norm = "ln1",
                                                .qkv = {"attn_q", "attn_k", "attn_v"},
                                                .out = "attn_out",
                                                .mlp_norm = "ln2",
                                                .up = "ffn_up",
                                                .down = "ffn_down"};

static bool sizes_read(const struct mmproj *m, struct rotary_tower *t, struct error *error) {
  const struct {
    const char *key;
    int max, *value;
  } sizes[] = {{"embedding_length", LIMIT_MODEL_WIDTH, &t->hidden},
               {"block_count", LIMIT_MODEL_LAYERS, &t->n_layer},
               {"attention.head_count", 1 << 12, &t->n_head},
               {"patch_size", PLAN_PATCH, &t->patch}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    if (!mmproj_size(m, sizes[i].key, GGUF_REQUIRED, sizes[i].max, sizes[i].value, error)) return false;
  return mmproj_eps(m, &t->eps, error);
}

static bool tensor_there(const struct mmproj *m, const char *name) {
  return checkpoint_find(m->checkpoint, name) != NULL;
}

/* --- Pixtral, Mistral Small --------------------------------------------------------------------------------------- */

static bool pixtral_read(const struct mmproj *m, struct rotary_tower *t, struct error *error) {
  bool silu = false, gelu = false;
  int image = 0;
  if (!sizes_read(m, t, error) ||
      !mmproj_size(m, "feed_forward_length", GGUF_REQUIRED, LIMIT_MODEL_WIDTH, &t->feed_forward, error) ||
      !mmproj_size(m, "image_size", GGUF_REQUIRED, PLAN_PATCH * PLAN_GRID, &image, error) ||
      !gguf_get_bool(m->file, "clip.use_silu", GGUF_OPTIONAL, &silu, error) ||
      !gguf_get_bool(m->file, "clip.use_gelu", GGUF_OPTIONAL, &gelu, error) ||
      !mmproj_mark(m, "[IMG]", &t->mark, error))
    return false;
  if (silu == gelu) return error_set(error, ERROR_UNSUPPORTED, "One of clip.use_silu and clip.use_gelu is to be true.");
  t->act = silu ? ACT_SILU : ACT_GELU;
  t->grid = image / t->patch;
  t->area = t->grid * t->grid < PLAN_AREA ? t->grid * t->grid : PLAN_AREA;
  if (!tensor_there(m, "mm.patch_merger.weight")) return rotary_tower_check(t, error);
  t->merge = 2;
  t->joined_norm = NORM_RMS;
  t->joined_eps = t->eps;
  t->joined_name = "mm.input_norm";
  return mmproj_size(m, "spatial_merge_size", GGUF_OPTIONAL, PLAN_MERGE, &t->merge, error) &&
         rotary_tower_check(t, error);
}

static int merger_add(const struct rotary_tower *t, int in, struct plan_builder *builder) {
  struct op op = op_make(OP_LINEAR, -1);
  int joined = t->merge * t->merge;
  op.in[0] = in;
  op.out = plan_add_value(builder, t->hidden, ROWS_OUTPUTS);
  op.weight[0] = plan_add_ordered(builder, "vision_merger", "mm.patch_merger.weight", t->hidden, joined * t->hidden,
                                  joined > 1 ? (uint8_t)joined : ORDER_AS_IS);
  plan_add_op(builder, &op);
  return op.out;
}

bool mmproj_pixtral(const struct mmproj *m, struct plan_builder *builder, struct error *error) {
  struct rotary_tower tower = {.names = &pixtral_names,
                               .prefix = "v.",
                               .channels = 3,
                               .frames = 1,
                               .merge = 1,
                               .norm = NORM_RMS,
                               .eps = 1e-5,
                               .theta = 10000,
                               .interleaved = true,
                               .pairs = true};
  if (!pixtral_read(m, &tower, error)) return false;
  int value = rotary_tower_build(&tower, builder), width = m->decoder->hidden;
  if (tower.joined_norm != NORM_NONE) value = merger_add(&tower, value, builder);
  value = vision_project(builder, "vision_linear_1", "mm.1", value, tower.hidden, width, tensor_there(m, "mm.1.bias"),
                         ACT_GELU);
  vision_project(builder, "vision_linear_2", "mm.2", value, width, width, tensor_there(m, "mm.2.bias"), ACT_NONE);
  builder->head.vision.text = TEXT_LINES;
  return true;
}

/* --- Qwen --------------------------------------------------------------------------------------------------------- */

/* Older files state another length: the matrix tells. */
static bool feed_forward_read(const struct mmproj *m, struct rotary_tower *t, struct error *error) {
  const struct tensor *up = checkpoint_find(m->checkpoint, "v.blk.0.ffn_up.weight");
  if (!up || up->n_dim != 2 || up->dim[0] < 1 || up->dim[0] > LIMIT_MODEL_WIDTH)
    return error_set(error, ERROR_FORMAT, "Tensor v.blk.0.ffn_up.weight is missing or no matrix of 1 to %d rows.",
                     LIMIT_MODEL_WIDTH);
  t->feed_forward = (int)up->dim[0];
  return true;
}

static bool qwen_build(const struct mmproj *m, struct rotary_tower *t, struct plan_builder *builder,
                       struct error *error) {
  t->joined_eps = t->eps;
  if (!feed_forward_read(m, t, error) || !mmproj_mark(m, "<|image_pad|>", &t->mark, error) ||
      !rotary_tower_check(t, error))
    return false;
  int width = t->merge * t->merge * t->hidden, value = rotary_tower_build(t, builder);
  value = vision_project(builder, "vision_merger_0", "mm.0", value, width, width, true, ACT_GELU);
  vision_project(builder, "vision_merger_2", "mm.2", value, width, m->decoder->hidden, true, ACT_NONE);
  builder->head.vision.axes = 1;
  return true;
}

static const struct rotary_tower qwen = {.prefix = "v.",
                                         .channels = 3,
                                         .frames = 1,
                                         .merge = 2,
                                         .grid = PLAN_SIDE,
                                         .area = ROTARY_AREA,
                                         .bias = true,
                                         .eps = 1e-6,
                                         .theta = 10000,
                                         .joined_name = "v.post_ln"};

bool mmproj_qwen2(const struct mmproj *m, struct plan_builder *builder, struct error *error) {
  struct rotary_tower tower = qwen;
  tower.names = &qwen2_names;
  tower.norm = tower.joined_norm = NORM_LAYER;
  tower.act = ACT_GELU_QUICK;
  return sizes_read(m, &tower, error) && qwen_build(m, &tower, builder, error);
}

/* Every n-th layer sees everything. */
bool mmproj_qwen25(const struct mmproj *m, struct plan_builder *builder, struct error *error) {
  struct rotary_tower tower = qwen;
  int every = 0, pixels = 112;
  tower.names = &qwen25_names;
  tower.norm = tower.joined_norm = NORM_RMS;
  tower.act = ACT_SILU;
  if (!sizes_read(m, &tower, error) ||
      !mmproj_size(m, "n_wa_pattern", GGUF_REQUIRED, LIMIT_MODEL_LAYERS, &every, error) ||
      !mmproj_size(m, "window_size", GGUF_OPTIONAL, PLAN_PATCH * PLAN_SIDE, &pixels, error))
    return false;
  tower.window = pixels / tower.merge / tower.patch * tower.merge;
  if (tower.window == 0)
    return error_set(error, ERROR_INVALID,
                     "clip.vision.window_size is %d, expected at least the %d pixels of merged patches.", pixels,
                     tower.merge * tower.patch);
  for (int i = 0; i < tower.n_layer; i++) tower.local[i] = (i + 1) % every != 0;
  return qwen_build(m, &tower, builder, error);
}
