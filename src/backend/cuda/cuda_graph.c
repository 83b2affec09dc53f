/* Steps that come again and again, decoding above all, as CUDA graphs: one launch in place of some hundreds. A graph
 * holds the launches of a part of the plan as they were when it was made, so it serves steps that differ in nothing but
 * what kernels read from memory: those of an equal struct cuda_batch. It is made when such a step comes for the second
 * time; those used longest ago are given up. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

#include <string.h>

/* The graph of a step like this, or the place for one. */
static struct cuda_graph *graph_find(struct program *p, int first) {
  struct cuda_graph *oldest = p->graph;
  for (int i = 0; i < CUDA_GRAPHS; i++) {
    struct cuda_graph *g = &p->graph[i];
    if (g->used && g->first == first && memcmp(&g->batch, &p->on_device, sizeof g->batch) == 0) return g;
    if (g->used < oldest->used) oldest = g;
  }
  if (oldest->exec) cudaGraphExecDestroy(oldest->exec); /* one that runs is freed when it has ended */
  *oldest = (struct cuda_graph){.first = first};
  memcpy(&oldest->batch, &p->on_device, sizeof oldest->batch); /* an assignment may leave out the padding */
  return oldest;
}

static bool graph_make(struct program *p, struct cuda_graph *g, int end, struct error *error) {
  cudaGraph_t graph = NULL;
  if (!cuda_check(cudaStreamBeginCapture(p->device->stream, cudaStreamCaptureModeThreadLocal), "making a graph", error))
    return false;
  bool captured = cuda_ops_run(p, g->first, end, error);
  cudaError_t ended = cudaStreamEndCapture(p->device->stream, &graph);
  bool made = captured && cuda_check(ended, "making a graph", error) &&
              cuda_check(cudaGraphInstantiate(&g->exec, graph, 0), "making a graph", error);
  if (graph) cudaGraphDestroy(graph);
  return made;
}

/* Only steps of single tokens: of those, equal batches have attention lists of equal lengths too. */
bool cuda_graph_run(struct program *p, int first, int end, struct error *error) {
  if (first == end) return true;
  if (p->on_device.n_token != p->on_device.n_row) return cuda_ops_run(p, first, end, error);
  struct cuda_graph *g = graph_find(p, first);
  bool again = g->used > 0;
  g->used = ++p->graph_clock;
  if (!again) return cuda_ops_run(p, first, end, error);
  if (!g->exec && !graph_make(p, g, end, error)) return false;
  return cuda_check(cudaGraphLaunch(g->exec, p->device->stream), "launching a step", error);
}

void cuda_graphs_release(struct program *p) {
  for (int i = 0; i < CUDA_GRAPHS; i++)
    if (p->graph[i].exec) cudaGraphExecDestroy(p->graph[i].exec);
}
