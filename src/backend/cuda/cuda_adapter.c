/* Slots of adapters on a GPU, and what fills them: threads round factors into pinned buffers, which leave in a stream
 * of their own, beside steps. What a slot's ops have is told last, in the same stream. */
#include "backend/cuda/cuda_adapted.h"
#include "backend/cuda/cuda_check.h"

#include <stdlib.h>
#include <string.h>

enum { LOAD_THREADS = 4 };

static bool sites_clear(struct program *p, struct error *error) {
  size_t count = (size_t)p->limits.adapters * (size_t)p->plan->n_op, sums = LINEAR_CHAIN * p->adapters.part_bytes;
  size_t counts = cuda_adapter_most(p->plan, &p->limits).counts * sizeof *p->adapters.counts;
  return cuda_check(cudaMemsetAsync(p->adapters.counts, 0, counts, p->adapters.stream), "clearing the workspace",
                    error) &&
         (sums == 0 || cuda_check(cudaMemsetAsync(p->adapters.partial, 0xff, sums, p->adapters.stream),
                                  "clearing the workspace", error)) &&
         cuda_check(cudaMemsetAsync(p->adapters.site, 0, count * sizeof *p->adapters.site, p->adapters.stream),
                    "clearing the workspace", error) &&
         cuda_check(cudaStreamSynchronize(p->adapters.stream), "clearing the workspace", error);
}

static bool slabs_pin(struct program *p, struct error *error) {
  p->adapters.slab_bytes = cuda_adapter_most(p->plan, &p->limits).slab;
  for (int i = 0; i <= CUDA_RUN_AHEAD; i++)
    if (!cuda_pin(&p->slot[i].adapter_slab, p->adapters.slab_bytes, error)) return false;
  return cuda_pin(&p->adapters.row, (size_t)p->plan->n_op * sizeof *p->adapters.row, error);
}

bool cuda_adapters_take(struct program *p, struct error *error) {
  struct cuda_adapters *a = &p->adapters;
  if (p->limits.adapters == 0) return true;
  a->place = calloc((size_t)p->plan->n_op, sizeof *a->place);
  a->count = calloc((size_t)p->limits.adapters, sizeof *a->count);
  a->kind = calloc((size_t)p->limits.adapters, sizeof *a->kind);
  if (!a->place || !a->count || !a->kind)
    return error_set(error, ERROR_MEMORY, "There is no memory for tables of %d adapters.", p->limits.adapters);
  a->slot_bytes = cuda_adapter_lay(p->plan, &p->limits, a->place);
  a->part_bytes = p->device->path->adapter_few ? cuda_adapter_most(p->plan, &p->limits).part_bytes : 0;
  for (int i = 0; i < p->plan->n_op; i++) {
    const struct op *op = plan_ops(p->plan) + i;
    int32_t parts = cuda_adapter_paired(p->plan, &p->limits, op) ? plan_weights(p->plan)[op->weight[0]].n_part : 0;
    if (parts > a->most_part) a->most_part = parts;
  }
  return cuda_check(cudaStreamCreateWithFlags(&a->stream, cudaStreamNonBlocking), "making a stream", error) &&
         cuda_experts_take(p, error) && sites_clear(p, error) && slabs_pin(p, error) &&
         (a->upload = cuda_upload_open(a->stream, LOAD_THREADS, error)) != NULL;
}

void cuda_adapters_release(struct program *p) {
  struct cuda_adapters *a = &p->adapters;
  cuda_upload_close(a->upload);
  cuda_experts_release(p);
  if (a->stream) cudaStreamDestroy(a->stream);
  for (int i = 0; i <= CUDA_RUN_AHEAD; i++) cudaFreeHost(p->slot[i].adapter_slab);
  cudaFreeHost(a->row);
  free(a->place);
  free(a->count);
  free(a->kind);
}

