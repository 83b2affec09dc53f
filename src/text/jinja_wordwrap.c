/* The filter wordwrap: lines of at most so many characters, cut as Python's textwrap cuts them. */
#include "text/jinja_filters.h"
#include "text/jinja_html.h"
#include "text/jinja_text.h"
#include "text/letters.h"

#include "base/limits.h"

/* A line of the text, its characters by number. */
struct paragraph {
  struct marked text;
  size_t length;     /* characters */
  uint32_t *codes;   /* [length] */
  uint32_t *offsets; /* [length + 1] bytes */
};

struct wrapping {
  size_t width;
  bool breaks_words, breaks_hyphens, simple; /* simple: words end at white space alone */
  struct marked between;                     /* lines */
  bool html;                                 /* what stands between them is: lines are escaped */
  struct builder out;
};

/* Characters from start to end that are not torn apart: a word, a part of one, or white space. */
struct chunk {
  size_t start, end;
};

static bool paragraph_read(struct rendering *r, struct marked text, struct paragraph *p) {
  *p = (struct paragraph){.text = text, .length = marked_length(text)};
  if (!rendering_charge(r, 1 + p->length)) return false;
  p->codes = rendering_alloc(r, (p->length + 1) * sizeof *p->codes);
  p->offsets = p->codes ? rendering_alloc(r, (p->length + 1) * sizeof *p->offsets) : NULL;
  if (!p->offsets) return false;
  size_t at = 0;
  for (size_t i = 0; i < p->length; i++) {
    p->offsets[i] = (uint32_t)at;
    at += text_character(text, at, &p->codes[i]);
  }
  p->offsets[p->length] = (uint32_t)at;
  return true;
}

/* --- chunks ------------------------------------------------------------------------------------------------------- */

static bool is_blank(const struct paragraph *p, size_t at) { /* textwrap knows these six */
  return at < p->length && p->codes[at] && p->codes[at] < 0x80 && strchr("\t\n\v\f\r ", (int)p->codes[at]);
}

static bool is_hyphen(const struct paragraph *p, size_t at) { return at < p->length && p->codes[at] == '-'; }

static bool is_word(const struct paragraph *p, size_t at) {
  return at < p->length && (p->codes[at] == '_' || letter_is_alnum(p->codes[at]));
}

static bool is_letter(const struct paragraph *p, size_t at) { /* of a word, and no digit */
  return is_word(p, at) && !letter_is_decimal(p->codes[at]);
}

static bool is_punctuated(const struct paragraph *p, size_t at) {
  return is_word(p, at) ||
         (at < p->length && p->codes[at] && p->codes[at] < 0x80 && strchr("!\"'&.,?", (int)p->codes[at]));
}

/* Two hyphens or more and a word behind them: where they end, or 0. */
static size_t dash_end(const struct paragraph *p, size_t at) {
  size_t end = at;
  while (is_hyphen(p, end)) end++;
  return end - at >= 2 && is_word(p, end) ? end : 0;
}

/* A hyphen between letters of one word. */
static bool hyphen_cuts(const struct paragraph *p, size_t at) {
  bool before = (at >= 2 && is_letter(p, at - 2) && is_letter(p, at - 1)) ||
                (at >= 3 && is_letter(p, at - 3) && is_hyphen(p, at - 2) && is_letter(p, at - 1));
  size_t next = at + 1;
  return is_hyphen(p, at) && before && is_letter(p, next) && is_letter(p, next + 1 + is_hyphen(p, next + 1));
}

static size_t chunk_end(const struct paragraph *p, const struct wrapping *w, size_t at) {
  size_t end = at;
  while (is_blank(p, end)) end++;
  if (end > at) return end;
  if (!w->simple && at && is_punctuated(p, at - 1) && (end = dash_end(p, at))) return end;
  for (end = at + 1; end < p->length && !is_blank(p, end); end++) {
    if (w->simple) continue;
    if (hyphen_cuts(p, end)) return end + 1;
    if (is_punctuated(p, end - 1) && dash_end(p, end)) return end;
  }
  return end;
}

static bool chunks_read(struct rendering *r, const struct paragraph *p, const struct wrapping *w, struct chunk **chunks,
                        size_t *count) {
  size_t most = 0;
  for (size_t at = 0; at < p->length; at = chunk_end(p, w, at)) most++;
  if (!rendering_charge(r, 1 + p->length / 2) || !(*chunks = rendering_alloc(r, (most + 1) * sizeof **chunks)))
    return false;
  *count = 0;
  for (size_t at = 0; at < p->length; at = (*chunks)[*count - 1].end)
    (*chunks)[(*count)++] = (struct chunk){at, chunk_end(p, w, at)};
  return true;
}

