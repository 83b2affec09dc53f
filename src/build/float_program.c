/* Programs over floats in memory, and products as such programs. */
#include "build/float_program.h"

#include "backend/backends.h"
#include "plan/plan_builder.h"

#include <stdlib.h>

enum { BLOCK_TOKENS = 16, WEIGHT_ALIGN = 4096, STEP_ROWS = 512, PRODUCT_PLAN_BYTES = 1 << 16 };

/* --- the device --------------------------------------------------------------------------------------------------- */

bool float_device_open(struct float_device *device, const struct backend *backend, int n_thread, struct error *error) {
  bool usable = backend->open && (!backend->present || backend->present(NULL));
  *device = (struct float_device){.backend = usable ? backend : &backend_cpu};
  device->device = device->backend->open(&(struct device_options){.n_thread = n_thread}, error);
  return device->device != NULL;
}

void float_device_close(struct float_device *device) {
  if (device->device) device->backend->close(device->device);
  device->device = NULL;
}

/* --- programs ----------------------------------------------------------------------------------------------------- */

static int blocks_of(int rows) { return (rows + BLOCK_TOKENS - 1) / BLOCK_TOKENS; }

static struct limits limits_make(const struct plan *plan, int rows) {
  struct limits limits = {.seats = 1,
                          .tokens = rows,
                          .outputs = rows,
                          .length = rows,
                          .opt_batch = 1,
                          .block_size = BLOCK_TOKENS,
                          .kv_dtype = KV_F32};
  for (int i = 0; i < plan->n_group; i++) limits.n_block[i] = (uint32_t)blocks_of(rows);
  return limits;
}

static bool arrays_alloc(struct float_program *p, int rows) {
  p->packed = calloc((size_t)p->plan->n_weight + 1, sizeof *p->packed);
  p->blocks = calloc((size_t)blocks_of(rows), sizeof *p->blocks);
  p->token = calloc((size_t)rows, sizeof *p->token);
  p->out = calloc((size_t)rows, sizeof *p->out);
  p->sampling = calloc((size_t)rows, sizeof *p->sampling);
  if (!p->packed || !p->blocks || !p->token || !p->out || !p->sampling) return false;
  for (int i = 0; i < blocks_of(rows); i++) p->blocks[i] = (uint32_t)i;
  for (int i = 0; i < p->plan->n_group; i++) {
    p->row.block[i] = p->blocks;
    p->row.n_block[i] = blocks_of(rows);
  }
  for (int i = 0; i < rows; i++) {
    p->out[i] = i;
    p->sampling[i] = (struct sampling){.top_p = 1};
  }
  return true;
}

bool float_program_open(struct float_program *program, const struct float_device *device, const struct plan *plan,
                        int rows, struct error *error) {
  *program = (struct float_program){.device = device, .plan = plan, .limits = limits_make(plan, rows)};
  if (!arrays_alloc(program, rows)) return error_set(error, ERROR_MEMORY, "Out of memory for steps of %d rows.", rows);
  for (int i = 0; i < plan->n_op; i++)
    if (!device->backend->supports(plan, i, error)) return error_prefix(error, "Calibration needs F32 weights: ");
  program->program = device->backend->compile(device->device, plan, &program->limits, error);
  return program->program != NULL;
}

void float_program_close(struct float_program *program) {
  if (program->program) program->device->backend->release(program->program);
  for (int i = 0; program->packed && i < program->plan->n_weight; i++) free(program->packed[i]);
  free(program->packed);
  free(program->blocks);
  free(program->token);
  free(program->out);
  free(program->sampling);
  *program = (struct float_program){0};
}

/* One matrix; of experts, of which each is packed by itself, the next of them. */
static void matrix_pack(const struct backend *backend, const struct weight *weight, const float *values,
                        uint8_t *packed) {
  size_t strip_bytes = backend->strip_bytes(weight);
  for (int row = 0; row < weight->rows; row += backend->pack_rows, packed += strip_bytes) {
    int rest = weight->rows - row, count = rest < backend->pack_rows ? rest : backend->pack_rows;
    struct codes codes = {.scheme = weight->scheme,
                          .rows = count,
                          .cols = weight->cols,
                          .dense = values + (size_t)row * (size_t)weight->cols};
    backend->pack(weight, &codes, packed);
  }
}

