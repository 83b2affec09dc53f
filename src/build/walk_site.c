/* Finding sites among a plan's ops. */
#include "build/network_walk.h"

/* The most linears that a site without experts has. */
enum { PLAIN_LINEARS = 4 };

bool walk_site_has(const struct walk_site *site, int op) {
  for (int i = 0; i < site->count; i++)
    if (site->op[i] == op) return true;
  return false;
}

static bool site_same(const struct op *a, const struct op *b) {
  return b->kind == OP_LINEAR && b->layer == a->layer && b->in[0] == a->in[0] && b->weight[2] == a->weight[2] &&
         b->args.linear.norm == a->args.linear.norm;
}

/* Router → route → linears of experts and beside them → the one that adds them up. At least two of experts, at most
 * EXPERT_LINEARS. */
static bool mixture_find(const struct plan *plan, int router, struct walk_site *site) {
  const struct op *ops = plan_ops(plan), *route = &ops[router + 1];
  if (router + 1 >= plan->n_op || route->kind != OP_ROUTE || route->in[0] != ops[router].out) return false;
  *site = (struct walk_site){.kind = SITE_MIXTURE, .first = router, .count = 1, .op = {router}};
  int routed = 0;
  for (int i = router + 2; i < plan->n_op && ops[i].kind == OP_LINEAR && site->count < WALK_SITE_LINEARS; i++) {
    bool gathers = ops[i].args.linear.expert_mode == EXPERTS_GATHER;
    bool own = linear_is_routed(&ops[i].args.linear);
    routed += own;
    if (own && (ops[i].in[2] != route->out || routed > EXPERT_LINEARS)) return false;
    if (!gathers && !site_same(&ops[router], &ops[i])) return false;
    site->op[gathers ? site->count : site->count++] = i;
    site->n_owned = site->n_linear = site->count + gathers;
    site->n_op = i + 1 - router;
    if (gathers) return routed > 1;
  }
  return false;
}

static bool linear_has_heads(const struct op *op) {
  return op->kind == OP_LINEAR && op->args.linear.expert_mode == EXPERTS_EACH;
}

/* The attention that reads heads' linears from op `from` on, with only linears before it; −1: there is none. */
static int latent_attend(const struct plan *plan, int from) {
  const struct op *ops = plan_ops(plan);
  bool heads = false;
  int i = from;
  for (; i < plan->n_op && ops[i].kind == OP_LINEAR; i++) heads = heads || linear_has_heads(&ops[i]);
  bool known = heads && i + 1 < plan->n_op && ops[i].kind == OP_ATTEND && linear_has_heads(&ops[i + 1]) &&
               ops[i + 1].in[0] == ops[i].out;
  return known ? i : -1;
}

/* (q's latent) → q → heads' matrices, beside the key → attention → heads' values. */
static bool latent_find(const struct plan *plan, int first, struct walk_site *site) {
  const struct op *ops = plan_ops(plan);
  int attend = latent_attend(plan, first), n = 0, op[2 * WALK_SITE_LINEARS];
  if (attend < 0 || attend + 2 - first > WALK_SITE_LINEARS + 2) return false;
  *site = (struct walk_site){.kind = SITE_LATENT, .first = first};
  site->n_op = ops[first + 1].in[0] == ops[first].out ? 1 : attend + 2 - first;
  for (int i = first; i < attend; i++)
    if (site_same(&ops[first], &ops[i]) && !linear_has_heads(&ops[i])) op[n++] = i;
  site->count = n;
  for (int i = first; i < first + site->n_op; i++)
    if (linear_has_heads(&ops[i])) op[n++] = i;
  site->n_owned = n;
  for (int i = first; i < first + site->n_op; i++)
    if (ops[i].kind == OP_LINEAR && !linear_has_heads(&ops[i]) && !site_same(&ops[first], &ops[i])) op[n++] = i;
  site->n_linear = n;
  for (int i = 0; i < n && n <= WALK_SITE_LINEARS; i++) site->op[i] = op[i];
  return n <= WALK_SITE_LINEARS;
}

bool walk_site_find(const struct plan *plan, int from, struct walk_site *site) {
  const struct op *ops = plan_ops(plan);
  int i = from;
  while (i < plan->n_op && ops[i].kind != OP_LINEAR && ops[i].kind != OP_SELECT) i++;
  if (i == plan->n_op || ops[i].kind == OP_SELECT) return false;
  if (mixture_find(plan, i, site) || latent_find(plan, i, site)) return true;
  *site = (struct walk_site){.first = i};
  while (i < plan->n_op && site->count < PLAIN_LINEARS && site_same(&ops[site->first], &ops[i]))
    site->op[site->count++] = i++;
  while (i < plan->n_op && ops[i].kind != OP_LINEAR && ops[i].kind != OP_SELECT) i++;
  site->n_op = i - site->first;
  site->n_owned = site->n_linear = site->count;
  return true;
}

int walk_layer_end(const struct plan *plan, int from) {
  struct walk_site site;
  int layer = -1;
  for (bool first = true; walk_site_find(plan, from, &site); first = false) {
    int own = plan_ops(plan)[site.first].layer;
    if (!first && own != layer) break;
    layer = own;
    from = site.first + site.n_op;
  }
  return from;
}

int walk_site_cols(const struct plan *plan, const struct walk_site *site) {
  return plan_values(plan)[walk_site_op(plan, site, 0)->in[0]].cols;
}
