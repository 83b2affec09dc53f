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

/* Of the plan, in a step of so many tokens. */
static int places_most(const struct plan *plan, int n_token) {
  int places = plan->n_op;
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == OP_ATTEND) places += (n_token + PLAIN_TOKENS - 1) / PLAIN_TOKENS;
  return places;
}

void cuda_marks_begin(struct program *p, struct cuda_marks *marks, const struct batch *batch) {
  marks->n = marks->n_awaited = marks->places = 0;
  marks->every = (places_most(p->plan, batch->n_token) + CUDA_MARKS - 1) / CUDA_MARKS;
  p->marks = p->plan->role == PLAN_ENCODER && batch->n_token >= MARKED_TOKENS ? marks : NULL;
}

void cuda_marks_put(struct program *p) {
  struct cuda_marks *marks = p->marks;
  if (marks && ++marks->places % marks->every == 0 && marks->n < CUDA_MARKS)
    cudaEventRecord(marks->event[marks->n++], p->device->stream);
}

void cuda_marks_end(struct program *p) { p->marks = NULL; }

bool cuda_await(struct program *p, bool *more, struct error *error) {
  struct cuda_marks *marks = &p->slot[p->oldest].marks;
  bool marked = marks->n_awaited < marks->n;
  *more = marks->n_awaited + 1 < marks->n;
  return !marked || cuda_check(cudaEventSynchronize(marks->event[marks->n_awaited++]), "a part of a step", error);
}
