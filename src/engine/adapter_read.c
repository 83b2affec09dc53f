/* For each op of the plan the modules that its matrix holds are looked up in the adapter's file and checked, then all
 * are laid out as struct adapter_op has them (adapter_fill.h). */
#include "engine/adapter_read.h"

#include "base/cpu_share.h"
#include "base/limits.h"
#include "engine/adapter_fill.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
  READ_THREADS = 4,       /* of one adapter, at most */
  THREAD_BYTES = 8 << 20, /* of factors, below which a thread more is not worth its start */
  GROWTH_MOST = 16,       /* times what factors take in their file, below which all arrays together stay */
};

struct owned_adapter {
  struct adapter adapter;                   /* first: what adapter_free is given */
  struct adapter_maker maker[READ_THREADS]; /* of its arrays */
  struct adapter_op *op;                    /* [n_op] owned, as adapter.op */
};

struct reader {
  const struct engine_file *engine;
  const struct plan *plan;
  struct adapter_source source;
  struct owned_adapter *owned;
};

/* Ops [first, end) of those that the source has, read by a thread. */
struct share {
  struct reader *reader;
  struct adapter_maker *maker;
  int first, end;
  pthread_t thread;
  bool started, done;
  struct error error;
};

/* Before anything is filled: great ranks and magnitudes take long. */
static bool rank_check(const struct reader *r, const char *path, int32_t max_rank, struct error *error) {
  const char *slash = strrchr(path, '/');
  int rank = 0;
  for (int i = 0; i < r->source.n_found; i++)
    if (r->source.found[i].rank > rank) rank = r->source.found[i].rank;
  return rank <= max_rank ||
         error_set(error, ERROR_LIMIT, "The adapter \"%.100s\" has rank %d, more than --max-lora-rank %d allows.",
                   slash ? slash + 1 : path, rank, max_rank);
}

static bool op_read(const struct share *share, int index, struct error *error) {
  struct reader *r = share->reader;
  const struct op_tensors *found = &r->source.found[index];
  const struct op *op = &plan_ops(r->plan)[found->op];
  struct adapter_op *out = &r->owned->op[index];
  *out = (struct adapter_op){.op = found->op, .expert = found->expert, .rank = found->rank};
  for (int p = 0; p < PLAN_PARTS; p++) out->gain[p] = (float)found->part[p].scale;
  return op->kind == OP_EMBED ? adapter_embedding_fill(share->maker, op, out, found->part, error)
                              : adapter_linear_fill(share->maker, op, out, found->part, error);
}

