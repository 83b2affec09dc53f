/* A network run from site to site over the calibration tokens, with what passes between the sites held in memory: so
 * the inputs of a layer's matrices can be looked at, and the matrices changed, before their results go on. */
#ifndef SPATE_BUILD_NETWORK_WALK_H
#define SPATE_BUILD_NETWORK_WALK_H

#include "build/calibration_data.h"
#include "build/float_program.h"
#include "build/weight_source.h"

enum { WALK_SITE_LINEARS = 6, EXPERT_LINEARS = 3 }; /* of those, linears of experts */

/* Linears that take the same input (at most WALK_SITE_LINEARS), and the ops after them up to the next site: they run
 * together. Two kinds have more linears, which come after those of the same input in `op`:
 * a mixture of experts, from the router over the linears of experts and those beside them that read what it reads to
 * the one that adds the experts up (mixture_site.h); latent attention, from the linears that make q to heads' values.
 * What is projected to q's latent, where there is one, is a site before, of which the keys' linears are too: they read
 * the same, though they run later. */
enum site_kind { SITE_PLAIN, SITE_MIXTURE, SITE_LATENT };
struct walk_site {
  enum site_kind kind;
  int first, n_op; /* the ops */
  int count;       /* linears of the same input */
  int n_owned;     /* and those that its calibration deals with too */
  int n_linear;    /* and of all */
  int op[WALK_SITE_LINEARS];
};

static inline bool walk_site_mixes(const struct walk_site *site) { return site->kind == SITE_MIXTURE; }

/* The first site at op `from` or after, of the layers. False: there is none any more. */
bool walk_site_find(const struct plan *plan, int from, struct walk_site *site);

static inline const struct op *walk_site_op(const struct plan *plan, const struct walk_site *site, int index) {
  return plan_ops(plan) + site->op[index];
}
static inline int walk_site_weight(const struct plan *plan, const struct walk_site *site, int index) {
  return walk_site_op(plan, site, index)->weight[0];
}
/* Whether the op is one of the linears of the same input. */
bool walk_site_has(const struct walk_site *site, int op);
/* The op behind the last site of the layer that begins at op `from`; `from` when no site is left. */
int walk_layer_end(const struct plan *plan, int from);
/* Columns of the site's input. */
int walk_site_cols(const struct plan *plan, const struct walk_site *site);

struct network_walk {
  const struct plan *plan;
  const struct checkpoint *checkpoint;
  const struct weight_transform *merged; /* [n_weight] of an adapter; NULL: none */
  const struct calibration_data *data;
  const struct float_device *device;
  float **value; /* [n_value] owned: rows of all tokens, of values that pass between sites; NULL otherwise */
};

bool network_walk_init(struct network_walk *walk, struct error *error);
/* Embeds the tokens: the walk is before its first site. */
bool network_walk_begin(struct network_walk *walk, struct error *error);
void network_walk_release(struct network_walk *walk);
uint64_t network_walk_memory(const struct plan *plan, const struct calibration_data *data);

/* Do the ops from `op` on take the value from those before? */
bool network_walk_takes(const struct network_walk *walk, int op, int value);
/* Numbers of a value that passes between sites, of all tokens. */
size_t network_walk_numbers(const struct network_walk *walk, int value);

/* What the site's matrices are multiplied with in one window, normed: [length][cols] into out. */
bool network_walk_inputs(const struct network_walk *walk, const struct walk_site *site, int window, float *out,
                         struct error *error);

/* Runs the site, no mixture, on all windows, all its linears with the given numbers. */
bool network_walk_run(struct network_walk *walk, const struct walk_site *site, float *const *matrix,
                      struct error *error);
/* The same into out, [tokens][cols of what the last op makes], and not into the walk's values. */
bool network_walk_result(const struct network_walk *walk, const struct walk_site *site, float *const *matrix,
                         float *out, struct error *error);
/* The same, a window at a time: [length][cols of what the last op makes]. */
typedef bool (*walk_sink)(void *context, const float *rows, int window, struct error *error);
bool network_walk_each(const struct network_walk *walk, const struct walk_site *site, float *const *matrix,
                       walk_sink sink, void *context, struct error *error);

/* A vector's numbers, of experts those of each; the caller frees them. NULL on failure. */
float *network_walk_vector(const struct network_walk *walk, int weight, struct error *error);

static inline size_t network_walk_tokens(const struct network_walk *walk) {
  return (size_t)walk->data->n_window * (size_t)walk->data->length;
}

#endif
