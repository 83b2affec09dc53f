/* Which processor fits which encoder, and what the two make of sizes. */
#include "runtime/image_form.h"

#include "engine/image_batch.h"
#include "engine/image_tiles.h"

/* --- what fits ---------------------------------------------------------------------------------------------------- */

/* A text in a prompt, how its pictures are cut, and the tokens that are written around them. */
struct text_kind {
  enum preprocess_kind kinds[2]; /* either */
  const char *place;             /* NULL: the mark itself */
  const char *tokens[2];
};

static const struct text_kind text_kinds[IMAGE_TEXTS] = {
    [TEXT_MARKS] = {{PREPROCESS_WHOLE, PREPROCESS_AREA}, NULL, {NULL}},
    [TEXT_TILES] = {{PREPROCESS_GRID, PREPROCESS_GRID}, NULL, {NULL}},
    [TEXT_SPLIT] = {{PREPROCESS_SPLIT, PREPROCESS_SPLIT}, NULL, {"<fake_token_around_image>", "<global-img>"}},
    [TEXT_PAN] = {{PREPROCESS_PAN, PREPROCESS_PAN}, "<start_of_image>", {"<start_of_image>", "<end_of_image>"}},
    [TEXT_LINES] = {{PREPROCESS_FIT, PREPROCESS_FIT}, NULL, {"[IMG_BREAK]", "[IMG_END]"}},
};

/* One that a model lacks would be letters. */
static bool token_check(const struct tokenizer *tokenizer, const char *text, struct error *error) {
  if (!text || tokenizer_find(tokenizer, slice_text(text)) >= 0) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "The model's tokenizer has no token %s, which stands in a prompt beside those of a picture.", text);
}

static bool kind_check(const struct image_form *form, struct error *error) {
  const struct text_kind *text = &text_kinds[form->vision->vision.text];
  enum preprocess_kind kind = form->config.kind;
  const struct plan_vision *v = &form->vision->vision;
  if (v->text == TEXT_TILES &&
      (v->sizes != SIZES_ONE || v->keep || v->mutual || v->axes)) /* tiles are squares in lines */
    return error_set(error, ERROR_UNSUPPORTED, "The model's encoder and its tiles do not fit each other.");
  if (kind != text->kinds[0] && kind != text->kinds[1])
    return error_set(error, ERROR_UNSUPPORTED,
                     "preprocessor_config.json cuts pictures in another way than this model's encoder takes them: it "
                     "is another model's.");
  return token_check(form->tokenizer, text->tokens[0], error) && token_check(form->tokenizer, text->tokens[1], error);
}

/* What a prompt has where a picture is to stand, as templates have it. */
static struct slice place_of(const struct image_form *form) {
  const char *place = text_kinds[form->vision->vision.text].place;
  for (int i = 0; !place && plan_marks[i]; i++)
    if (slice_is(form->mark_text, plan_marks[i])) place = plan_marks[0];
  return place ? slice_text(place) : form->mark_text;
}

/* Of encoders that see any size: blocks are theirs, and what is larger than they take is made smaller. */
static bool blocks_settle(struct image_form *form, struct error *error) {
  const struct plan_vision *v = &form->vision->vision;
  struct preprocess_config *config = &form->config;
  int32_t most = v->area * v->patch * v->patch;
  if (config->kind == PREPROCESS_FIT) config->patch_height = config->patch_width = v->patch * v->merge;
  if (config->kind != PREPROCESS_AREA) return true;
  if (config->patch_height != v->patch || config->merge != v->merge)
    return error_set(
        error, ERROR_UNSUPPORTED,
        "preprocessor_config.json has patches of %d pixels, %d × %d of which are joined; the model's encoder "
        "expects %d, %d × %d.",
        config->patch_height, config->merge, config->merge, v->patch, v->merge, v->merge);
  if (config->size.longest_edge > most) config->size.longest_edge = most;
  return true;
}

/* Where the tokenizer has both: what stands around a picture in a conversation stands around one in a prompt. */
static void around_find(struct image_form *form) {
  struct slice before = slice_text("<|vision_start|>"), behind = slice_text("<|vision_end|>");
  if (!form->vision->vision.axes || tokenizer_find(form->tokenizer, before) < 0 ||
      tokenizer_find(form->tokenizer, behind) < 0)
    return;
  form->before = before;
  form->behind = behind;
}

bool image_form_init(struct image_form *form, struct slice preprocessor, const struct plan *vision,
                     const struct tokenizer *tokenizer, struct error *error) {
  *form = (struct image_form){.vision = vision, .tokenizer = tokenizer, .mark = vision->vision.mark};
  form->mark_text = tokenizer_piece(tokenizer, form->mark);
  if (preprocessor.size == 0)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The engine was built of a model without preprocessor_config.json, which says what its pictures "
                     "become: build it again with that file beside config.json.");
  if (form->mark_text.size == 0 || tokenizer_find(tokenizer, form->mark_text) != form->mark)
    return error_set(error, ERROR_UNSUPPORTED, "The model's mark of an image, token %d, is none of its tokenizer.",
                     form->mark);
  form->place_text = place_of(form);
  around_find(form);
  return preprocess_config_parse(preprocessor, &form->config, error) && kind_check(form, error) &&
         blocks_settle(form, error);
}

/* --- sizes -------------------------------------------------------------------------------------------------------- */

static int32_t marks_count(const struct image_form *form, const struct image_shape *shape) {
  const struct image_text_shape *t = &shape->text;
  const struct image_tiles tiles = {t->rows, t->columns, t->lines, t->width, t->height};
  return form->vision->vision.text == TEXT_TILES ? image_tiles_count(&tiles) : shape->tile_rows * shape->plan.tiles;
}

bool image_form_measure(const struct image_form *form, int width, int height, struct image_shape *shape,
                        struct error *error) {
  if (!preprocess_measure(&form->config, width, height, &shape->plan, error)) return false;
  const struct preprocess_plan *plan = &shape->plan;
  int32_t unit = form->vision->vision.patch * form->vision->vision.merge;
  if (!image_batch_size_check(form->vision, plan->tile_width, plan->tile_height, error)) return false;
  shape->tile_rows = image_rows(form->vision, plan->tile_width, plan->tile_height);
  shape->tile_tokens = image_tokens(form->vision, plan->tile_width, plan->tile_height);
  shape->text = (struct image_text_shape){.rows = plan->rows,
                                          .columns = plan->columns,
                                          .lines = plan->tile_height / unit,
                                          .across = plan->tile_width / unit,
                                          .width = width,
                                          .height = height};
  shape->marks = marks_count(form, shape);
  return true;
}