/* Bytes of an op's factors, about. */
static size_t factors_bytes(const struct reader *r, int index) {
  const struct op_tensors *found = &r->source.found[index];
  const struct weight *weight = &plan_weights(r->plan)[plan_ops(r->plan)[found->op].weight[0]];
  size_t bytes = 0;
  for (int p = 0; p < weight->n_part; p++) {
    const struct tensor *a = found->part[p].a, *b = found->part[p].b;
    bytes += (a ? a->data.size : 0) + (b ? b->data.size : 0);
  }
  return bytes;
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

/* More than half of reading is fresh pages, of the arrays and of the mapped file, which threads touch side by side. */
static void *share_read(void *argument) {
  struct share *share = argument;
  share->done = true;
  for (int i = share->first; i < share->end && share->done; i++) share->done = op_read(share, i, &share->error);
  return NULL;
}

/* How many, of so many bytes together: none where one thread's arrays might have to take more than its part of the
 * limit. */
static int threads_choose(size_t bytes) {
  size_t worth = bytes / THREAD_BYTES < READ_THREADS ? bytes / THREAD_BYTES : READ_THREADS;
  if (worth < 2 || bytes > ((size_t)LIMIT_ADAPTER_MEBIBYTES << 20) / GROWTH_MOST) return 1;
  int cpus = cpu_share_count();
  return cpus < (int)worth ? cpus : (int)worth;
}

/* Neighbours, about as many bytes for each. */
static void shares_cut(struct reader *r, struct share *share, int n, size_t bytes) {
  size_t before = 0;
  for (int i = 0, next = 0; i < n; i++) {
    size_t own = before;
    share[i] = (struct share){.reader = r, .maker = &r->owned->maker[i], .first = next};
    while (next < r->source.n_found && (i + 1 == n || before < bytes / (size_t)n * (size_t)(i + 1)))
      before += factors_bytes(r, next++);
    share[i].end = next;
    share[i].maker->engine = r->engine;
    arena_init(&share[i].maker->arena, ((size_t)LIMIT_ADAPTER_MEBIBYTES << 20) / (size_t)n);
    arena_reserve(&share[i].maker->arena, before - own);
  }
}

/* The first share is this thread's; one whose thread does not start is read here too. */
static void shares_run(struct share *share, int n) {
  for (int i = 1; i < n; i++) share[i].started = pthread_create(&share[i].thread, NULL, share_read, &share[i]) == 0;
  for (int i = 0; i < n; i++)
    if (!share[i].started) share_read(&share[i]);
  for (int i = 1; i < n; i++)
    if (share[i].started) pthread_join(share[i].thread, NULL);
}

static bool ops_read(struct reader *r, struct error *error) {
  struct share share[READ_THREADS];
  size_t bytes = 0;
  for (int i = 0; i < r->source.n_found; i++) bytes += factors_bytes(r, i);
  int n = threads_choose(bytes);
  r->owned = calloc(1, sizeof *r->owned);
  if (r->owned) r->owned->op = calloc((size_t)r->source.n_found, sizeof *r->owned->op);
  if (!r->owned || !r->owned->op) return adapter_no_memory(error);
  shares_cut(r, share, n, bytes);
  shares_run(share, n);
  struct adapter *adapter = &r->owned->adapter;
  adapter->op = r->owned->op;
  adapter->n_op = r->source.n_found;
  for (int i = 0; i < n; i++) {
    if (!share[i].done) {
      *error = share[i].error;
      return false;
    }
    adapter->bytes += share[i].maker->bytes;
  }
  for (int i = 0; i < adapter->n_op; i++)
    if (adapter->op[i].rank > adapter->rank) adapter->rank = adapter->op[i].rank;
  return true;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

/* Is it for this base, as far as it tells? Names of bases are anybody's, and not compared. */
static bool base_check(const struct adapter_source *source, const struct engine_file *engine, struct error *error) {
  static const struct hash128 unknown;
  const struct engine_facts *facts = engine->facts;
  const char *architecture = source->settings.architecture;
  char own[33], wanted[33];
  if (source->gguf && facts->gguf_architecture[0] && strcmp(architecture, facts->gguf_architecture) != 0)
    return error_set(error, ERROR_UNSUPPORTED,
                     "general.architecture is \"%s\", and the base model is of \"%s\": the adapter is for another one.",
                     architecture, facts->gguf_architecture);
  const struct hash128 *base = adapter_source_base(source);
  if (!base || !engine->header || hash_equal(engine->header->base, unknown) || hash_equal(engine->header->base, *base))
    return true;
  hash_format(*base, wanted);
  hash_format(engine->header->base, own);
  return error_set(error, ERROR_UNSUPPORTED,
                   "The adapter is for the base model with the digest %s, and this one has %s: the weights are others.",
                   wanted, own);
}

static bool contents_read(struct reader *r, const char *path, int32_t max_rank, struct error *error) {
  if (!base_check(&r->source, r->engine, error) || !adapter_source_find(&r->source, r->plan, error))
    return error_prefix(error, "%s: ", r->source.path);
  return rank_check(r, path, max_rank, error) && (ops_read(r, error) || error_prefix(error, "%s: ", r->source.path));
}

/* no_experts: as of the source. */
static struct adapter *path_read(const char *path, const struct engine_file *engine, int32_t max_rank,
                                 const char *no_experts, struct error *error) {
  struct reader r = {.engine = engine, .plan = engine->plan};
  bool opened = adapter_source_open(&r.source, path, error);
  r.source.no_experts = no_experts;
  r.source.base_architecture = engine->facts->gguf_architecture;
  bool read = opened && contents_read(&r, path, max_rank, error) && adapter_source_intact(&r.source, error);
  adapter_source_close(&r.source);
  if (read) return &r.owned->adapter;
  adapter_free(r.owned ? &r.owned->adapter : NULL);
  return NULL;
}

struct adapter *adapter_read(const char *path, const struct engine_file *engine, int32_t max_rank,
                             struct error *error) {
  const struct backend *backend = engine->backend;
  return path_read(path, engine, max_rank, backend->expert_adapters ? NULL : backend->name, error);
}

struct adapter *adapter_read_merged(const char *path, const struct engine_file *engine, struct error *error) {
  return path_read(path, engine, LIMIT_ADAPTER_RANK, NULL, error);
}

bool adapter_read_base(const char *path, struct hash128 *base, bool *stated, struct error *error) {
  struct adapter_source source;
  bool opened = adapter_source_open(&source, path, error);
  const struct hash128 *found = opened ? adapter_source_base(&source) : NULL;
  *stated = found != NULL;
  if (found) *base = *found;
  adapter_source_close(&source);
  return opened;
}

void adapter_free(struct adapter *adapter) {
  struct owned_adapter *owned = (struct owned_adapter *)adapter;
  if (!owned) return;
  for (int i = 0; i < READ_THREADS; i++) arena_release(&owned->maker[i].arena);
  free(owned->op);
  free(owned);
}
