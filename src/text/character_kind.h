/* Kinds of characters that several steps ask for, as Unicode and Rust's standard library tell them apart. */
#ifndef SPATE_TEXT_CHARACTER_KIND_H
#define SPATE_TEXT_CHARACTER_KIND_H

#include <stdbool.h>
#include <stdint.h>
#include <utf8proc.h>

/* White_Space. */
static inline bool character_is_space(uint32_t code) {
  utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
  return (code >= 9 && code <= 13) || code == 0x85 || category == UTF8PROC_CATEGORY_ZS ||
         category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

#endif
