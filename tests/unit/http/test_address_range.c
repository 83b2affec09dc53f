/* Public addresses and others: what Python's ipaddress says of those at every edge (tools/make_address_fixture.py), and
 * the ranges that an operator may name. */
#include "http/address_range.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sockaddr_storage address_of(const char *text) {
  struct sockaddr_storage out = {.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET};
  void *place = out.ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)&out)->sin6_addr
                                          : (void *)&((struct sockaddr_in *)&out)->sin_addr;
  if (inet_pton(out.ss_family, text, place) != 1) fail_msg("%s is no address", text);
  return out;
}

static const char *refuse(const char *text, const struct address_range *ranges, int n) {
  struct sockaddr_storage address = address_of(text);
  return address_refuse((struct sockaddr *)&address, ranges, n);
}

static void test_as_python(void **state) {
  (void)state;
  char text[64];
  int public, n = 0;
  FILE *file = fopen(FIXTURES "/http/addresses.tsv", "re");
  assert_non_null(file);
  for (; fscanf(file, "%63s %d", text, &public) == 2; n++) {
    const char *what = refuse(text, NULL, 0);
    if ((what == NULL) != public)
      fail_msg("%s is %s, expected %s", text, what ? what : "public", public ? "public" : "not");
  }
  fclose(file);
  assert_true(n > 800);
}

static void test_ranges(void **state) {
  (void)state;
  static const struct {
    const char *range, *in, *out;
  } rows[] = {
      {"10.1.0.0/16", "10.1.255.255", "10.2.0.0"},
      {"10.1.2.3", "10.1.2.3", "10.1.2.2"},
      {"10.1.2.3/32", "::ffff:10.1.2.3", "10.1.2.2"},
      {"10.0.0.0/8", "10.1.2.3", "64:ff9b::10.1.2.3"},
      {"127.0.0.0/7", "127.0.0.1", "::1"},
      {"0.0.0.0/0", "192.168.0.1", "::1"},
      {"::1", "::1", "::2"},
      {"fd00:1::/32", "fd00:1:ffff::", "fd00:2::"},
      {"::/0", "127.0.0.1", NULL},
      {"fe80::/11", "fe9f::", "fea0::"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct address_range range[2] = {{{0}, 128}};
    struct error error;
    if (!address_range_parse(&range[1], slice_text(rows[i].range), &error)) fail_msg("%s", error.text);
    if (refuse(rows[i].in, range, 2)) fail_msg("%s is in %s", rows[i].in, rows[i].range);
    if (rows[i].out && !refuse(rows[i].out, range, 2)) fail_msg("%s is not in %s", rows[i].out, rows[i].range);
  }
}

static void test_bad_ranges(void **state) {
  (void)state;
  static const char *const texts[] = {"",
                                      "a",
                                      "10.0.0/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/+8",
                                      "10.0.0.0/8x",
                                      "10.0.0.0/ 8",
                                      "::/129",
                                      "::1/1/1",
                                      "fe80::1%eth0",
                                      "010.0.0.1",
                                      "10.0.0.0/8,"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct address_range range;
    struct error error;
    char sentence[200];
    if (address_range_parse(&range, slice_text(texts[i]), &error)) fail_msg("%s was read", texts[i]);
    snprintf(sentence, sizeof sentence, "\"%s\" is no range of addresses, expected one such as 10.1.0.0/16.", texts[i]);
    assert_string_equal(error.text, sentence);
  }
}

static void test_other_protocols(void **state) {
  (void)state;
  struct sockaddr_storage address = {.ss_family = AF_UNIX};
  assert_string_equal(address_refuse((struct sockaddr *)&address, NULL, 0), "of another protocol");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_as_python),
      cmocka_unit_test(test_ranges),
      cmocka_unit_test(test_bad_ranges),
      cmocka_unit_test(test_other_protocols),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
