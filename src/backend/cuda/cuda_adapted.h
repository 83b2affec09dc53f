/* Adapters of a program: their slots, and steps in which some row has one. */
#ifndef SPATE_BACKEND_CUDA_ADAPTED_H
#define SPATE_BACKEND_CUDA_ADAPTED_H

#include "backend/cuda/cuda_program.h"

/* cuda_adapter.c: slots, and what beside buffers of the device adapters take; backend.adapter_load. */
bool cuda_adapters_take(struct program *program, struct error *error);
void cuda_adapters_release(struct program *program);
bool cuda_adapter_load(struct program *program, int slot, const struct adapter *adapter, struct error *error);

/* cuda_adapted.c: which rows of the batch have adapters, and of which kind. Where its lists are; those of a step on
 * their way to the device, which may turn out to have no graph. */
void cuda_adapters_name(struct program *program, const struct batch *batch);
void cuda_adapters_lay(struct program *program);
bool cuda_adapters_send(struct program *program, struct cuda_slot *slot, const struct batch *batch,
                        struct error *error);
/* An op's factors in all slots; of experts their shapes alone. */
struct cuda_adapter_factors cuda_adapter_factors_of(const struct program *program, const struct op *op);
/* Ops of such a step. linear: as without adapters; ends: its kernel ends with them (adapter_end.cuh). */
void cuda_adapted_embed(struct program *program, const struct op *op);
/* Does the op take pairs in the step, if its tokens are few? Launches the program's chain of n such, from an op on. */
bool cuda_adapter_takes(const struct program *program, const struct op *op);
void cuda_adapted_chain(struct program *program, const struct op *op, int n);
void cuda_adapted_linear(struct program *program, const struct op *op, const struct cuda_linear *linear, bool ends);

/* cuda_expert_adapter.c: memory of the factors of experts in slots. Is the adapter one that kernels take? Room of a
 * slot for its experts' factors alone, in place of what was there, which nothing may name any more; jobs that fill it,
 * and the slot's sites for who sends them. */
bool cuda_experts_take(struct program *program, struct error *error);
void cuda_experts_release(struct program *program);
bool cuda_experts_check(const struct program *program, const struct adapter *adapter, struct error *error);
bool cuda_experts_room(struct program *program, int slot, const struct adapter *adapter, struct error *error);
int cuda_experts_jobs(struct program *program, int slot, const struct adapter *adapter, struct cuda_adapter_pack *packs,
                      struct upload_job *jobs);
/* The adapters of an op's tokens from one on, in a step in which some change experts. */
struct cuda_expert_adapters cuda_expert_adapters_of(const struct program *program, const struct op *op, int first);

#endif
