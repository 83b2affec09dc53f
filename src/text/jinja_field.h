/* One field of a formatted text: '%05.2f' % x, '{:>10}'.format(x). */
#ifndef SPATE_TEXT_JINJA_FIELD_H
#define SPATE_TEXT_JINJA_FIELD_H

#include "text/jinja_text.h"

enum field_align {
  ALIGN_NONE,
  ALIGN_LEFT,
  ALIGN_RIGHT,
  ALIGN_CENTER,
  ALIGN_INSIDE /* between the sign and the digits */
};

struct field {
  enum field_align align;
  struct marked fill; /* one character */
  char sign;          /* of positive numbers: '+', ' ', or '-' for none */
  bool alternate;     /* 0x, 0o, 0b before the digits; a point behind them */
  char grouping;      /* ',' or '_' between the digits; '\0': none */
  char type;          /* as printf has it; '%', 'b', 'c', 'n' too; '\0': by the value */
  int64_t width;      /* characters at least; 0: as many as there are */
  int64_t precision;  /* -1: none */
};

/* A number with the fewest digits that read back the same; an exponent below 1e-4 and from 10^limit on. */
void real_shortest(double number, int limit, char text[40]);

/* A text cut to the precision and padded; ALIGN_NONE: to the right of it. */
bool field_text(struct rendering *r, struct builder *b, const struct field *field, struct marked text);

/* A whole number in base 2, 8, 10 or 16 (b o d x X; a precision: at least so many digits) or as a character (c). */
bool field_whole(struct rendering *r, struct builder *b, const struct field *field, int64_t number);

/* A number with a point or an exponent: e E f F g G %, or as str() has it (none of them, or with a precision). */
bool field_real(struct rendering *r, struct builder *b, const struct field *field, double number);

/* Both of a text; one of HTML escapes what is put into it.
 *
 * format % values: printf's way (https://docs.python.org/3/library/stdtypes.html#printf-style-string-formatting). */
bool format_percent(struct rendering *r, struct datum format, struct datum values, struct datum *out);

/* format.format(…): with braces (https://docs.python.org/3/library/string.html#format-string-syntax). */
bool format_braces(struct rendering *r, struct datum format, const struct arguments *a, struct datum *out);

#endif
