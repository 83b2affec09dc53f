/* Adapters of experts in slots, and what a step's kernels are told of them. An adapter's factors of experts lie one
 * after the other in memory that is taken when it comes, and each slot has a table of where those of each expert are:
 * kernels read the table, so that a graph serves whatever is in the slots. */
#include "backend/cuda/cuda_adapted.h"
#include "backend/cuda/cuda_check.h"

#include <stdlib.h>
#include <string.h>

bool cuda_experts_take(struct program *p, struct error *error) {
  struct cuda_adapters *a = &p->adapters;
  a->n_expert = cuda_adapter_experts(p->plan);
  if (a->n_expert == 0) return true;
  size_t sites = (size_t)p->limits.adapters * (size_t)a->n_expert;
  a->expert_factors = calloc((size_t)p->limits.adapters, sizeof *a->expert_factors);
  if (!a->expert_factors)
    return error_set(error, ERROR_MEMORY, "There is no memory for tables of %d adapters.", p->limits.adapters);
  return cuda_check(cudaMemsetAsync(a->expert, 0, sites * sizeof *a->expert, a->stream), "clearing the workspace",
                    error) &&
         cuda_pin(&a->expert_row, (size_t)a->n_expert * sizeof *a->expert_row, error);
}

void cuda_experts_release(struct program *p) {
  struct cuda_adapters *a = &p->adapters;
  for (int i = 0; a->expert_factors && i < p->limits.adapters; i++) cudaFree(a->expert_factors[i]);
  free(a->expert_factors);
  cudaFreeHost(a->expert_row);
}

static bool of_experts(const struct program *p, const struct adapter_op *op) {
  return cuda_op_has_experts(plan_ops(p->plan) + op->op);
}

/* Adapters that are read have none of these. */
bool cuda_experts_check(const struct program *p, const struct adapter *adapter, struct error *error) {
  for (int i = 0; adapter && i < adapter->n_op; i++) {
    const struct adapter_op *op = &adapter->op[i];
    if (of_experts(p, op) && (op->shift || op->magnitude))
      return error_set(
          error, ERROR_UNSUPPORTED,
          "The adapter has a bias or a magnitude (DoRA) of expert %d of op %d; a GPU takes factors alone of "
          "experts.",
          op->expert, op->op);
  }
  return true;
}

/* In the order of the adapter's ops. */
static size_t factors_bytes(const struct program *p, const struct adapter *adapter) {
  size_t used = 0;
  for (int i = 0; adapter && i < adapter->n_op; i++)
    if (of_experts(p, &adapter->op[i])) cuda_adapter_expert_lay(p->plan, &adapter->op[i], &used);
  return used;
}

/* By the stream, so that no step waits. */
bool cuda_experts_room(struct program *p, int slot, const struct adapter *adapter, struct error *error) {
  struct cuda_adapters *a = &p->adapters;
  size_t bytes = factors_bytes(p, adapter);
  if (a->n_expert == 0) return true;
  void *room = a->expert_factors[slot];
  if (room && !cuda_check(cudaFreeAsync(room, a->stream), "emptying an adapter's slot", error)) return false;
  a->expert_factors[slot] = NULL;
  if (bytes == 0) return true;
  cudaError_t status = cudaMallocAsync(&room, bytes, a->stream);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError(); /* whose steps are this thread's would come upon it */
    return error_set(error, ERROR_MEMORY,
                     "The adapter's factors of experts take %zu MiB of the GPU's memory, and there is no such room "
                     "left: leave more of it free (a smaller --free-gpu-memory-fraction or --kv-cache-memory), or have "
                     "fewer slots (--max-loras).",
                     (bytes >> 20) + 1);
  }
  if (!cuda_check(status, "allocating an adapter's factors of experts", error)) return false;
  a->expert_factors[slot] = room;
  return true;
}

int cuda_experts_jobs(struct program *p, int slot, const struct adapter *adapter, struct cuda_adapter_pack *packs,
                      struct upload_job *jobs) {
  struct cuda_adapters *a = &p->adapters;
  size_t used = 0;
  int n = 0;
  if (a->n_expert > 0) memset(a->expert_row, 0, (size_t)a->n_expert * sizeof *a->expert_row);
  for (int i = 0; adapter && i < adapter->n_op; i++) {
    const struct adapter_op *op = &adapter->op[i];
    if (!of_experts(p, op)) continue;
    struct cuda_adapter_place place = cuda_adapter_expert_lay(p->plan, op, &used);
    uint8_t *room = a->expert_factors[slot];
    a->expert_row[a->place[op->op].expert + op->expert] =
        (struct cuda_expert_site){room + place.a, room + place.b, cuda_adapter_rank(op->rank)};
    n += cuda_adapter_jobs(p->plan, op, &place, room, packs + 2 * i, jobs + n);
  }
  return n;
}

struct cuda_expert_adapters cuda_expert_adapters_of(const struct program *p, const struct op *op, int first) {
  const struct cuda_adapters *a = &p->adapters;
  const struct linear_args *args = &op->args.linear;
  return (struct cuda_expert_adapters){
      .factors = cuda_adapter_factors_of(p, op),
      .site = a->expert + a->place[op - plan_ops(p->plan)].expert,
      .use = p->experts_adapted ? a->tokens.use + (size_t)first * USES : NULL,
      .h = a->h,
      .norm = {.kind = args->norm, .eps = args->eps, .weight = cuda_vector(p, op->weight[2])},
      .n_site = a->n_expert};
}
