/* Filters that look into the items of a list: by attribute, by test, in order. */
#ifndef SPATE_TEXT_JINJA_SELECT_H
#define SPATE_TEXT_JINJA_SELECT_H

#include "text/jinja_rendering.h"

/* The attribute of each item ("a.b.0" goes deeper), the fallback (may be NULL) where it is undefined. */
bool select_attributes(struct rendering *r, const struct datum_list *items, struct datum path,
                       const struct datum *fallback, struct datum *out);

bool filter_map(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_select(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_reject(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_selectattr(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_rejectattr(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_sort(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_dictsort(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_unique(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_min(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_max(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);

#endif
