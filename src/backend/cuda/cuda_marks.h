/* How far a long step of texts is: events between its ops, which the host waits for one after the other. */
#ifndef SPATE_BACKEND_CUDA_MARKS_H
#define SPATE_BACKEND_CUDA_MARKS_H

#include "plan/backend.h"

struct CUevent_st;
struct CUstream_st;

enum { CUDA_MARKS = 64 };

/* Of a slot's step. */
struct cuda_marks {
  struct CUevent_st *event[CUDA_MARKS]; /* [n] in the stream, the first n_awaited of which have come */
  int n, n_awaited;
  int every; /* op that has one behind it; 0: none has */
};

bool cuda_marks_take(struct cuda_marks *marks, struct error *error);
void cuda_marks_release(struct cuda_marks *marks);

/* Around the ops of a step, and behind each of them. */
void cuda_marks_begin(struct cuda_marks *marks, const struct plan *plan, const struct batch *batch);
bool cuda_marks_put(struct cuda_marks *marks, int op, struct CUstream_st *stream, struct error *error);
void cuda_marks_end(struct cuda_marks *marks);

/* backend.await */
bool cuda_await(struct program *program, bool *more, struct error *error);

#endif
