/* Bytes of a program's weights, and where they stay. Host code without a device. */
#include "backend/backends.h"
#include "backend/cuda/cuda_measure.h"
#include "plan/expert_layers.h"

enum { WEIGHT_ALIGN = 512 };

size_t cuda_weight_room(const struct weight *weight) {
  return (backend_packed_bytes(&backend_cuda, weight) + WEIGHT_ALIGN - 1) / WEIGHT_ALIGN * WEIGHT_ALIGN;
}

struct cuda_weight_needs cuda_weights_most(const struct plan *plan, const struct limits *limits) {
  struct cuda_weight_needs needs = {0};
  for (int i = 0; i < plan->n_weight; i++) {
    size_t room = cuda_weight_room(plan_weights(plan) + i);
    if (plan_weight_on_host(plan, i, limits->cpu_experts)) {
      needs.host += room, needs.n_hosted++;
      if (room > needs.stage) needs.stage = room;
    } else {
      needs.device += room;
    }
  }
  return needs;
}
