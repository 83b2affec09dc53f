/* For each op of the plan the modules that its matrix holds are looked up in the adapter's file and checked, then all
 * are laid out as struct adapter_op has them (adapter_fill.h). */
#include "engine/adapter_read.h"

#include "base/limits.h"
#include "engine/adapter_fill.h"

#include <stdlib.h>
#include <string.h>

struct owned_adapter {
  struct adapter adapter;     /* first: what adapter_free is given */
  struct adapter_maker maker; /* of its arrays */
  struct adapter_op *op;      /* [n_op], as adapter.op */
};

struct reader {
  const struct engine_file *engine;
  const struct plan *plan;
  struct adapter_source source;
  struct owned_adapter *owned;
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

static bool op_read(struct reader *r, const struct op_tensors *found, struct error *error) {
  const struct op *op = &plan_ops(r->plan)[found->op];
  struct adapter_op out = {.op = found->op, .rank = found->rank};
  struct owned_adapter *owned = r->owned;
  for (int p = 0; p < PLAN_PARTS; p++) out.gain[p] = (float)found->part[p].scale;
  bool filled = op->kind == OP_EMBED ? adapter_embedding_fill(&owned->maker, op, &out, found->part, error)
                                     : adapter_linear_fill(&owned->maker, op, &out, found->part, error);
  if (!filled) return false;
  if (out.rank > owned->adapter.rank) owned->adapter.rank = out.rank;
  owned->op[owned->adapter.n_op++] = out;
  return true;
}

/* Bytes of its factors, about. */
static size_t factors_bytes(const struct reader *r) {
  size_t bytes = 0;
  for (int i = 0; i < r->source.n_found; i++) {
    const struct op_tensors *found = &r->source.found[i];
    const struct weight *weight = &plan_weights(r->plan)[plan_ops(r->plan)[found->op].weight[0]];
    for (int p = 0; p < weight->n_part; p++) {
      const struct tensor *a = found->part[p].a, *b = found->part[p].b;
      bytes += (a ? a->data.size : 0) + (b ? b->data.size : 0);
    }
  }
  return bytes;
}

static bool ops_read(struct reader *r, struct error *error) {
  r->owned = calloc(1, sizeof *r->owned);
  if (!r->owned) return adapter_no_memory(error);
  r->owned->maker.engine = r->engine;
  arena_init(&r->owned->maker.arena, (size_t)LIMIT_ADAPTER_MEBIBYTES << 20);
  arena_reserve(&r->owned->maker.arena, factors_bytes(r));
  r->owned->op = arena_array(&r->owned->maker.arena, (size_t)r->source.n_found, sizeof *r->owned->op);
  if (!r->owned->op) return adapter_no_memory(error);
  r->owned->adapter.op = r->owned->op;
  for (int i = 0; i < r->source.n_found; i++)
    if (!op_read(r, &r->source.found[i], error)) return false;
  r->owned->adapter.bytes = r->owned->maker.bytes;
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

struct adapter *adapter_read(const char *path, const struct engine_file *engine, int32_t max_rank,
                             struct error *error) {
  struct reader r = {.engine = engine, .plan = engine->plan};
  bool opened = adapter_source_open(&r.source, path, error);
  r.source.base_architecture = engine->facts->gguf_architecture;
  bool read = opened && contents_read(&r, path, max_rank, error) && adapter_source_intact(&r.source, error);
  adapter_source_close(&r.source);
  if (read) return &r.owned->adapter;
  adapter_free(r.owned ? &r.owned->adapter : NULL);
  return NULL;
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
  arena_release(&owned->maker.arena);
  free(owned);
}
