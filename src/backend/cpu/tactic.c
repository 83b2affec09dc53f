/* Timing of tactics, over weights of zeros of the right size: the engine's own are not loaded yet, and no kernel's time
 * depends on their values. */
#include "backend/cpu/tactic.h"

#include "backend/backends.h"
#include "base/cpu_share.h"
#include "backend/cpu/tactic_cache.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  TRIAL_ROUNDS = 3,
  TRIAL_NS = 500000, /* a round of trials of one tactic lasts about so long */
  CANDIDATES = 3,
  LARGE_BYTES = 8 << 20, /* weights that take so long that claims cost nothing beside them: always claimed */
};

/* A linear alone, as the team runs it in a step. */
struct trial {
  struct program *program;
  struct call call;
  int repeats;
};

static void trial_run(void *context, int worker) {
  struct trial *trial = context;
  struct program *program = trial->program;
  struct team *team = program->device->team;
  struct range rows = {0, value_rows(program, trial->call.op->in[0])};
  for (int i = 0; i < trial->repeats; i++) {
    call_linear(program, &trial->call, rows, worker);
    team_barrier(team);
  }
}

static uint64_t trial_time(struct trial *trial) {
  uint64_t start = clock_ns();
  team_run(trial->program->device->team, trial_run, trial);
  return clock_ns() - start;
}

/* The fastest candidate; a later one must win by 3 % to be worth leaving the even share. */
static int trial_choose(struct trial *trial, const int *candidate, int n) {
  uint64_t best[CANDIDATES];
  trial->repeats = 1;
  trial->call.chunk = candidate[0];
  trial_time(trial); /* pages, caches */
  uint64_t once = trial_time(trial) + 1;
  trial->repeats = (int)(TRIAL_NS / once) + 1;
  for (int i = 0; i < n; i++) best[i] = UINT64_MAX;
  for (int round = 0; round < TRIAL_ROUNDS; round++)
    for (int i = 0; i < n; i++) {
      trial->call.chunk = candidate[i];
      uint64_t time = trial_time(trial);
      if (time < best[i]) best[i] = time;
    }
  int chosen = 0;
  for (int i = 1; i < n; i++)
    if (best[i] < best[chosen] - best[0] / 32) chosen = i;
  return candidate[chosen];
}

/* Even shares, or claims of a quarter or a sixteenth of a share. */
static int candidates_list(const struct call *call, int n_worker, int *candidate) {
  int n = 1;
  candidate[0] = 0;
  for (int claims = 4; claims <= 16; claims *= 4) {
    int chunk = call->n_unit / (claims * n_worker);
    if (chunk > 0) candidate[n++] = chunk;
  }
  return n;
}

/* Runs the trials in the program's own workspace, with zeros as weights. 0 when there is no memory for those. */
static int call_time(struct program *program, const struct call *call, size_t bytes, const int *candidate, int n) {
  const struct op *op = call->op;
  size_t page = 4096;
  uint8_t *zeros = aligned_alloc(page, (bytes + page - 1) / page * page);
  if (!zeros) return 0;
  memset(zeros, 0, bytes);
  int rows = program->limits.opt_batch;
  struct op alone = *op; /* the product is what tactics differ in: no norms, bias or residual */
  alone.weight[1] = alone.weight[2] = alone.weight[3] = alone.in[1] = -1;
  alone.args.linear.norm = alone.args.linear.post_norm = NORM_NONE;
  struct batch batch = {.n_token = rows, .n_out = rows};
  struct trial trial = {.program = program, .call = *call};
  trial.call.op = &alone;
  program->batch = &batch;
  program->weight[op->weight[0]] = zeros;
  int chunk = trial_choose(&trial, candidate, n);
  program->weight[op->weight[0]] = NULL;
  program->batch = NULL;
  free(zeros);
  return chunk;
}

static void key_make(const struct program *program, const struct call *call, const char *model, char *key,
                     size_t size) {
  char scheme[48];
  snprintf(key, size, "%s, %s, %d threads, %d x %d%s, %s, batch %d", model, program->device->kernels->name,
           team_size(program->device->team), call->layout.rows, call->layout.cols, call->unit_tiles > 1 ? " gated" : "",
           scheme_name(&call->layout.scheme, scheme), program->limits.opt_batch);
}

void tactics_choose(struct program *program) {
  int n_worker = team_size(program->device->team);
  const struct limits *limits = &program->limits;
  bool fits = limits->opt_batch <= limits->tokens && limits->opt_batch <= limits->outputs;
  if (n_worker == 1 || !fits) return; /* one worker takes all: there is no choice */
  char model[96], key[512];
  struct tactic_cache cache;
  tactic_cache_open(&cache, program->device->tactic_cache);
  cpu_share_model(model);
  for (int i = 0; i < program->n_call; i++) {
    struct call *call = &program->calls[i];
    int candidate[CANDIDATES], n;
    if (call->op->kind != OP_LINEAR || call->op->args.linear.expert_mode != EXPERTS_NONE ||
        (n = candidates_list(call, n_worker, candidate)) == 1)
      continue;
    size_t bytes = backend_packed_bytes(&backend_cpu, plan_weights(program->plan) + call->op->weight[0]);
    if (bytes >= LARGE_BYTES) {
      call->chunk = candidate[n - 1];
      continue;
    }
    key_make(program, call, model, key, sizeof key);
    if (!tactic_cache_get(&cache, key, &call->chunk) || call->chunk > call->n_unit) {
      call->chunk = call_time(program, call, bytes, candidate, n);
      tactic_cache_put(&cache, key, call->chunk);
    }
  }
  tactic_cache_close(&cache, program->device->tactic_cache);
}
