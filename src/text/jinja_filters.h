/* Filters that are not in the file of the table that names them. */
#ifndef SPATE_TEXT_JINJA_FILTERS_H
#define SPATE_TEXT_JINJA_FILTERS_H

#include "text/jinja_rendering.h"

/* The attribute of each item ("a.b.0" goes deeper), the fallback (may be NULL) where it is undefined. */
bool select_attributes(struct rendering *r, const struct datum_list *items, struct datum path,
                       const struct datum *fallback, struct datum *out);

/* jinja_select.c: they look into the items of a list, by attribute, by test, in order. */
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

/* jinja_number_filters.c */
bool filter_int(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_float(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_abs(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);
bool filter_round(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out);

#endif
