/* RFC 8288 as the hub writes it, and RFC 9110. */
#include "hub/hub_headers.h"

#include <string.h>

enum { DIGITS_MAX = 18 };

bool hub_link_next(const char *link, char *out, size_t room) {
  for (const char *at = link; (at = strchr(at, '<'));) {
    const char *end = strchr(at, '>');
    if (!end) return false;
    const char *comma = strchr(end, ','), *rel = strstr(end, "rel=\"next\"");
    size_t size = (size_t)(end - at - 1);
    if (rel && (!comma || rel < comma)) {
      if (size == 0 || size >= room) return false;
      memcpy(out, at + 1, size);
      out[size] = '\0';
      return true;
    }
    at = end;
  }
  return false;
}

bool hub_number_read(const char *text, size_t size, uint64_t *number) {
  if (size == 0 || size > DIGITS_MAX) return false;
  *number = 0;
  for (size_t i = 0; i < size; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    *number = 10 * *number + (uint64_t)(text[i] - '0');
  }
  return true;
}

bool hub_range_read(const char *range, uint64_t *first, uint64_t *last, uint64_t *total) {
  if (strncmp(range, "bytes ", 6) != 0) return false;
  const char *from = range + 6, *dash = strchr(from, '-'), *slash = dash ? strchr(dash, '/') : NULL;
  *total = UINT64_MAX;
  return slash && hub_number_read(from, (size_t)(dash - from), first) &&
         hub_number_read(dash + 1, (size_t)(slash - dash - 1), last) &&
         (strcmp(slash, "/*") == 0 || hub_number_read(slash + 1, strlen(slash + 1), total));
}
