/* How far a long step of texts is: events between its ops, which the host waits for one after the other. */
#ifndef SPATE_BACKEND_CUDA_MARKS_H
#define SPATE_BACKEND_CUDA_MARKS_H

#include "plan/backend.h"

struct CUevent_st;

enum {
  CUDA_MARKS = 256,
  PLAIN_TOKENS = 4096, /* of plain attention, at once */
};

/* Of a slot's step: between its ops, and parts of them. */
struct cuda_marks {
  struct CUevent_st *event[CUDA_MARKS]; /* [n] in the stream, the first n_awaited of which have come */
  int n, n_awaited;
  int places, every; /* where some could be, so far; of so many each last one is */
};

bool cuda_marks_take(struct cuda_marks *marks, struct error *error);
void cuda_marks_release(struct cuda_marks *marks);

/* Around the ops of a step of the slot with these, if it is long; and at a place between them, where
 * cudaGetLastError tells what has failed. */
void cuda_marks_begin(struct program *program, struct cuda_marks *marks, const struct batch *batch);
void cuda_marks_put(struct program *program);
void cuda_marks_end(struct program *program);

/* backend.await */
bool cuda_await(struct program *program, bool *more, struct error *error);

#endif
