/* Whole numbers beyond 64 bits, as their digits: what a client's schema says is the most, and the like. */
#include "text/jinja_rendering.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool datum_digits(struct rendering *r, struct slice digits, struct datum *out) {
  char *copy = arena_text(r->arena, digits);
  struct marked *text = rendering_alloc(r, sizeof *text);
  if (!copy || !text) return rendering_no_memory(r);
  errno = 0;
  long long integer = strtoll(copy, NULL, 10);
  *text = (struct marked){.bytes = (const uint8_t *)copy, .size = digits.size};
  *out = errno == 0 ? datum_int(integer) : (struct datum){.kind = DATUM_BIG, .text = text};
  return rendering_charge_characters(r, digits.size);
}

double big_number(const struct marked *digits) { return strtod((const char *)digits->bytes, NULL); }

/* The digits of any whole number; text is room for them. False: it has a fraction or is no number. */
static bool digits_of(struct datum d, char text[512], struct slice *digits) {
  if (d.kind == DATUM_BIG)
    *digits = marked_slice(d.text);
  else if (d.kind == DATUM_FLOAT && isfinite(d.number) && d.number == floor(d.number))
    *digits = slice_make(text, (size_t)snprintf(text, 512, "%.0f", d.number));
  else if (d.kind == DATUM_INT || d.kind == DATUM_BOOL)
    *digits =
        slice_make(text, (size_t)snprintf(text, 512, "%lld", d.kind == DATUM_INT ? (long long)d.integer : d.truth));
  else
    return false;
  return true;
}

bool big_equal(struct datum a, struct datum b) {
  char texts[2][512];
  struct slice x, y;
  return digits_of(a, texts[0], &x) && digits_of(b, texts[1], &y) && slice_equal(x, y);
}

static bool is_below_zero(struct datum d) {
  return d.kind == DATUM_BIG ? d.text->bytes[0] == '-' : d.kind == DATUM_FLOAT ? d.number < 0 : d.integer < 0;
}

/* Of a number without digits and one that no double holds: an infinity is beyond it, a fraction is nearer to 0. */
static int order_real(double number, struct datum big) {
  return (isinf(number) ? number > 0 : is_below_zero(big)) ? 1 : -1;
}

int big_order(struct datum a, struct datum b) {
  char texts[2][512];
  struct slice x, y;
  if (!digits_of(a, texts[0], &x)) return order_real(a.number, b);
  if (!digits_of(b, texts[1], &y)) return -order_real(b.number, a);
  bool below = x.data[0] == '-';
  if (below != (y.data[0] == '-')) return below ? -1 : 1;
  int order = x.size != y.size ? (x.size > y.size) - (x.size < y.size) : memcmp(x.data, y.data, x.size);
  return below ? -order : order;
}
