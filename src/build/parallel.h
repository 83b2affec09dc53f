/* Work on many items by a few threads that live for one call. */
#ifndef SPATE_BUILD_PARALLEL_H
#define SPATE_BUILD_PARALLEL_H

/* Calls work(context, worker, item) once for each item of [0, n_item), each worker in [0, n_thread) on one thread, the
 * first on the calling one. Which worker takes an item is chance; a thread that cannot be started is done without. */
void parallel_run(int n_thread, int n_item, void (*work)(void *context, int worker, int item), void *context);

#endif
