/* Turns of the programs of one process on the GPU. */
#ifndef SPATE_BACKEND_CUDA_TURNS_H
#define SPATE_BACKEND_CUDA_TURNS_H

#include "base/error.h"

struct program;

/* A program's place among those that are open. Only cuda_turns.c reads it, under its lock. */
struct cuda_turn {
  struct CUevent_st *event; /* the end of what it has put into its stream; NULL: it takes no turns */
  struct program *next;
};

/* From before its first step until after its stream has ended. */
bool cuda_turns_join(struct program *program, struct error *error);
void cuda_turns_leave(struct program *program);

/* Around whatever puts kernels of a step into the stream, each `begin`, which may fail, with its `end`. launched: all
 * went well so far; otherwise the error stays as it is. */
bool cuda_turn_begin(struct program *program, struct error *error);
bool cuda_turn_end(struct program *program, bool launched, struct error *error);

#endif
