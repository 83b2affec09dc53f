/* Linears with what the kernels that multiply do not do: norms with a mean before the product; behind it activations
 * beyond SiLU and GELU by tanh, gates with a limit, norms with a mean, norms of sums. Kernels of rows (row_kernels.h)
 * do that before and after them. */
#include "backend/cuda/cuda_program.h"

_Static_assert((int)CURVE_TANH == (int)ACT_TANH && (int)CURVE_RELU == (int)ACT_RELU,
               "kernels know the plan's numbers by other names");
_Static_assert(ACT_RELU + 1 == N_ACT, "a new activation needs a curve in row_ends.cuh, which takes others for SiLU");

/* Tokens of a norm with a mean as the product takes them: in 16 bits where matrix units multiply, in floats elsewhere,
 * and where the shrink of adapters reads them first. Tokens of 8 bits are rounded with a scale of their own. */
static void layer_norm_run(struct program *p, const struct op *op, struct cuda_linear *a) {
  const struct linear_args *args = &op->args.linear;
  struct cuda_norm norm = {.kind = args->norm, .eps = args->eps, .weight = cuda_vector(p, op->weight[2])};
  bool ready = p->device->path->chained && cuda_linear_takes(p, op, a->n_row) &&
               !cuda_linear_shrinks(p, op, a->n_row) && !cuda_linear_bytes_fit(p->device->path, p->plan, op);
  p->ready = ready ? op : NULL;
  if (ready) {
    cuda_layer_prepare(a, &norm, cuda_linear_tiles(p, op, a->n_row), p->device->stream);
  } else {
    cuda_image_norm(a->in, a->n_row, a->in_cols, a->matrix.cols, &norm, p->prepared, p->device->stream);
    a->in = p->prepared, a->in_cols = a->matrix.cols;
  }
  a->norm = NULL, a->has_norm = false;
}

/* Products with their bias alone. */
static void products_leave(const struct program *p, struct cuda_linear *a) {
  a->out = p->ended, a->out_cols = a->result_cols = a->matrix.rows;
  a->residual = a->post_norm = NULL;
  a->act = a->gated = a->multiply = a->has_post_norm = 0;
  a->factor = 1, a->softcap = 0;
}

void cuda_apart_run(struct program *p, const struct op *op, const struct cuda_linear *linear) {
  const struct linear_args *args = &op->args.linear;
  struct cuda_linear a = *linear, ends = *linear;
  struct cuda_norm norm = {.kind = args->post_norm, .eps = args->post_eps, .weight = linear->post_norm};
  bool apart = cuda_linear_ends_apart(op);
  if (args->norm == NORM_LAYER) layer_norm_run(p, op, &a);
  if (apart) products_leave(p, &a);
  cuda_linear_multiply(p, op, &a);
  ends.product = p->ended;
  struct cuda_gate gate = {args->limit, args->up_add};
  if (apart) cuda_linear_end(&ends, &norm, args->post_sum, gate, p->device->stream);
}
