/* File types to schemes, code by code. */
#include "build/exact_codes.h"

#include "base/half.h"

/* Codes of 2, 3, 4, 5, 6 or 8 bits into a low and a high plane. */
static void planes_set(struct scheme *scheme, int bits) {
  scheme->bits = (uint8_t)(bits == 8 ? 8 : bits >= 4 ? 4 : 2);
  scheme->high_bits = (uint8_t)(bits - scheme->bits);
}

static enum codebook codebook_of(const struct ggml_code_form *form) {
  static const enum codebook codebook[] = {
      [GGML_CODEBOOK_NONE] = CODEBOOK_NONE, [GGML_CODEBOOK_IQ4] = CODEBOOK_IQ4, [GGML_CODEBOOK_E2M1] = CODEBOOK_E2M1,
      [GGML_CODEBOOK_IQ1] = CODEBOOK_IQ1,   [GGML_CODEBOOK_IQ2] = CODEBOOK_IQ2, [GGML_CODEBOOK_IQ3] = CODEBOOK_IQ3,
      [GGML_CODEBOOK_ODD] = CODEBOOK_ODD};
  return codebook[form->codebook];
}

struct scheme exact_scheme(enum tensor_type type) {
  struct ggml_code_form form;
  if (type == TENSOR_F16) return (struct scheme){.kind = SCHEME_F16};
  if (type == TENSOR_BF16) return (struct scheme){.kind = SCHEME_BF16};
  if (!ggml_code_form(type, &form)) return (struct scheme){.kind = SCHEME_F32};
  struct scheme scheme = {.kind = SCHEME_INT,
                          .scale = form.two_level      ? SCALE_TWO_LEVEL
                                   : form.scale_bfloat ? SCALE_BF16
                                                       : SCALE_F16,
                          .has_min = form.has_min,
                          .codebook = (uint8_t)codebook_of(&form),
                          .activation = ACTIVATION_INT8,
                          .group = (uint16_t)form.group};
  planes_set(&scheme, form.bits);
  return scheme;
}

/* Bits of a code once it counts up from a minimum: a codebook's entries become codes of their own. */
static int wide_bits(const struct ggml_code_form *form) { return form->codebook ? 8 : form->bits; }

bool exact_scheme_wide(enum tensor_type type, struct scheme *scheme) {
  struct ggml_code_form form;
  if (!ggml_code_form(type, &form)) return false;
  *scheme = (struct scheme){.kind = SCHEME_INT,
                            .scale = SCALE_F32,
                            .has_min = true,
                            .activation = ACTIVATION_INT8,
                            .group = (uint16_t)form.group};
  planes_set(scheme, wide_bits(&form));
  return true;
}

static bool scheme_is_wide(const struct scheme *s) {
  return s->kind == SCHEME_INT && s->scale == SCALE_F32 && s->has_min && s->group;
}

bool exact_scheme_holds(const struct scheme *scheme, enum tensor_type type) {
  struct ggml_code_form form;
  if (scheme->kind != SCHEME_INT || !ggml_code_form(type, &form)) return false;
  if (scheme_is_wide(scheme)) return wide_bits(&form) <= scheme_width(scheme) && form.group % scheme->group == 0;
  struct scheme own = exact_scheme(type);
  if (scheme->scale == SCALE_F32 && !form.two_level) own.scale = SCALE_F32;
  own.activation = scheme->activation; /* the backend's choice */
  return memcmp(&own, scheme, sizeof own) == 0;
}

bool exact_row_init(struct exact_row *row, int cols, struct error *error) {
  enum { FINEST = 16 };
  size_t groups = (size_t)cols / FINEST + 1, supers = (size_t)cols / GGML_SUPER + 1;
  *row = (struct exact_row){0};
  arena_init(&row->arena, SIZE_MAX);
  row->parts = (struct ggml_codes){.code = arena_array(&row->arena, (size_t)cols, 1),
                                   .scale = arena_array(&row->arena, groups, 2),
                                   .min = arena_array(&row->arena, groups, 2),
                                   .sub_scale = arena_array(&row->arena, groups, 1),
                                   .sub_min = arena_array(&row->arena, groups, 1),
                                   .super = arena_array(&row->arena, supers, 2),
                                   .super_min = arena_array(&row->arena, supers, 2)};
  const struct ggml_codes *p = &row->parts;
  if (p->code && p->scale && p->min && p->sub_scale && p->sub_min && p->super && p->super_min) return true;
  exact_row_release(row);
  return error_set(error, ERROR_MEMORY, "Out of memory for a row of %d columns.", cols);
}