/* --- lines -------------------------------------------------------------------------------------------------------- */

/* A word may begin with much white space that is none to textwrap, which lines of it are asked for again and again.
 * When the budget is spent nothing is white space, and the charge of the next line fails. */
static bool is_space(struct rendering *r, const struct paragraph *p, struct chunk c) {
  size_t at = c.start;
  while (at < c.end && text_is_space(p->codes[at])) at++;
  return rendering_charge(r, (at - c.start) / 8) && at == c.end;
}

static bool append_line(struct rendering *r, const struct paragraph *p, struct wrapping *w, bool first,
                        struct chunk line) {
  struct marked text = marked_part(p->text, p->offsets[line.start], p->offsets[line.end]);
  return (first || builder_marked(r, &w->out, w->between)) &&
         (w->html ? html_append_text : builder_marked)(r, &w->out, text);
}

/* How much of a word that no line holds goes into what is left of one: behind its last hyphen there, if any. */
static size_t word_cut(const struct paragraph *p, const struct wrapping *w, struct chunk word, size_t left) {
  size_t hyphen = left, others = 0;
  if (!w->breaks_hyphens) return left;
  while (hyphen > 0 && !is_hyphen(p, word.start + hyphen - 1)) hyphen--;
  if (hyphen < 2) return left;
  while (others < hyphen - 1 && is_hyphen(p, word.start + others)) others++;
  return others < hyphen - 1 ? hyphen : left;
}

static bool wrap(struct rendering *r, const struct paragraph *p, struct wrapping *w) {
  struct chunk *chunks;
  size_t count;
  bool first = true;
  if (!chunks_read(r, p, w, &chunks, &count)) return false;
  for (size_t i = 0; i < count;) {
    if (!first && is_space(r, p, chunks[i]) && ++i == count) break;
    struct chunk line = {chunks[i].start, chunks[i].start}, last = line;
    size_t pieces = 0;
    for (; i < count && chunks[i].end - line.start <= w->width; i++, pieces++) {
      last = chunks[i];
      line.end = last.end;
    }
    if (i < count && chunks[i].end - chunks[i].start > w->width && (w->breaks_words || pieces == 0)) {
      size_t cut = w->breaks_words ? word_cut(p, w, chunks[i], w->width - (line.end - line.start))
                                   : chunks[i].end - chunks[i].start;
      last = (struct chunk){chunks[i].start, chunks[i].start + cut};
      line.end = chunks[i].start = last.end;
      i += !w->breaks_words;
      pieces++;
    }
    if (pieces && is_space(r, p, last)) line.end = last.start, pieces--;
    if (pieces && !append_line(r, p, w, first, line)) return false;
    first = first && pieces == 0;
  }
  return true;
}

static bool filter_wordwrap(struct rendering *r, struct datum d, const struct arguments *a, struct datum *out) {
  const struct datum *between = argument(a, 2, "wrapstring"), *hyphens = argument(a, 3, "break_on_hyphens");
  struct wrapping w = {.breaks_words = argument_truth(a, 1, "break_long_words", true),
                       .breaks_hyphens = argument_truth(a, 3, "break_on_hyphens", true),
                       .simple = hyphens && (hyphens->kind != DATUM_BOOL || !hyphens->truth),
                       .between = {(const uint8_t *)"\n", NULL, 1}};
  int64_t width = 79;
  struct paragraph p;
  if (d.kind != DATUM_TEXT) return rendering_fail(r, "wordwrap needs a text, not a %s", datum_kind_name(d));
  if (!argument_int(r, a, 0, "width", "wordwrap", &width) || !rendering_charge_characters(r, d.text->size))
    return false;
  if (between && between->kind != DATUM_NONE && between->kind != DATUM_TEXT)
    return rendering_fail(r, "wordwrap needs a text for wrapstring, not a %s", datum_kind_name(*between));
  if (between && between->kind == DATUM_TEXT) w.between = *between->text;
  w.html = between && between->html;
  w.width = width < 0 ? 0 : (size_t)width;
  for (size_t at = 0, end, ending; at < d.text->size; at = end + ending) {
    end = text_line(*d.text, at, &ending);
    if (w.width == 0) return rendering_fail(r, "wordwrap needs a width of at least 1");
    if ((at && !builder_marked(r, &w.out, w.between)) || !paragraph_read(r, marked_part(*d.text, at, end), &p) ||
        !wrap(r, &p, &w))
      return false;
  }
  if (!builder_take(r, &w.out, out)) return false;
  out->html = w.html;
  return true;
}

const struct jinja_filter wrap_filters[] = {
    {"wordwrap", "width? break_long_words? wrapstring? break_on_hyphens?", filter_wordwrap},
    {NULL, NULL, NULL},
};
