/* Decode steps as CUDA graphs: one launch in place of some hundreds. A graph holds launches as they were when it was
 * made, so it serves all steps that differ in nothing but what kernels read from memory: those of as many rows. They
 * are made before the first step, for some sizes; a step's rows are rounded up to the next, which costs nothing where
 * kernels work on as many at a time, and no row's numbers depend on how many there are. */
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_program.h"

enum { IMAGES_LOADED = 8 };

static bool part_launch(struct program *p, enum cuda_part part, struct error *error) {
  p->part = part;
  return part == CUDA_BODY ? cuda_ops_run(p, 0, p->n_body, error) : cuda_ops_run(p, p->n_body, p->plan->n_op, error);
}

static bool part_make(struct program *p, enum cuda_part part, cudaGraphExec_t *exec, struct error *error) {
  cudaGraph_t graph = NULL;
  /* Relaxed: kernels are loaded meanwhile. */
  if (!cuda_check(cudaStreamBeginCapture(p->device->stream, cudaStreamCaptureModeRelaxed), "making a graph", error))
    return false;
  bool captured = part_launch(p, part, error);
  cudaError_t ended = cudaStreamEndCapture(p->device->stream, &graph);
  bool made = captured && cuda_check(ended, "making a graph", error) &&
              cuda_check(cudaGraphInstantiate(exec, graph, 0), "making a graph", error) &&
              cuda_check(cudaGraphUpload(*exec, p->device->stream), "making a graph", error);
  if (graph) cudaGraphDestroy(graph);
  return made;
}

/* Kernels are loaded when they are first asked for. Those of steps with prompts are asked for by graphs that nobody
 * keeps, so that no step waits for them: they differ by numbers of tokens, and attention has all of its own. */
static bool prompts_load(struct program *p, struct error *error) {
  for (int32_t tokens = 0; tokens < p->limits.tokens;) {
    cudaGraphExec_t exec = NULL;
    tokens = tokens == 0 ? 8 : tokens < 64 || tokens >= 512 ? tokens * 2 : tokens + 64;
    if (tokens > p->limits.tokens) tokens = p->limits.tokens;
    cuda_batch_lay(p, (struct cuda_batch){.n_row = 1, .n_token = tokens, .n_out = 1}, false, 0);
    cuda_attention_all(p);
    bool made = part_make(p, CUDA_BODY, &exec, error);
    if (exec) cudaGraphExecDestroy(exec);
    if (!made) return false;
  }
  return true;
}

bool cuda_part_greatest(const struct program *p, int n_out) {
  const struct op *last = plan_ops(p->plan) + p->plan->n_op - 1;
  return p->plan->n_op > p->n_body + 1 && last->kind == OP_SAMPLE && cuda_linear_greatest(p, last - 1, n_out);
}

/* Of the step. */
static enum cuda_graph_set set_of(const struct program *p) {
  if (p->adapted == CUDA_PLAIN) return CUDA_SET_PLAIN;
  return p->experts_adapted ? CUDA_SET_EXPERTS : CUDA_SET_ADAPTED;
}

static bool steps_make(struct program *p, struct error *error) {
  int32_t sizes[CUDA_GRAPHS];
  enum cuda_graph_set set = set_of(p);
  for (int i = 0, n = cuda_graph_sizes(&p->limits, sizes); i < n; i++) {
    struct cuda_graph *graph = &p->graph[set][p->n_graph[set]++];
    int32_t rows = graph->rows = sizes[i];
    cuda_batch_lay(p, (struct cuda_batch){.n_row = rows, .n_token = rows, .n_out = rows}, false, 0);
    cuda_attention_decode(p, rows);
    for (int part = 0; part < CUDA_PARTS; part++) {
      if (part == CUDA_HEAD_GREATEST && (p->adapted || !cuda_part_greatest(p, rows))) continue;
      if (!part_make(p, part, &graph->part[part], error)) return false;
    }
  }
  return prompts_load(p, error);
}

/* Encoders' steps have no graphs: their kernels, too, are loaded by some that nobody keeps. */
static bool images_load(struct program *p, struct error *error) {
  for (int32_t rows = 1; rows <= p->limits.seats && rows <= IMAGES_LOADED; rows++) {
    cudaGraphExec_t exec = NULL;
    int32_t tokens = p->limits.tokens / p->limits.seats * rows;
    cuda_batch_lay(p, (struct cuda_batch){.n_row = rows, .n_token = tokens, .n_out = 1}, true,
                   cuda_image_tables(rows, tokens));
    p->images.place = p->on_device.tables;
    p->images.n_chunk = rows;
    p->ready = NULL;
    bool made = part_make(p, CUDA_BODY, &exec, error);
    if (exec) cudaGraphExecDestroy(exec);
    if (!made) return false;
  }
  return true;
}

/* The same of texts, whose linears run in other kernels by numbers of tokens. */
static bool texts_load(struct program *p, struct error *error) {
  for (int32_t tokens = 1, last = 0; last < p->limits.tokens; last = tokens, tokens *= 2) {
    if (tokens > p->limits.tokens) tokens = p->limits.tokens;
    cuda_batch_lay(p, (struct cuda_batch){.n_row = 1, .n_token = tokens, .n_out = 1}, true,
                   cuda_image_tables(1, tokens));
    p->images.place = p->on_device.tables;
    p->images.n_chunk = 1;
    for (enum cuda_part part = CUDA_BODY; part <= CUDA_HEAD; part++) {
      cudaGraphExec_t exec = NULL;
      p->ready = NULL;
      bool made = part_make(p, part, &exec, error);
      if (exec) cudaGraphExecDestroy(exec);
      if (!made) return false;
    }
  }
  return true;
}

bool cuda_graphs_make(struct program *p, struct error *error) {
  if (p->plan->role == PLAN_VISION) return images_load(p, error);
  if (p->plan->role == PLAN_ENCODER) return texts_load(p, error);
  if (!steps_make(p, error)) return false;
  p->adapted = p->limits.adapters > 0 ? CUDA_ADAPTED : CUDA_PLAIN;
  if (p->adapted && !steps_make(p, error)) return false;
  p->experts_adapted = p->adapted && p->adapters.n_expert > 0;
  return !p->experts_adapted || steps_make(p, error);
}

const struct cuda_graph *cuda_graph_find(const struct program *p, int32_t rows) {
  if (p->adapted == CUDA_ADAPTED_APART) return NULL;
  enum cuda_graph_set set = set_of(p);
  for (int i = 0; i < p->n_graph[set]; i++)
    if (p->graph[set][i].rows >= rows) return &p->graph[set][i];
  return NULL;
}

static bool part_put(struct program *p, enum cuda_part part, struct error *error) {
  if (!p->decode) return part_launch(p, part, error);
  return cuda_check(cudaGraphLaunch(p->decode->part[part], p->device->stream), "launching a step", error);
}

bool cuda_part_run(struct program *p, enum cuda_part part, struct error *error) {
  bool launched = cuda_turn_begin(p, error) && part_put(p, part, error);
  return cuda_turn_end(p, launched, error);
}

void cuda_graphs_release(struct program *p) {
  for (int k = 0; k < CUDA_GRAPH_SETS; k++)
    for (int i = 0; i < p->n_graph[k]; i++)
      for (int part = 0; part < CUDA_PARTS; part++)
        if (p->graph[k][i].part[part]) cudaGraphExecDestroy(p->graph[k][i].part[part]);
}