void exact_row_release(struct exact_row *row) { arena_release(&row->arena); }

/* --- the type's own scheme -------------------------------------------------------------------------------------- */

static void two_levels_store(const struct ggml_codes *parts, struct code_rows *out, int at) {
  size_t groups = (size_t)code_rows_groups(out), supers = (size_t)code_rows_supers(out), row = (size_t)at;
  memcpy(out->sub + row * groups, parts->sub_scale, groups);
  memcpy(out->super + row * supers, parts->super, supers * sizeof *out->super);
  if (!out->scheme.has_min) return;
  memcpy(out->sub_min + row * groups, parts->sub_min, groups);
  memcpy(out->super_min + row * supers, parts->super_min, supers * sizeof *out->super_min);
}

static float scale_value(const struct ggml_code_form *form, uint16_t bits) {
  return form->scale_bfloat ? bfloat_to_float(bits) : half_to_float(bits);
}

static void own_store(const struct ggml_code_form *form, const struct ggml_codes *parts, struct code_rows *out,
                      int at) {
  memcpy(out->code + (size_t)at * (size_t)out->cols, parts->code, (size_t)out->cols);
  if (form->two_level) {
    two_levels_store(parts, out, at);
    return;
  }
  int groups = code_rows_groups(out);
  for (int g = 0; g < groups; g++) {
    out->scale[at * groups + g] = scale_value(form, parts->scale[g]);
    if (form->has_min) out->min[at * groups + g] = half_to_float(parts->min[g]);
  }
}

/* --- the wide scheme -------------------------------------------------------------------------------------------- */

/* Scale and minimum of the group that a column lies in. Exact: at most 11 × 8 bits, and powers of two. */
static void group_scale(const struct ggml_code_form *form, const struct ggml_codes *parts, int col, float *scale,
                        float *min) {
  int g = col / form->group, s = col / GGML_SUPER;
  *scale = form->two_level ? half_to_float(parts->super[s]) * parts->sub_scale[g] : scale_value(form, parts->scale[g]);
  if (form->codebook) *scale *= ggml_unit(form->codebook);
  if (form->has_min)
    *min = form->two_level ? -(half_to_float(parts->super_min[s]) * parts->sub_min[g]) : half_to_float(parts->min[g]);
  else
    *min = -*scale * (float)(form->codebook ? 128 : 1 << (form->bits - 1));
}

static void wide_store(const struct ggml_code_form *form, const struct ggml_codes *parts, struct code_rows *out,
                       int at) {
  uint8_t *code = out->code + (size_t)at * (size_t)out->cols;
  const int8_t *book = form->codebook ? ggml_codebook(form->codebook) : NULL;
  for (int col = 0; col < out->cols; col++)
    code[col] = book ? (uint8_t)(book[parts->code[col]] + 128) : parts->code[col];
  int groups = code_rows_groups(out);
  for (int g = 0; g < groups; g++)
    group_scale(form, parts, g * out->scheme.group, &out->scale[at * groups + g], &out->min[at * groups + g]);
}

void exact_row_store(struct exact_row *row, enum tensor_type type, const uint8_t *source, struct code_rows *out,
                     int at) {
  struct ggml_code_form form;
  if (!ggml_code_form(type, &form)) return;
  ggml_row_codes(type, source, (size_t)out->cols, &row->parts);
  if (scheme_is_wide(&out->scheme))
    wide_store(&form, &row->parts, out, at);
  else
    own_store(&form, &row->parts, out, at);
}