bool float_program_store(struct float_program *program, int index, const float *values, struct error *error) {
  const struct backend *backend = program->device->backend;
  const struct weight *weight = plan_weights(program->plan) + index;
  size_t bytes = backend_packed_bytes(backend, weight);
  uint8_t **packed = &program->packed[index];
  if (!*packed) *packed = aligned_alloc(WEIGHT_ALIGN, (bytes + WEIGHT_ALIGN - 1) / WEIGHT_ALIGN * WEIGHT_ALIGN);
  if (!*packed) return error_set(error, ERROR_MEMORY, "Out of memory for a weight of %zu bytes.", bytes);
  if (weight->use == WEIGHT_VECTOR)
    memcpy(*packed, values, bytes);
  else
    for (int e = 0, n = weight_experts(weight); e < n; e++)
      matrix_pack(backend, weight, values + (size_t)e * (size_t)weight->rows * (size_t)weight->cols,
                  *packed + (size_t)e * (bytes / (size_t)n));
  return backend->load(program->program, index, slice_make(*packed, bytes), error);
}

static bool device_report(const struct float_device *device, struct error *error) {
  return !device->progress || progress_report(device->progress, "calibrate", device->done, device->total, error);
}

const float *float_program_run(struct float_program *program, int first, int count, struct error *error) {
  const struct backend *backend = program->device->backend;
  if (!device_report(program->device, error)) return NULL;
  struct result result = {0};
  struct batch batch = {.n_row = 1,
                        .n_token = count,
                        .n_out = count,
                        .row = &program->row,
                        .token = program->token,
                        .out = program->out,
                        .sampling = program->sampling,
                        .want_logits = true};
  for (int i = 0; i < count; i++) program->token[i] = first + i;
  program->row.count = count;
  bool done = backend->submit(program->program, &batch, error) && backend->finish(program->program, NULL, error) &&
              backend->collect(program->program, &result, error);
  return done ? result.logits : NULL;
}

/* --- products ----------------------------------------------------------------------------------------------------- */

/* Table → select → linear. */
static bool product_plan(struct buffer *block, int rows_a, int rows_b, int cols, struct error *error) {
  struct plan_builder builder;
  struct op embed = op_make(OP_EMBED, -1), select = op_make(OP_SELECT, -1), linear = op_make(OP_LINEAR, -1);
  plan_builder_init(&builder, PLAN_DECODER);
  builder.head.vocab = rows_a;
  builder.head.hidden = cols;
  builder.head.max_position = rows_a;
  embed.weight[0] = plan_add_matrix(&builder, "a", (const char *[]){"a"}, &rows_a, 1, cols, false);
  linear.weight[0] = plan_add_matrix(&builder, "b", (const char *[]){"b"}, &rows_b, 1, cols, false);
  embed.out = select.in[0] = plan_add_value(&builder, cols, ROWS_TOKENS);
  select.out = linear.in[0] = plan_add_value(&builder, cols, ROWS_OUTPUTS);
  linear.out = plan_add_value(&builder, rows_b, ROWS_OUTPUTS);
  plan_add_op(&builder, &embed);
  plan_add_op(&builder, &select);
  plan_add_op(&builder, &linear);
  bool made = plan_finish(&builder, block, error);
  plan_builder_release(&builder);
  return made;
}

bool float_product_open(struct float_product *product, const struct float_device *device, int rows_a, int rows_b,
                        int cols, struct error *error) {
  *product = (struct float_product){
      .rows_a = rows_a, .rows_b = rows_b, .cols = cols, .step_rows = rows_a < STEP_ROWS ? rows_a : STEP_ROWS};
  buffer_init(&product->block, PRODUCT_PLAN_BYTES);
  return product_plan(&product->block, rows_a, rows_b, cols, error) &&
         float_program_open(&product->program, device, (const struct plan *)(const void *)product->block.data,
                            product->step_rows, error);
}

void float_product_close(struct float_product *product) {
  if (product->program.plan) float_program_close(&product->program);
  buffer_release(&product->block);
}

bool float_product_a(struct float_product *product, const float *a, struct error *error) {
  return float_program_store(&product->program, 0, a, error);
}

bool float_product_b(struct float_product *product, const float *b, struct error *error) {
  return float_program_store(&product->program, 1, b, error);
}

const float *float_product_rows(struct float_product *product, int first, int count, struct error *error) {
  return float_program_run(&product->program, first, count, error);
}
