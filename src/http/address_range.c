/* IANA's registries of special addresses (RFC 6890 and what came after), and those that carry one of IPv4 within. */
#include "http/address_range.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

enum { ADDRESS_BYTES = 16, MAPPED_BITS = 96, TEXT_MAX = 64 };

struct special {
  uint8_t bytes[8]; /* the first ones */
  int bits;
  const char *what;
};

static const struct special special_4[] = {
    {{0}, 8, "of this network"},
    {{10}, 8, "private"},
    {{100, 64}, 10, "shared by customers of a carrier"},
    {{127}, 8, "loopback"},
    {{169, 254}, 16, "link-local"},
    {{172, 16}, 12, "private"},
    {{192, 0, 0}, 24, "reserved"},
    {{192, 0, 2}, 24, "of documentation"},
    {{192, 31, 196}, 24, "reserved"},
    {{192, 52, 193}, 24, "reserved"},
    {{192, 88, 99}, 24, "reserved"},
    {{192, 168}, 16, "private"},
    {{192, 175, 48}, 24, "reserved"},
    {{198, 18}, 15, "of benchmarks"},
    {{198, 51, 100}, 24, "of documentation"},
    {{203, 0, 113}, 24, "of documentation"},
    {{224}, 4, "multicast"},
    {{240}, 4, "reserved"},
};

/* Within 2000::/3, outside of which nothing is public. */
static const struct special special_6[] = {
    {{0x20, 0x01, 0x00}, 23, "reserved"}, /* Teredo, ORCHID and benchmarks among them */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, "of documentation"},
    {{0x20, 0x02}, 16, "a tunnel to IPv4"}, /* 6to4 */
    {{0x26, 0x20, 0x00, 0x4f, 0x80, 0x00}, 48, "reserved"},
    {{0x3f, 0xff, 0x00}, 20, "of documentation"},
};

/* Outside of it, for the word that says why. */
static const struct special outside_6[] = {
    {{0xfc}, 7, "private"},
    {{0xfe, 0x80}, 10, "link-local"},
    {{0xfe, 0xc0}, 10, "private"},
    {{0xff}, 8, "multicast"},
};

static const uint8_t mapped[ADDRESS_BYTES] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96 */
static const uint8_t translated[ADDRESS_BYTES] = {0, 0x64, 0xff, 0x9b};  /* 64:ff9b::/96 (RFC 6052) */

static bool bits_equal(const uint8_t *a, const uint8_t *b, int bits) {
  int whole = bits / 8, rest = bits % 8;
  return memcmp(a, b, (size_t)whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0);
}

static const char *find(const struct special *list, size_t n, const uint8_t *address) {
  for (size_t i = 0; i < n; i++)
    if (bits_equal(list[i].bytes, address, list[i].bits)) return list[i].what;
  return NULL;
}

#define FIND(list, address) find(list, sizeof list / sizeof *list, address)

static const char *special_of(const uint8_t address[ADDRESS_BYTES]) {
  static const uint8_t nothing[ADDRESS_BYTES], loopback[ADDRESS_BYTES] = {[15] = 1}, global[] = {0x20};
  if (bits_equal(address, mapped, MAPPED_BITS) || bits_equal(address, translated, MAPPED_BITS))
    return FIND(special_4, address + 12);
  if (bits_equal(address, global, 3)) return FIND(special_6, address);
  if (memcmp(address, loopback, ADDRESS_BYTES) == 0) return "loopback";
  if (memcmp(address, nothing, ADDRESS_BYTES) == 0) return "of this network";
  const char *what = FIND(outside_6, address);
  return what ? what : "reserved";
}

static bool bytes_of(const struct sockaddr *address, uint8_t out[ADDRESS_BYTES]) {
  memcpy(out, mapped, ADDRESS_BYTES);
  if (address->sa_family == AF_INET)
    memcpy(out + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
  else if (address->sa_family == AF_INET6)
    memcpy(out, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, ADDRESS_BYTES);
  else
    return false;
  return true;
}

const char *address_refuse(const struct sockaddr *address, const struct address_range *ranges, int n) {
  uint8_t bytes[ADDRESS_BYTES];
  if (!bytes_of(address, bytes)) return "of another protocol";
  for (int i = 0; i < n; i++)
    if (bits_equal(ranges[i].bytes, bytes, ranges[i].bits)) return NULL;
  return special_of(bytes);
}

static bool range_refuse(struct slice text, struct error *error) {
  return error_set(error, ERROR_INVALID, "\"%.*s\" is no range of addresses, expected one such as 10.1.0.0/16.",
                   SLICE_ARGS(text));
}

bool address_range_parse(struct address_range *range, struct slice text, struct error *error) {
  char copy[TEXT_MAX], *end = NULL;
  struct in_addr four;
  if (text.size >= sizeof copy || (text.size && memchr(text.data, 0, text.size))) return range_refuse(text, error);
  memcpy(copy, text.data, text.size);
  copy[text.size] = '\0';
  char *slash = strchr(copy, '/');
  if (slash) *slash = '\0';
  bool is_four = inet_pton(AF_INET, copy, &four) == 1;
  memcpy(range->bytes, mapped, ADDRESS_BYTES);
  if (is_four) memcpy(range->bytes + 12, &four, sizeof four);
  if (!is_four && inet_pton(AF_INET6, copy, range->bytes) != 1) return range_refuse(text, error);
  int most = is_four ? 32 : 128;
  long bits = slash ? strtol(slash + 1, &end, 10) : most;
  if (slash && (slash[1] < '0' || slash[1] > '9' || *end)) return range_refuse(text, error);
  if (bits < 0 || bits > most) return range_refuse(text, error);
  range->bits = (int)bits + (is_four ? MAPPED_BITS : 0);
  return true;
}
