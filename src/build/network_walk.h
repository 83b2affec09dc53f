/* A network run from site to site over the calibration tokens, with what passes between the sites held in memory: so
 * the inputs of a layer's matrices can be looked at, and the matrices changed, before their results go on. */
#ifndef SPATE_BUILD_NETWORK_WALK_H
#define SPATE_BUILD_NETWORK_WALK_H

#include "build/calibration_data.h"
#include "build/float_program.h"
#include "build/weight_source.h"

enum { WALK_SITE_LINEARS = 4 };

/* Linears that take the same input (at most WALK_SITE_LINEARS), and the ops after them up to the next site: they run
 * together. */
struct walk_site {
  int first, count; /* the linears */
  int n_op;         /* of all, from `first` on */
};

/* The first site at op `from` or after, of the layers. False: there is none any more. */
bool walk_site_find(const struct plan *plan, int from, struct walk_site *site);

static inline const struct op *walk_site_op(const struct plan *plan, const struct walk_site *site, int index) {
  return plan_ops(plan) + site->first + index;
}
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

/* Runs the site on all windows, its linears with the given numbers. */
bool network_walk_run(struct network_walk *walk, const struct walk_site *site, float *const *matrix,
                      struct error *error);

#endif
