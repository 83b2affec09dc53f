/* Headers of answers whose values have a grammar of their own. */
#ifndef SPATE_HUB_HUB_HEADERS_H
#define SPATE_HUB_HUB_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The address of the next page in a header Link: <URL>; rel="next". False: there is none, or it has no room. */
bool hub_link_next(const char *link, char *out, size_t room);

/* "bytes FIRST-LAST/TOTAL" of Content-Range; *total is UINT64_MAX where it is "*". */
bool hub_range_read(const char *range, uint64_t *first, uint64_t *last, uint64_t *total);

/* Digits alone, of a number below 10^18. */
bool hub_number_read(const char *text, size_t size, uint64_t *number);

#endif
