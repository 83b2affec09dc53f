/* Numbers and texts written into fields of a width, by Python's rules. */
#include "text/jinja_field.h"

#include "base/utf8.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PRECISION_MAX = 100, DIGITS_MAX = 512 /* 1e308 with PRECISION_MAX decimals */ };

/* A number in its parts. */
struct digits {
  char head[8];           /* sign and base */
  char whole[DIGITS_MAX]; /* before the point */
  char rest[DIGITS_MAX];  /* point, decimals, exponent, percent sign */
  size_t group;           /* digits between separators */
};

/* --- padding ---------------------------------------------------------------------------------------------------- */

static bool pad(struct rendering *r, struct builder *b, struct marked fill, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!rendering_charge_bytes(r, 1) || !builder_marked(r, b, fill)) return false;
  return true;
}

bool field_text(struct rendering *r, struct builder *b, const struct field *field, struct marked text) {
  if (field->precision >= 0) text = marked_part(text, 0, marked_offset(text, 0, (size_t)field->precision));
  size_t length = marked_length(text), space = (uint64_t)field->width > length ? (size_t)field->width - length : 0;
  size_t left = field->align == ALIGN_RIGHT ? space : field->align == ALIGN_CENTER ? space / 2 : 0;
  return rendering_charge_bytes(r, text.size) && pad(r, b, field->fill, left) && builder_marked(r, b, text) &&
         pad(r, b, field->fill, space - left);
}

/* The digits with separators between groups from the right, and with zeros before them to `width` characters. */
static bool write_grouped(struct rendering *r, struct builder *b, const struct digits *d, char separator,
                          size_t width) {
  size_t count = strlen(d->whole), total = count;
  for (; total + (total - 1) / d->group < width; total++)
    if (!rendering_charge_bytes(r, 1)) return false;
  for (size_t i = 0; i < total; i++) {
    uint8_t digit = i < total - count ? '0' : (uint8_t)d->whole[i - (total - count)];
    if (i && (total - i) % d->group == 0 && !builder_byte(r, b, (uint8_t)separator, 0)) return false;
    if (!builder_byte(r, b, digit, 0)) return false;
  }
  return true;
}

static size_t grouped_length(const struct digits *d, const struct field *field) {
  size_t count = strlen(d->whole);
  return field->grouping && count ? count + (count - 1) / d->group : count;
}

static bool write_digits(struct rendering *r, struct builder *b, const struct field *field, const struct digits *d) {
  size_t around = strlen(d->head) + strlen(d->rest), length = around + grouped_length(d, field);
  size_t width = (size_t)field->width, space = width > length ? width - length : 0;
  bool inside = field->align == ALIGN_INSIDE, zeros = inside && slice_is(marked_slice(&field->fill), "0");
  size_t left = field->align == ALIGN_LEFT || inside ? 0 : field->align == ALIGN_CENTER ? space / 2 : space;
  if (!pad(r, b, field->fill, left) || !builder_text(r, b, slice_text(d->head))) return false;
  bool grouped = field->grouping && d->whole[0] && isxdigit((unsigned char)d->whole[0]);
  if (inside && !(zeros && grouped) && !pad(r, b, field->fill, space)) return false;
  size_t wanted = zeros && grouped && width > around ? width - around : 0;
  if (!(grouped ? write_grouped(r, b, d, field->grouping, wanted) : builder_text(r, b, slice_text(d->whole))))
    return false;
  return builder_text(r, b, slice_text(d->rest)) && (inside || pad(r, b, field->fill, space - left));
}

static bool sign_head(const struct field *field, bool negative, char head[8]) {
  head[0] = negative ? '-' : field->sign;
  head[1] = '\0';
  if (head[0] == '-' && !negative) head[0] = '\0';
  return true;
}

/* --- whole numbers ---------------------------------------------------------------------------------------------- */

static bool write_character(struct rendering *r, struct builder *b, const struct field *field, int64_t code) {
  struct builder one = {0};
  struct datum text;
  if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
    return rendering_fail(r, "%lld is the number of no character", (long long)code);
  return builder_character(r, &one, (uint32_t)code, 0) && builder_take(r, &one, &text) &&
         field_text(r, b, field, *text.text);
}

