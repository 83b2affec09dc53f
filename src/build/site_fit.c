/* Fits into transforms, and out of them. */
#include "build/site_fit.h"

void site_fit_set(struct weight_transform *transforms, const struct plan *plan, const struct walk_site *site,
                  const struct scale_fold *fold, const struct site_fit *fit) {
  for (int i = 0; i < site->count; i++) {
    struct weight_transform *transform = &transforms[walk_site_weight(plan, site, i)];
    bool apart = walk_site_mixes(site) && (i == 0 || plan_weights(plan)[walk_site_weight(plan, site, i)].n_expert > 0);
    transform->column = fit->column;
    transform->metric = apart ? NULL : fit->metric;
  }
  for (int i = 0; i < fold->n_target; i++) transforms[fold->target[i].weight].row[fold->target[i].part] = fit->inverse;
}

struct site_fit site_fit_get(const struct weight_transform *transforms, const struct plan *plan,
                             const struct walk_site *site, const struct scale_fold *fold) {
  struct site_fit fit = {.column = transforms[walk_site_weight(plan, site, 0)].column};
  for (int i = 0; i < site->count && !fit.metric; i++) fit.metric = transforms[walk_site_weight(plan, site, i)].metric;
  if (fold->n_target > 0) fit.inverse = transforms[fold->target[0].weight].row[fold->target[0].part];
  return fit;
}

int site_group(const struct plan *plan, const struct walk_site *site) {
  int group = -1;
  for (int i = 0; i < site->count; i++) {
    const struct weight *w = &plan_weights(plan)[walk_site_weight(plan, site, i)];
    const struct scheme *s = &w->scheme;
    if (walk_site_mixes(site) && (i == 0 || w->n_expert > 0)) continue;
    int own = s->kind == SCHEME_INT ? s->group : 0;
    group = group < 0 || group == own ? own : 0;
  }
  return group > 0 ? group : 0;
}

size_t site_metric_count(int cols, int group) { return ((size_t)cols + (size_t)group) * (size_t)group; }
