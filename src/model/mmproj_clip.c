/* LLaVA's encoders in files of their own: CLIP's layers up to the one whose output is taken, since their writer leaves
 * out those behind it, and two linears. Of LLaVA 1.6 there is the row behind each line too. */
#include "base/limits.h"
#include "model/mmproj_kinds.h"

#include <jansson.h>
#include <stdlib.h>

static const char *const line_ends[] = {"model.image_newline", "v.image_newline", NULL};

/* --- settings ----------------------------------------------------------------------------------------------------- */

/* Neither: CLIP's own. */
static bool act_read(const struct mmproj *m, struct vision_tower *t, struct error *error) {
  bool gelu = false, silu = false;
  if (!gguf_get_bool(m->file, "clip.use_gelu", GGUF_OPTIONAL, &gelu, error) ||
      !gguf_get_bool(m->file, "clip.use_silu", GGUF_OPTIONAL, &silu, error))
    return false;
  t->act = gelu ? ACT_GELU : silu ? ACT_SILU : ACT_GELU_QUICK;
  return !(gelu && silu) || error_set(error, ERROR_INVALID, "Both clip.use_gelu and clip.use_silu are true.");
}

/* The writer keeps the layers up to the one that is taken, and names it where the original's config does. Without a
 * name all that are there are run, as the network was trained; llama.cpp leaves out one more. */
static bool layer_read(const struct mmproj *m, struct vision_tower *t, struct error *error) {
  static const char key[] = "clip.vision.feature_layer";
  const struct gguf_value *list = gguf_find(m->file, key);
  int64_t layer = 0;
  t->used = t->n_layer;
  if (!list) return true;
  if (list->is_array && list->count != 1)
    return error_set(error, ERROR_UNSUPPORTED, "%s has %zu layers, expected one.", key, list->count);
  return (gguf_value_int(list, 0, &layer) && layer == t->n_layer) ||
         error_set(error, ERROR_INVALID, "%s is %lld, expected %d, the last of the file's.", key, (long long)layer,
                   t->n_layer);
}

/* Early files call the first matrix of a feed-forward its last. */
static bool feed_forward_swapped(const struct mmproj *m, const struct vision_tower *t) {
  const struct tensor *down = checkpoint_find(m->checkpoint, "v.blk.0.ffn_down.weight");
  return down && down->n_dim == 2 && down->dim[1] == t->hidden;
}

/* --- what stands for an image ------------------------------------------------------------------------------------- */

/* LLaVA's own token, where the decoder was converted with it; else one that no text becomes is lent. */
static bool mark_find(const struct mmproj *m, int *mark, struct error *error) {
  for (int i = 0; plan_marks[i]; i++)
    if (mmproj_mark(m, plan_marks[i], mark, error)) return true;
  return error_set(
      error, ERROR_UNSUPPORTED,
      "The vocabulary has none of the tokens <image>, <unk> and <|reserved_special_token_0|>, one of which "
      "is to stand for images.");
}

/* How a large picture's tiles are put together: LLaVA 1.6's way has a learned row behind each line. */
static bool tiles_read(const struct mmproj *m, bool *tiles, struct error *error) {
  struct slice merge = slice_text("flat");
  if (!gguf_get_string(m->file, "clip.vision.mm_patch_merge_type", GGUF_OPTIONAL, &merge, error)) return false;
  *tiles = slice_is(merge, "spatial_unpad");
  if (!*tiles && !slice_is(merge, "flat"))
    return error_set(error, ERROR_UNSUPPORTED,
                     "clip.vision.mm_patch_merge_type is \"%.*s\", expected \"flat\" or \"spatial_unpad\".",
                     SLICE_ARGS(merge));
  if (*tiles || !gguf_find(m->file, "clip.vision.image_grid_pinpoints")) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "clip.vision.image_grid_pinpoints are there and clip.vision.mm_patch_merge_type is not "
                   "\"spatial_unpad\": tiles without it are not served.");
}

/* --- the plan ----------------------------------------------------------------------------------------------------- */

static bool tower_read(const struct mmproj *m, struct vision_tower *t, struct error *error) {
  if (!mmproj_sizes(m, t, error) || !act_read(m, t, error) || !layer_read(m, t, error) ||
      !mark_find(m, &t->mark, error) || !vision_tower_check(t, error))
    return false;
  return t->image % t->patch == 0 ||
         error_set(error, ERROR_UNSUPPORTED, "clip.vision.image_size is %d, expected a multiple of the patches' %d.",
                   t->image, t->patch);
}

