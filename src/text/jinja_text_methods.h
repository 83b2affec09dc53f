/* Methods of texts that are not in the file of the table that names them (jinja_text_methods.c). */
#ifndef SPATE_TEXT_JINJA_TEXT_METHODS_H
#define SPATE_TEXT_JINJA_TEXT_METHODS_H

#include "text/jinja_rendering.h"

/* jinja_find.c: looked through */
bool text_position(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_last_position(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_index(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_last_index(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_count(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_startswith(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_endswith(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_removeprefix(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_removesuffix(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);

/* jinja_padding.c: up to a width */
bool text_center(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_ljust(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_rjust(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_zfill(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);

bool text_expandtabs(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);

/* jinja_splits.c: into parts */
bool text_split(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_rsplit(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_splitlines(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_partition(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool text_rpartition(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);

#endif
