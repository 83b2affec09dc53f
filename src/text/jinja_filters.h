/* Filters that are not in the file of the table that names them. */
#ifndef SPATE_TEXT_JINJA_FILTERS_H
#define SPATE_TEXT_JINJA_FILTERS_H

#include "text/jinja_rendering.h"

/* The attribute of an object: "a.b.0" goes deeper; the fallback (may be NULL) where a part of it is undefined. */
bool follow_path(struct rendering *r, struct datum object, struct datum path, const struct datum *fallback,
                 struct datum *out);

/* The attribute of each item ("a.b.0" goes deeper), the fallback (may be NULL) where it is undefined. */
bool select_attributes(struct rendering *r, const struct datum_list *items, struct datum path,
                       const struct datum *fallback, struct datum *out);

/* A number, or what int() or else float() reads of a text: *found says whether it is one. Undefined fails. */
bool datum_read_number(struct rendering *r, struct datum d, struct datum *number, bool *found);

#endif
