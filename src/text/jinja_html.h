/* Texts that are marked as HTML, as jinja2's Markup (markupsafe): what |safe and |escape give. A plain text that is
 * added to one, put into it or joined by it is escaped; everything else takes it for a text like any other. */
#ifndef SPATE_TEXT_JINJA_HTML_H
#define SPATE_TEXT_JINJA_HTML_H

#include "text/jinja_rendering.h"

/* str(d) escaped, or as it is where d is HTML. An escape bears the mark of the character that it stands for. */
bool html_append(struct rendering *r, struct builder *b, struct datum d);
bool html_escape(struct rendering *r, struct datum d, struct datum *out);

/* The same for a text that is none, whatever it is. */
bool html_append_text(struct rendering *r, struct builder *b, struct marked text);

/* The items, each escaped where it is none, with the separator between them. */
bool html_join(struct rendering *r, const struct datum_list *items, struct marked separator, struct datum *out);

/* Marks a text, or the texts of a list that nobody else has, as HTML. */
void html_mark(struct datum *d);

/* jinja_unescape.c: methods of such texts, which give plain ones. */
bool html_unescape(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);
bool html_striptags(struct rendering *r, struct datum self, const struct arguments *a, struct datum *out);

#endif