static void whole_digits(uint64_t size, unsigned base, bool upper, int64_t at_least, char *text) {
  char reversed[DIGITS_MAX];
  size_t count = 0;
  for (; size || count == 0 || count < (size_t)at_least; size /= base)
    reversed[count++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[size % base];
  for (size_t i = 0; i < count; i++) text[i] = reversed[count - 1 - i];
  text[count] = '\0';
}

bool field_whole(struct rendering *r, struct builder *b, const struct field *field, int64_t number) {
  struct digits d = {.group = 3};
  if (!rendering_charge(r, 8)) return false;
  char type = field->type ? field->type : 'd';
  if (type == 'c') return write_character(r, b, field, number);
  if (field->precision > PRECISION_MAX) return rendering_fail(r, "a format takes at most %d digits", PRECISION_MAX);
  unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  if (base != 10) d.group = 4;
  sign_head(field, number < 0, d.head);
  if (field->alternate && base != 10) {
    size_t at = strlen(d.head);
    d.head[at] = '0';
    d.head[at + 1] = type;
    d.head[at + 2] = '\0';
  }
  uint64_t size = number < 0 ? -(uint64_t)number : (uint64_t)number;
  whole_digits(size, base, type == 'X', field->precision < 0 ? 0 : field->precision, d.whole);
  return write_digits(r, b, field, &d);
}

/* --- numbers with a point --------------------------------------------------------------------------------------- */

/* The numbers next to a power of two are nearer below it than above: 16 digits that are rounded up may read back as it
 * where the nearest do not. */
static bool reads_back_above(double number, char text[40]) {
  int exponent;
  if (fabs(frexp(number, &exponent)) != 0.5) return false;
  size_t last = strcspn(text, "e") - 1;
  for (; text[last] == '9'; last--) text[last] = '0';
  if (text[last] < '0' || text[last] > '8') return false; /* a carry into the point */
  text[last]++;
  return strtod(text, NULL) == number;
}

/* The fewest digits that read back the same, with an exponent; returns how many. 15 always read back, but for numbers
 * so small that they have fewer themselves: what is behind the last of them that is not 0 is left out. */
static int fewest_digits(double number, char text[40]) {
  for (int digits = fabs(number) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
    snprintf(text, 40, "%.*e", digits - 1, number);
    bool same = digits == 17 || strtod(text, NULL) == number || (digits == 16 && reads_back_above(number, text));
    if (!same) continue;
    size_t exponent = strcspn(text, "e"), end = exponent;
    while (digits > 1 && text[end - 1] == '0') digits--, end--;
    if (text[end - 1] == '.') end--;
    memmove(text + end, text + exponent, strlen(text + exponent) + 1);
    return digits;
  }
  return 17; /* not reached */
}

void real_shortest(double number, int limit, char text[40]) {
  int digits = fewest_digits(number, text), exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
  if (exponent >= limit || exponent < -4) return; /* C and Python write exponents alike */
  int decimals = digits - 1 - exponent;
  snprintf(text, 40, "%.*f", decimals < 1 ? 1 : decimals, number);
}

/* With at most `precision` digits: a point always, an exponent from that many digits on. */
static void plain_real(double size, int64_t precision, char *text) {
  if (precision < 0) {
    real_shortest(size, 16, text);
    return;
  }
  int digits = precision == 0 ? 1 : (int)precision, limit = digits - 1;
  snprintf(text, DIGITS_MAX, "%.*e", digits - 1, size);
  int exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
  bool scientific = exponent < -4 || exponent >= limit;
  if (!scientific) snprintf(text, DIGITS_MAX, "%.*f", digits > exponent + 1 ? digits - 1 - exponent : 0, size);
  size_t tail = strcspn(text, "e"), end = tail;
  if (strchr(text, '.')) { /* the zeros behind the last digit */
    while (text[end - 1] == '0') end--;
    if (text[end - 1] == '.') end--;
    memmove(text + end, text + tail, strlen(text + tail) + 1);
  }
  if (!scientific && !strchr(text, '.')) memcpy(text + strlen(text), ".0", 3);
}

static void real_text(const struct field *field, double size, char *text) {
  char form[16];
  char type = field->type == '%' ? 'f' : field->type == 'n' ? 'g' : field->type;
  double value = field->type == '%' ? size * 100 : size;
  if (!isfinite(size)) {
    const char *name = isnan(size) ? "nan" : "inf";
    for (size_t i = 0; i < 4; i++)
      text[i] = (char)(isupper((unsigned char)type) ? toupper((unsigned char)name[i]) : name[i]);
  } else if (!type) {
    plain_real(value, field->precision, text);
  } else {
    snprintf(form, sizeof form, "%%%s.*%c", field->alternate ? "#" : "", type);
    snprintf(text, DIGITS_MAX, form, field->precision < 0 ? 6 : (int)field->precision, value);
  }
}

bool field_real(struct rendering *r, struct builder *b, const struct field *field, double number) {
  struct digits d = {.group = 3};
  if (field->precision > PRECISION_MAX) return rendering_fail(r, "a format takes at most %d digits", PRECISION_MAX);
  if (!rendering_charge_real(r) || !rendering_charge_real(r)) return false;
  bool negative = signbit(number) && !isnan(number);
  sign_head(field, negative, d.head);
  real_text(field, fabs(number), d.whole);
  size_t whole = isfinite(number) ? strspn(d.whole, "0123456789") : strlen(d.whole);
  snprintf(d.rest, sizeof d.rest, "%s%s", d.whole + whole, field->type == '%' ? "%" : "");
  d.whole[whole] = '\0';
  return write_digits(r, b, field, &d);
}