static bool factors_send(struct program *p, int slot, const struct adapter *adapter, struct error *error) {
  struct cuda_adapters *a = &p->adapters;
  size_t n_op = (size_t)adapter->n_op;
  struct upload_job *jobs = calloc(n_op * ADAPTER_JOBS + 1, sizeof *jobs);
  struct cuda_adapter_pack *packs = calloc(2 * n_op + 1, sizeof *packs);
  bool sent = jobs && packs;
  int n = 0;
  if (!sent) error_set(error, ERROR_MEMORY, "There is no memory for the copy of an adapter.");
  if (sent) n = cuda_experts_jobs(p, slot, adapter, packs, jobs);
  for (size_t i = 0; sent && i < n_op; i++)
    if (!cuda_op_has_experts(plan_ops(p->plan) + adapter->op[i].op))
      n += cuda_adapter_jobs(p->plan, &adapter->op[i], &a->place[adapter->op[i].op],
                             a->factors + (size_t)slot * a->slot_bytes, packs + 2 * i, jobs + n);
  sent = sent && cuda_upload_run(a->upload, jobs, n, error);
  free(jobs);
  free(packs);
  return sent;
}

/* The step thread asks when it names the slot, which is after it was told that the adapter is there. Experts have
 * ranks of their own, in their sites. */
static struct cuda_adapter_kind kind_of(const struct program *p, int slot, const struct adapter *adapter) {
  struct cuda_adapter_kind kind = {.plain = true};
  kind.experts = p->adapters.n_expert > 0 && p->adapters.expert_factors[slot];
  for (int i = 0; adapter && i < adapter->n_op; i++) {
    const struct adapter_op *op = &adapter->op[i];
    if (op->shift || op->magnitude) kind.plain = false;
    if (op->rank > kind.rank && !cuda_op_has_experts(plan_ops(p->plan) + op->op)) kind.rank = op->rank;
  }
  return kind;
}

static void row_fill(struct program *p, const struct adapter *adapter) {
  memset(p->adapters.row, 0, (size_t)p->plan->n_op * sizeof *p->adapters.row);
  for (int i = 0; adapter && i < adapter->n_op; i++) {
    const struct adapter_op *op = &adapter->op[i];
    if (cuda_op_has_experts(plan_ops(p->plan) + op->op)) continue; /* cuda_experts_jobs */
    p->adapters.row[op->op] = (struct cuda_adapter_site){
        .rank = op->rank, .used = 1, .shift = op->shift != NULL, .magnitude = op->magnitude != NULL};
  }
}

/* A slot's ops and its experts, as the host has them. */
static bool rows_send(struct program *p, int slot, struct error *error) {
  struct cuda_adapters *a = &p->adapters;
  size_t n_op = (size_t)p->plan->n_op, n_expert = (size_t)a->n_expert;
  return cuda_check(cudaMemcpyAsync(a->site + (size_t)slot * n_op, a->row, n_op * sizeof *a->row,
                                    cudaMemcpyHostToDevice, a->stream),
                    "filling an adapter's slot", error) &&
         (n_expert == 0 ||
          cuda_check(cudaMemcpyAsync(a->expert + (size_t)slot * n_expert, a->expert_row,
                                     n_expert * sizeof *a->expert_row, cudaMemcpyHostToDevice, a->stream),
                     "filling an adapter's slot", error)) &&
         cuda_check(cudaStreamSynchronize(a->stream), "filling an adapter's slot", error);
}

static bool slot_empty(struct program *p, int slot, struct error *error) {
  struct cuda_adapters *a = &p->adapters;
  memset(a->row, 0, (size_t)p->plan->n_op * sizeof *a->row);
  if (a->n_expert > 0) memset(a->expert_row, 0, (size_t)a->n_expert * sizeof *a->expert_row);
  a->kind[slot] = (struct cuda_adapter_kind){.plain = true};
  return rows_send(p, slot, error) && cuda_experts_room(p, slot, NULL, error);
}

bool cuda_adapter_load(struct program *p, int slot, const struct adapter *adapter, struct error *error) {
  if (!adapter_check(adapter, p->plan, slot, p->limits.adapters, p->limits.adapter_rank, error) ||
      !cuda_experts_check(p, adapter, error) || !slot_empty(p, slot, error))
    return false;
  if (!adapter) return true;
  if (!cuda_experts_room(p, slot, adapter, error) || !factors_send(p, slot, adapter, error)) return false;
  row_fill(p, adapter);
  p->adapters.kind[slot] = kind_of(p, slot, adapter);
  return rows_send(p, slot, error);
}
