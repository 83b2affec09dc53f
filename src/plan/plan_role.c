/* What a plan's role asks of it, and of another that it works for: a decoder takes tokens, an encoder of images takes
 * patches and keeps nothing, an encoder of texts takes tokens and keeps nothing. */
#include "base/limits.h"
#include "plan/plan.h"

/* Every token's index in its sequence has a row, in each table of positions. */
static bool positions_fit(const struct plan *p) {
  for (int i = 0; i < p->n_op; i++) {
    const struct op *op = plan_ops(p) + i;
    if (op->kind != OP_EMBED || op->args.embed.source != EMBED_POSITIONS) continue;
    bool plain = !plan_has_axes(p) && op->weight[1] == -1 && op->args.embed.axis == 0;
    if (!plain || plan_weights(p)[op->weight[0]].rows - op->args.embed.skip < p->max_position) return false;
  }
  return true;
}

/* An output is one token: of every select. */
static bool selects_single(const struct plan *p) {
  for (int i = 0; i < p->n_op; i++) {
    const struct op *op = plan_ops(p) + i;
    if (op->kind != OP_SELECT) continue;
    if (op->args.select.mean > 1 || plan_values(p)[op->out].cols != plan_values(p)[op->in[0]].cols) return false;
  }
  return true;
}

/* Ops of a decoder that read what only batches of encoders have. */
static bool decoder_check(const struct plan *p, struct error *error) {
  const struct plan_vision none = {0};
  if (!positions_fit(p))
    return error_set(error, ERROR_FORMAT, "The plan's table of positions does not have a row for each of the %d.",
                     p->max_position);
  if (!plan_embed(p, EMBED_PATCHES) && selects_single(p) && memcmp(&p->vision, &none, sizeof none) == 0) return true;
  return error_set(error, ERROR_FORMAT, "The plan of a decoder embeds patches, or joins tokens.");
}

static bool vision_sizes_valid(const struct plan_vision *v) {
  bool any = v->sizes == SIZES_ANY;
  return v->channels >= 1 && v->channels <= PLAN_CHANNELS && v->patch >= 1 && v->patch <= PLAN_PATCH &&
         v->frames >= 1 && v->frames <= PLAN_FRAMES && v->merge >= 1 && v->merge <= PLAN_MERGE && v->lead >= 0 &&
         v->lead <= 1 && v->keep >= 0 && v->keep <= v->lead && v->grid >= v->merge &&
         v->grid <= (any ? PLAN_SIDE : PLAN_GRID) && v->sizes >= SIZES_ONE && v->sizes <= SIZES_ANY &&
         v->text >= TEXT_MARKS && v->text < IMAGE_TEXTS && v->mark >= 0 && v->mark < LIMIT_VOCAB &&
         (any ? v->area >= v->merge * v->merge && v->area <= PLAN_AREA : v->area == v->grid * v->grid);
}

