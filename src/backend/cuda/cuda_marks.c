/* Events between the ops of a long step of texts. */
#include "backend/cuda/cuda_marks.h"

#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

enum { MARKED_TOKENS = 1024 /* shorter steps are over soon, and events would cost them more than they tell */ };

bool cuda_marks_take(struct cuda_marks *marks, struct error *error) {
  for (int i = 0; i < CUDA_MARKS; i++)
    if (!cuda_check(cudaEventCreateWithFlags(&marks->event[i], cudaEventDisableTiming), "making an event", error))
      return false;
  return true;
}

void cuda_marks_release(struct cuda_marks *marks) {
  for (int i = 0; i < CUDA_MARKS && marks->event[i]; i++) cudaEventDestroy(marks->event[i]);
}

void cuda_marks_begin(struct cuda_marks *marks, const struct plan *plan, const struct batch *batch) {
  bool marked = plan->role == PLAN_ENCODER && batch->n_token >= MARKED_TOKENS;
  marks->n = marks->n_awaited = 0;
  marks->every = marked ? (plan->n_op + CUDA_MARKS - 1) / CUDA_MARKS : 0;
}

bool cuda_marks_put(struct cuda_marks *marks, int op, struct CUstream_st *stream, struct error *error) {
  if (marks->every == 0 || (op + 1) % marks->every != 0) return true;
  return cuda_check(cudaEventRecord(marks->event[marks->n++], stream), "marking a part of a step", error);
}

void cuda_marks_end(struct cuda_marks *marks) { marks->every = 0; }

bool cuda_await(struct program *p, bool *more, struct error *error) {
  struct cuda_marks *marks = &p->slot[p->oldest].marks;
  bool marked = marks->n_awaited < marks->n;
  *more = marks->n_awaited + 1 < marks->n;
  return !marked || cuda_check(cudaEventSynchronize(marks->event[marks->n_awaited++]), "a part of a step", error);
}
