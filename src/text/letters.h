/* Characters as Python's str sees them: their kind and their other case. */
#ifndef SPATE_TEXT_LETTERS_H
#define SPATE_TEXT_LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool letter_is_lower(uint32_t code);
bool letter_is_upper(uint32_t code);
bool letter_is_title(uint32_t code); /* one that begins words, as U+01C5 */
bool letter_is_cased(uint32_t code);
bool letter_is_ignored(uint32_t code); /* where the case of what is around it is asked for */
bool letter_is_alpha(uint32_t code);
bool letter_is_decimal(uint32_t code);
bool letter_is_digit(uint32_t code);
bool letter_is_numeric(uint32_t code);
bool letter_is_alnum(uint32_t code);
bool letter_is_printable(uint32_t code); /* repr() writes it as it is */

/* The other case: one to three characters; returns how many. */
size_t letter_upper(uint32_t code, uint32_t out[3]);
size_t letter_title(uint32_t code, uint32_t out[3]);
size_t letter_lower(uint32_t code, uint32_t out[3]);
size_t letter_folded(uint32_t code, uint32_t out[3]); /* as str.casefold */

#endif