/* Windows are whole squares; a token that is kept joins no others; a row behind lines is as wide as the others. */
static bool vision_extras_valid(const struct plan *p) {
  const struct plan_vision *v = &p->vision;
  bool window = v->window >= 0 && v->window <= PLAN_SIDE && v->window % v->merge == 0;
  bool kept = !v->keep || v->merge == 1, flags = (v->mutual | 1) == 1 && (v->axes | 1) == 1;
  if (!window || !kept || !flags || plan_has_spans(p) != (v->window > 0)) return false;
  if (v->breaks == -1) return true;
  return v->breaks >= 0 && v->breaks < p->n_weight && plan_weights(p)[v->breaks].use == WEIGHT_VECTOR &&
         plan_weights(p)[v->breaks].cols == plan_values(p)[plan_result(p)].cols;
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
  if (!vision_extras_valid(p))
    return error_set(error, ERROR_FORMAT,
                     "The plan has windows of %d patches, keeps %d of %d tokens, has weight %d behind lines: they do "
                     "not fit its ops.",
                     v->window, v->keep, v->lead, v->breaks);
  int most = v->sizes == SIZES_ANY ? v->area : v->grid * v->grid;
  bool fits = patches && plan_values(p)[patches->out].cols == v->channels * v->frames * v->patch * v->patch &&
              plan_merged(p) == v->merge * v->merge && op_counted(p, OP_SELECT, 1) && op_counted(p, OP_SAMPLE, 0) &&
              p->n_group == 0 && !plan_embed(p, EMBED_TOKENS) && p->max_position == v->lead + most;
  for (int i = 0; positions && i < p->n_op; i++) {
    const struct op *op = plan_ops(p) + i;
    if (op->kind != OP_EMBED || op->args.embed.source != EMBED_POSITIONS) continue;
    fits = fits && v->sizes != SIZES_ANY && plan_weights(p)[op->weight[0]].rows == p->max_position;
  }
  if (fits && plan_values(p)[plan_result(p)].rows == ROWS_OUTPUTS) return true;
  return error_set(error, ERROR_FORMAT,
                   "The plan's ops do not take patches of %d × %d pixels to outputs of %d × %d patches, or they keep "
                   "keys and values, or sample.",
                   v->patch, v->patch, v->merge, v->merge);
}

/* Tables by place hold every place that a text may have, and nothing is added to them; an output is one token's or one
 * row's. */
static bool encoder_check(const struct plan *p, struct error *error) {
  const struct plan_vision none = {0};
  bool fits = plan_embed(p, EMBED_TOKENS) && !plan_embed(p, EMBED_PATCHES) && op_counted(p, OP_SELECT, 1) &&
              op_counted(p, OP_SAMPLE, 0) && p->n_group == 0 && plan_merged(p) == 1 && !plan_has_axes(p) &&
              memcmp(&p->vision, &none, sizeof none) == 0;
  for (int i = 0; fits && i < p->n_op; i++) {
    const struct op *op = plan_ops(p) + i;
    bool placed = op->kind == OP_EMBED && op->args.embed.source == EMBED_POSITIONS && op->args.embed.axis == 0;
    if (placed) fits = plan_weights(p)[op->weight[0]].rows - op->args.embed.skip >= p->max_position;
    if (op->kind == OP_EMBED && op->weight[1] != -1) fits = false;
  }
  enum { VECTOR_MOST = LIMIT_INBOX_BYTES / 4 / (int)sizeof(float) }; /* an event is half an inbox at most */
  fits = fits && plan_values(p)[plan_result(p)].cols <= VECTOR_MOST;
  if (fits && plan_values(p)[plan_result(p)].rows == ROWS_OUTPUTS) return true;
  return error_set(error, ERROR_FORMAT,
                   "The plan's ops do not take tokens of texts of up to %d to an output for each text, or they keep "
                   "keys and values, or sample.",
                   p->max_position);
}

bool plan_vision_fits(const struct plan *decoder, const struct plan *vision, struct error *error) {
  int width = plan_values(vision)[plan_result(vision)].cols, mark = vision->vision.mark;
  if (width != decoder->hidden)
    return error_set(error, ERROR_INVALID, "Images become rows of %d numbers, and the decoder takes %d.", width,
                     decoder->hidden);
  if (vision->vision.axes && !plan_has_axes(decoder))
    return error_set(error, ERROR_INVALID, "Images have lines and columns, and the decoder's rotation has one axis.");
  if (mark < decoder->vocab) return true;
  return error_set(error, ERROR_INVALID, "The token that stands for images is %d, expected one of the vocabulary's %d.",
                   mark, decoder->vocab);
}

bool plan_check_role(const struct plan *plan, struct error *error) {
  if (plan->role == PLAN_ENCODER) return encoder_check(plan, error);
  return plan->role == PLAN_DECODER ? decoder_check(plan, error) : vision_check(plan, error);
}
