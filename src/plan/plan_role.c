/* What a plan's role asks of it, and of another that it works for: a decoder takes tokens, an encoder of images takes
 * patches and keeps nothing. */
#include "base/limits.h"
#include "plan/plan.h"

/* Ops of a decoder that read what only batches of encoders have. */
static bool decoder_check(const struct plan *p, struct error *error) {
  const struct plan_vision none = {0};
  if (!plan_embed(p, EMBED_PATCHES) && !plan_embed(p, EMBED_POSITIONS) && plan_merged(p) == 1 &&
      memcmp(&p->vision, &none, sizeof none) == 0)
    return true;
  return error_set(error, ERROR_FORMAT, "The plan of a decoder embeds patches or positions, or joins tokens.");
}

static bool vision_sizes_valid(const struct plan_vision *v) {
  return v->channels >= 1 && v->channels <= PLAN_CHANNELS && v->patch >= 1 && v->patch <= PLAN_PATCH && v->merge >= 1 &&
         v->merge <= PLAN_MERGE && v->lead >= 0 && v->lead <= 1 && v->grid >= v->merge && v->grid <= PLAN_GRID &&
         v->stretch >= 0 && v->stretch <= 1 && v->mark >= 0 && v->mark < LIMIT_VOCAB;
}

/* Whether a kind of op is there n times. */
static bool op_counted(const struct plan *p, enum op_kind kind, int n) {
  for (int i = 0; i < p->n_op; i++) n -= plan_ops(p)[i].kind == (int32_t)kind;
  return n == 0;
}

static bool vision_check(const struct plan *p, struct error *error) {
  const struct plan_vision *v = &p->vision;
  const struct op *patches = plan_embed(p, EMBED_PATCHES), *positions = plan_embed(p, EMBED_POSITIONS);
  if (!vision_sizes_valid(v))
    return error_set(error, ERROR_FORMAT,
                     "The plan sees images of %d channels in patches of %d, %d × %d of them merged, %d before them, on "
                     "a grid of %d: out of range.",
                     v->channels, v->patch, v->merge, v->merge, v->lead, v->grid);
  bool fits = patches && plan_values(p)[patches->out].cols == v->channels * v->patch * v->patch &&
              plan_merged(p) == v->merge * v->merge && op_counted(p, OP_SELECT, 1) && op_counted(p, OP_SAMPLE, 0) &&
              p->n_group == 0 && !plan_embed(p, EMBED_TOKENS) && p->max_position == v->lead + v->grid * v->grid;
  if (positions) fits = fits && plan_weights(p)[positions->weight[0]].rows == p->max_position;
  if (fits && plan_values(p)[plan_result(p)].rows == ROWS_OUTPUTS) return true;
  return error_set(error, ERROR_FORMAT,
                   "The plan's ops do not take patches of %d × %d pixels to outputs of %d × %d patches, or they keep "
                   "keys and values, or sample.",
                   v->patch, v->patch, v->merge, v->merge);
}

bool plan_vision_fits(const struct plan *decoder, const struct plan *vision, struct error *error) {
  int width = plan_values(vision)[plan_result(vision)].cols, mark = vision->vision.mark;
  if (width != decoder->hidden)
    return error_set(error, ERROR_INVALID, "Images become rows of %d numbers, and the decoder takes %d.", width,
                     decoder->hidden);
  if (mark < decoder->vocab) return true;
  return error_set(error, ERROR_INVALID, "The token that stands for images is %d, expected one of the vocabulary's %d.",
                   mark, decoder->vocab);
}

bool plan_check_role(const struct plan *plan, struct error *error) {
  return plan->role == PLAN_DECODER ? decoder_check(plan, error) : vision_check(plan, error);
}
