/* Which kernel multiplies a scheme's tiles. Part of kernels_template.h. */

static tile_kernel *tile_kernel_of(const struct scheme *s) {
  static tile_kernel *const floats[] = {
      [SCHEME_F32] = float32, [SCHEME_F16] = float16, [SCHEME_BF16] = bfloat16, [SCHEME_F8] = e4m3};
  return s->kind == SCHEME_INT ? integer_kernel_of(s) : floats[s->kind];
}

/* Tiles that a kernel takes side by side, if there are as many. */
static int tiles_at_once(const struct scheme *s, int n_row) {
  if (s->kind != SCHEME_INT) return n_row == 1 ? LONE_TILES : TILES_TOGETHER;
  return n_row == 1 || s->activation == ACTIVATION_FLOAT ? 1 : TILES_TOGETHER;
}

/* Kernels that are given an end see to it, if there are more rows than one. */
static bool ends_by_panel(const struct scheme *s) { return s->kind != SCHEME_INT; }
