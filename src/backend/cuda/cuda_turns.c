/* Programs of one process take turns on the GPU. Blocks of a grid wait for one another there (docs/gpu.md), which ends
 * only if all of them get a multiprocessor: two such grids at work at once may each hold some of these and wait for
 * ever. So where several programs with such grids are open, what one puts into its stream waits for what the others
 * have put into theirs before. One that is alone records nothing and waits for nothing, and takes a lock that is free.
 *
 * Any thread may open and close a program while others step. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows, and of streams while a part is put in */
static struct program *first;                            /* of those that are open, by `next` */
static struct program *last; /* whose event was recorded last, behind all others' work; NULL: all of it has ended */

/* Encoders of images have no such grids. */
static bool takes_turns(const struct program *p) { return p->plan->role != PLAN_VISION; }

static bool turn_mark(struct program *p, struct error *error) {
  last = p;
  return cuda_check(cudaEventRecord(p->among.event, p->device->stream), "marking an engine's turn", error);
}

bool cuda_turns_join(struct program *p, struct error *error) {
  if (!takes_turns(p)) return true;
  if (!cuda_check(cudaEventCreateWithFlags(&p->among.event, cudaEventDisableTiming), "making an event", error))
    return false;
  pthread_mutex_lock(&lock);
  bool alone = first && !first->among.next; /* then what it has under way is not marked */
  bool marked = !alone || turn_mark(first, error);
  if (marked) p->among.next = first, first = p;
  pthread_mutex_unlock(&lock);
  return marked;
}

void cuda_turns_leave(struct program *p) {
  if (!p->among.event) return;
  pthread_mutex_lock(&lock);
  struct program **at = &first;
  while (*at && *at != p) at = &(*at)->among.next;
  if (*at) *at = p->among.next;
  if (last == p) last = NULL;
  pthread_mutex_unlock(&lock);
  cudaEventDestroy(p->among.event);
}

bool cuda_turn_begin(struct program *p, struct error *error) {
  if (!takes_turns(p)) return true;
  pthread_mutex_lock(&lock);
  if (!last || last == p) return true;
  return cuda_check(cudaStreamWaitEvent(p->device->stream, last->among.event, 0), "waiting for another engine's turn",
                    error);
}

bool cuda_turn_end(struct program *p, bool launched, struct error *error) {
  struct error later;
  if (!takes_turns(p)) return launched;
  bool marked = !first->among.next || turn_mark(p, launched ? error : &later);
  pthread_mutex_unlock(&lock);
  return launched && marked;
}
