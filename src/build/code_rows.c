/* Memory for rows of codes. */
#include "build/code_rows.h"

static void arrays_alloc(struct code_rows *r) {
  const struct scheme *s = &r->scheme;
  size_t rows = (size_t)r->capacity, elements = rows * (size_t)r->cols;
  if (scheme_is_plain(s)) {
    r->dense = arena_array(&r->arena, elements, (size_t)scheme_element(s));
    return;
  }
  size_t groups = rows * (size_t)code_rows_groups(r), supers = rows * (size_t)code_rows_supers(r);
  r->code = arena_array(&r->arena, elements, 1);
  if (s->scale == SCALE_TWO_LEVEL) {
    r->sub = arena_array(&r->arena, groups, sizeof *r->sub);
    r->super = arena_array(&r->arena, supers, sizeof *r->super);
    if (s->has_min) r->sub_min = arena_array(&r->arena, groups, sizeof *r->sub_min);
    if (s->has_min) r->super_min = arena_array(&r->arena, supers, sizeof *r->super_min);
  } else {
    r->scale = arena_array(&r->arena, groups, sizeof *r->scale);
    if (s->has_min) r->min = arena_array(&r->arena, groups, sizeof *r->min);
  }
}

static bool arrays_complete(const struct code_rows *r) {
  const struct scheme *s = &r->scheme;
  if (scheme_is_plain(s)) return r->dense;
  if (s->scale == SCALE_TWO_LEVEL)
    return r->code && r->sub && r->super && (!s->has_min || (r->sub_min && r->super_min));
  return r->code && r->scale && (!s->has_min || r->min);
}

bool code_rows_init(struct code_rows *rows, const struct scheme *scheme, int capacity, int cols, struct error *error) {
  *rows = (struct code_rows){.scheme = *scheme, .capacity = capacity, .cols = cols};
  arena_init(&rows->arena, SIZE_MAX);
  arrays_alloc(rows);
  if (arrays_complete(rows)) return true;
  code_rows_release(rows);
  return error_set(error, ERROR_MEMORY, "Out of memory for %d rows of %d columns.", capacity, cols);
}

void code_rows_release(struct code_rows *rows) { arena_release(&rows->arena); }

/* Clears `count` elements of `size` bytes that belong to a row of an array that may be absent. */
static void row_clear(void *array, int row, int count, size_t size) {
  if (array) memset((char *)array + (size_t)row * (size_t)count * size, 0, (size_t)count * size);
}

void code_rows_clear(struct code_rows *r, int row) {
  row_clear(r->dense, row, r->cols, (size_t)scheme_element(&r->scheme));
  if (scheme_is_plain(&r->scheme)) return;
  int groups = code_rows_groups(r), supers = code_rows_supers(r);
  row_clear(r->code, row, r->cols, 1);
  row_clear(r->scale, row, groups, sizeof *r->scale);
  row_clear(r->min, row, groups, sizeof *r->min);
  row_clear(r->sub, row, groups, sizeof *r->sub);
  row_clear(r->sub_min, row, groups, sizeof *r->sub_min);
  row_clear(r->super, row, supers, sizeof *r->super);
  row_clear(r->super_min, row, supers, sizeof *r->super_min);
}

struct codes code_rows_view(const struct code_rows *r, int count) {
  return (struct codes){.scheme = r->scheme,
                        .rows = count,
                        .cols = r->cols,
                        .dense = r->dense,
                        .code = r->code,
                        .scale = r->scale,
                        .min = r->min,
                        .sub = r->sub,
                        .sub_min = r->sub_min,
                        .super = r->super,
                        .super_min = r->super_min};
}

void code_rows_floats(const struct code_rows *r, int row, float *out) {
  const struct scheme *s = &r->scheme;
  struct codes codes = code_rows_view(r, r->capacity);
  if (s->kind != SCHEME_INT || s->scale == SCALE_TWO_LEVEL || s->codebook) {
    for (int i = 0; i < r->cols; i++) out[i] = (float)codes_value(&codes, row, i);
    return;
  }
  const uint8_t *code = r->code + (size_t)row * (size_t)r->cols;
  for (int i = 0; i < r->cols; i++) {
    size_t group = (size_t)row * (size_t)code_rows_groups(r) + (size_t)scheme_group_of(s, i);
    float min = s->has_min ? r->min[group] : -r->scale[group] * (float)(1 << (scheme_width(s) - 1));
    out[i] = r->scale[group] * (float)code[i] + min;
  }
}