bool mmproj_clip(const struct mmproj *m, struct plan_builder *builder, struct error *error) {
  struct vision_names names = vision_names_gguf;
  struct vision_tower tower = {
      .names = &names, .prefix = "v.", .channels = 3, .eps = 1e-5, .class_token = true, .pre_norm = true, .merge = 1};
  bool tiles = false;
  int width = m->decoder->hidden;
  if (!tower_read(m, &tower, error) || !tiles_read(m, &tiles, error)) return false;
  if (feed_forward_swapped(m, &tower)) {
    names.up = vision_names_gguf.down;
    names.down = vision_names_gguf.up;
  }
  int value = vision_tower_build(&tower, builder);
  value = vision_project(builder, "vision_linear_1", "mm.0", value, tower.hidden, width, true, ACT_GELU);
  vision_project(builder, "vision_linear_2", "mm.2", value, width, width, true, ACT_NONE);
  if (!tiles) return true;
  bool newer = checkpoint_find(m->checkpoint, line_ends[1]) != NULL;
  builder->head.vision.breaks = plan_add_vector(builder, line_ends[newer], width, 0);
  builder->head.vision.text = TEXT_TILES;
  return true;
}

/* --- pictures ----------------------------------------------------------------------------------------------------- */

static json_t *colours_make(const struct gguf *file, const char *key, struct error *error) {
  const struct gguf_value *list = gguf_find(file, key);
  json_t *out = json_array();
  double number = 0;
  for (size_t i = 0; i < 3; i++)
    if (!list || !list->is_array || list->count != 3 || !gguf_value_float(list, i, &number) ||
        json_array_append_new(out, json_real(number)) != 0) {
      json_decref(out);
      error_set(error, ERROR_FORMAT, "%s is no list of 3 numbers.", key);
      return NULL;
    }
  return out;
}

/* Pairs of sizes one after the other. */
static json_t *grid_make(const struct gguf_value *list, struct error *error) {
  json_t *out = json_array();
  int64_t side[2] = {0};
  bool even = list->is_array && list->count % 2 == 0 && list->count <= (size_t)2 * LIMIT_IMAGE_PINPOINTS;
  for (size_t i = 0; even && i < list->count; i += 2) {
    even = gguf_value_int(list, i, &side[0]) && gguf_value_int(list, i + 1, &side[1]) &&
           json_array_append_new(out, json_pack("[II]", (json_int_t)side[0], (json_int_t)side[1])) == 0;
  }
  if (even) return out;
  json_decref(out);
  error_set(error, ERROR_FORMAT, "clip.vision.image_grid_pinpoints is no list of at most %d pairs of sizes.",
            LIMIT_IMAGE_PINPOINTS);
  return NULL;
}

static bool colours_put(const struct gguf *file, json_t *object, struct error *error) {
  json_t *mean = colours_make(file, "clip.vision.image_mean", error);
  json_t *std = mean ? colours_make(file, "clip.vision.image_std", error) : NULL;
  json_object_set_new(object, "image_mean", mean);
  json_object_set_new(object, "image_std", std);
  return std != NULL;
}

static bool grid_put(const struct gguf *file, json_t *object, struct error *error) {
  const struct gguf_value *list = gguf_find(file, "clip.vision.image_grid_pinpoints");
  json_t *grid = list ? grid_make(list, error) : NULL;
  if (grid) json_object_set_new(object, "image_grid_pinpoints", grid);
  return grid || !list;
}

bool mmproj_pictures(const struct gguf *file, struct arena *arena, struct slice *text, struct error *error) {
  bool llava = false;
  uint32_t side = 0;
  struct slice merge = {0};
  if (!gguf_get_bool(file, "clip.has_llava_projector", GGUF_OPTIONAL, &llava, error)) return false;
  if (!llava) return true;
  if (!gguf_get_u32(file, "clip.vision.image_size", GGUF_REQUIRED, &side, error) ||
      !gguf_get_string(file, "clip.vision.mm_patch_merge_type", GGUF_OPTIONAL, &merge, error))
    return false;
  bool tiles = slice_is(merge, "spatial_unpad");
  json_t *object =
      json_pack("{ss,sb,s{sI},s{sI,sI}}", "image_processor_type",
                tiles ? "LlavaNextImageProcessor" : "LlavaImageProcessor", "do_pad", 1, "size", "shortest_edge",
                (json_int_t)side, "crop_size", "height", (json_int_t)side, "width", (json_int_t)side);
  bool made = colours_put(file, object, error) && (!tiles || grid_put(file, object, error));
  char *dump = made ? json_dumps(object, JSON_COMPACT) : NULL;
  const char *copy = dump ? arena_text(arena, slice_text(dump)) : NULL;
  free(dump);
  json_decref(object);
  if (copy) *text = slice_text(copy);
  return copy || (made && error_set(error, ERROR_MEMORY, "There is no memory for how pictures are cut."));
}
