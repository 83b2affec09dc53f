/* Normalizing steps that map characters one by one. Most text is ASCII that a step leaves alone: runs of it are copied
 * whole. The kinds are those of the package `tokenizers`, whose normalizers these are (BertNormalizer, StripAccents,
 * Lowercase, Nmt). */
#include "text/character_kind.h"
#include "text/normalize.h"

#include "base/utf8.h"

enum { MAPPED_MOST = 3 }; /* characters that one may become */

static bool is_control(uint32_t code) {
  if (code == '\t' || code == '\n' || code == '\r') return false;
  utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
  return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}

static int map_clean(uint32_t code, uint32_t *out) {
  if (code == 0 || code == 0xFFFD || is_control(code)) return 0;
  out[0] = character_is_space(code) ? ' ' : code;
  return 1;
}

/* BERT's blocks of ideographs; that the sixth begins at U+2B920 is the package's own. */
static bool is_ideograph(uint32_t code) {
  static const uint32_t blocks[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
                                       {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    if (code >= blocks[i][0] && code <= blocks[i][1]) return true;
  return false;
}

static int map_space_cjk(uint32_t code, uint32_t *out) {
  bool spaced = is_ideograph(code);
  out[0] = spaced ? ' ' : code;
  out[1] = code;
  out[2] = ' ';
  return spaced ? 3 : 1;
}

static int map_drop_marks(uint32_t code, uint32_t mode, uint32_t *out) {
  utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
  bool other = category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
  out[0] = code;
  return category == UTF8PROC_CATEGORY_MN || (mode == MARKS_ALL && other) ? 0 : 1;
}

/* U+0130 alone becomes two characters. */
static int map_lower(uint32_t code, uint32_t *out) {
  out[0] = code == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
  out[1] = 0x307;
  return code == 0x130 ? 2 : 1;
}

static int map_nmt(uint32_t code, uint32_t *out) {
  if ((code >= 1 && code <= 8) || code == 0xB || (code >= 0xE && code <= 0x1F) || code == 0x7F || code == 0x8F ||
      code == 0x9F)
    return 0;
  bool space = code == 9 || code == 0xA || code == 0xC || code == 0xD || code == 0x1680 ||
               (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 || code == 0x2581 ||
               code == 0xFEFF || code == 0xFFFD;
  out[0] = space ? ' ' : code;
  return 1;
}

static int map_character(enum step_kind kind, uint32_t mode, uint32_t code, uint32_t *out) {
  switch (kind) {
  case STEP_CLEAN: return map_clean(code, out);
  case STEP_SPACE_CJK: return map_space_cjk(code, out);
  case STEP_DROP_MARKS: return map_drop_marks(code, mode, out);
  case STEP_LOWER: return map_lower(code, out);
  default: return map_nmt(code, out);
  }
}

/* No character that begins with the byte changes. */
static bool byte_inert(enum step_kind kind, uint8_t byte) {
  switch (kind) {
  case STEP_SPACE_CJK: return byte < 0xE3;
  case STEP_DROP_MARKS: return byte < 0xCC;
  case STEP_LOWER: return byte < 0x80 && (byte < 'A' || byte > 'Z');
  default: return byte >= ' ' && byte < 0x7F;
  }
}

static size_t inert_end(enum step_kind kind, struct slice text, size_t at) {
  while (at < text.size && byte_inert(kind, text.data[at])) at++;
  return at;
}

static bool append_mapped(enum step_kind kind, uint32_t mode, uint32_t code, struct buffer *out) {
  uint32_t mapped[MAPPED_MOST];
  uint8_t bytes[4 * MAPPED_MOST];
  size_t size = 0;
  int count = map_character(kind, mode, code, mapped);
  for (int i = 0; i < count; i++) size += (size_t)utf8proc_encode_char((utf8proc_int32_t)mapped[i], bytes + size);
  return buffer_append(out, bytes, size) || size == 0;
}

bool normalize_characters(enum step_kind kind, uint32_t mode, struct slice text, struct buffer *out,
                          struct slice *result) {
  size_t start = 0, at = inert_end(kind, text, 0);
  if (at == text.size) return true;
  while (at < text.size) {
    uint32_t code;
    size_t size = utf8_read(slice_make(text.data + at, text.size - at), &code);
    if (size == 0) return false;
    buffer_append(out, text.data + start, at - start);
    if (!append_mapped(kind, mode, code, out)) return false;
    start = at + size;
    at = inert_end(kind, text, start);
  }
  buffer_append(out, text.data + start, at - start);
  *result = buffer_slice(out);
  return !out->failed;
}

struct slice normalize_strip(struct slice text, uint32_t mode) {
  size_t start = 0, end = text.size, size;
  uint32_t code;
  while (mode & STRIP_LEFT && (size = utf8_read(slice_make(text.data + start, end - start), &code)) &&
         character_is_space(code))
    start += size;
  while (mode & STRIP_RIGHT && end > start) {
    size_t last = end - 1;
    while (last > start && (text.data[last] & 0xC0) == 0x80) last--;
    if (!utf8_read(slice_make(text.data + last, end - last), &code) || !character_is_space(code)) break;
    end = last;
  }
  return slice_make(text.data + start, end - start);
}
