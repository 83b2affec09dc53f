/* The CPU backend's table: opening the device, and what it says about plans. Packing is in cpu_pack.c, programs in
 * cpu_compile.c, steps in cpu_step.c. */
#include "backend/backends.h"
#include "backend/cpu/cpu_program.h"
#include "backend/cpu/cpu_rates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void cpu_close(struct device *device) {
  if (!device) return;
  team_close(device->team);
  free(device->tactic_cache);
  free(device);
}

static bool device_init(struct device *device, const struct device_options *options, struct error *error) {
  device->kernels = kernel_set_choose(options->isa, error);
  if (!device->kernels) return false;
  device->team = team_open(options->n_thread, error);
  if (!device->team) return false;
  if (options->tactic_cache && !(device->tactic_cache = strdup(options->tactic_cache)))
    return error_set(error, ERROR_MEMORY, "There is no memory for a path.");
  int n = team_size(device->team);
  snprintf(device->description, sizeof device->description, "cpu: %s kernels, %d thread%s", device->kernels->name, n,
           n == 1 ? "" : "s");
  return true;
}

static struct device *cpu_open(const struct device_options *options, struct error *error) {
  struct device *device = calloc(1, sizeof *device);
  if (!device) {
    error_set(error, ERROR_MEMORY, "There is no memory for a device.");
    return NULL;
  }
  if (device_init(device, options, error)) return device;
  cpu_close(device);
  return NULL;
}

static const char *cpu_describe(const struct device *device) { return device->description; }

static const char *cpu_kernels(const struct device *device) { return device->kernels->name; }

/* Floats need no copies as such, and what lasts a step saves no memory by half of them. */
static uint8_t cpu_kv_best(const struct device *device, int32_t block_size, bool kept) {
  if (device->kernels->attend.pairs && block_size >= KV_PAIRED_COLS) return KV_BF16;
  return kept ? KV_F16 : KV_F32;
}

/* Each thread's rows of what an encoder's layer works on, some KiB each, should fit its second-level cache. */
static int32_t cpu_text_tokens(const struct device *device) {
  enum { LEAST = 256, THREAD_ROWS = 128 };
  int32_t rows = THREAD_ROWS * team_size(device->team);
  return rows > LEAST ? rows : LEAST;
}

static bool cpu_rates(struct device *device, struct machine_rates *rates, struct error *error) {
  return cpu_rates_measure(device->team, rates, error);
}

/* --- what runs ---------------------------------------------------------------------------------------------------- */

static bool op_unsupported(const struct plan *plan, int index, const char *what, struct error *error) {
  const struct op *op = plan_ops(plan) + index;
  return error_set(error, ERROR_UNSUPPORTED, "The cpu backend cannot run op %d (%s, layer %d): %s.", index,
                   op_kind_name(op->kind), op->layer, what);
}

static bool cpu_supports(const struct plan *plan, int index, struct error *error) {
  const struct op *op = plan_ops(plan) + index;
  if ((op->kind == OP_EMBED || op->kind == OP_LINEAR) && op->weight[0] >= 0) {
    const struct weight *weight = plan_weights(plan) + op->weight[0];
    struct error why;
    if (!scheme_check(&weight->scheme, &why)) return op_unsupported(plan, index, why.text, error);
  }
  if (op->kind == OP_LINEAR) {
    const struct linear_args *args = &op->args.linear;
    if (args->norm != NORM_NONE && op->weight[2] < 0)
      return op_unsupported(plan, index, "its norm has no weight", error);
    if (args->post_norm != NORM_NONE && op->weight[3] < 0)
      return op_unsupported(plan, index, "its post norm has no weight", error);
  }
  return true;
}

static bool cpu_emulates(const struct scheme *scheme) { return scheme->kind == SCHEME_F8; }

/* Why an op is slower than it could be; NULL when it is not. */
static const char *op_fallback(const struct device *device, const struct plan *plan, const struct op *op) {
  if (strcmp(device->kernels->name, "scalar") == 0 && (op->kind == OP_LINEAR || op->kind == OP_ATTEND))
    return "portable kernels";
  if (op->kind == OP_LINEAR) {
    const struct scheme *scheme = &plan_weights(plan)[op->weight[0]].scheme;
    if (scheme->kind == SCHEME_INT && scheme->activation == ACTIVATION_FLOAT)
      return "integer weights with float activations";
    if (cpu_emulates(scheme)) return "E4M3 emulated in single precision";
  }
  if (op->kind == OP_ATTEND && op->args.attend.dim_v % ATTEND_LANES) return "head size that fills no vector";
  return NULL;
}

static void cpu_fallbacks(const struct device *device, const struct plan *plan, const struct limits *limits,
                          struct buffer *out) {
  (void)limits; /* all types of caches have kernels of their own */
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    const char *why = op_fallback(device, plan, op);
    if (why) buffer_print(out, "op %d (%s, layer %d): %s\n", i, op_kind_name(op->kind), op->layer, why);
  }
}

static size_t cpu_strip_bytes(const struct weight *weight) { return cpu_layout_of(weight).tile_bytes; }

static void cpu_weight_row(const struct weight *weight, struct slice packed, int row, float *out) {
  struct cpu_layout layout = cpu_layout_of(weight);
  cpu_unpack_row(&layout, packed.data, row, out);
}

static void cpu_release_cache(struct program *program) {
  for (int i = 0; i < program->plan->n_group; i++) kv_cache_forget(&program->cache[i]);
}

const struct backend backend_cpu = {
    .name = "cpu",
    .target = TARGET_CPU,
    .run_ahead = 0,
    .pack_rows = TILE_ROWS,
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .kernels = cpu_kernels,
    .kv_best = cpu_kv_best,
    .text_tokens = cpu_text_tokens,
    .rates = cpu_rates,
    .supports = cpu_supports,
    .emulates = cpu_emulates,
    .fallbacks = cpu_fallbacks,
    .strip_bytes = cpu_strip_bytes,
    .pack = cpu_pack_tile,
    .unpack_row = cpu_weight_row,
    .measure = cpu_measure,
    .compile = cpu_compile,
    .load = cpu_load,
    .release = cpu_release,
    .adapter_load = cpu_adapter_load,
    .expert_adapters = true,
    .pool_fill = cpu_pool_fill,
    .release_cache = cpu_release_cache,
    .advance = cpu_advance,
    .submit = cpu_submit,
    .finish = cpu_finish,
    .collect = cpu_collect,
};
