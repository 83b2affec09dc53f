/* Connections by address: what counts as one address, and that counts come back. */
#include "http/peer_count.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint64_t key_of(const char *text) {
  struct sockaddr_storage address = {.ss_family = AF_INET6};
  if (inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&address)->sin6_addr) == 1) return peer_key(&address);
  address.ss_family = AF_INET;
  assert_int_equal(inet_pton(AF_INET, text, &((struct sockaddr_in *)&address)->sin_addr), 1);
  return peer_key(&address);
}

static void test_keys(void **state) {
  (void)state;
  assert_true(key_of("10.0.0.1") == key_of("::ffff:10.0.0.1")); /* one client, whichever socket it came to */
  assert_true(key_of("10.0.0.1") != key_of("10.0.0.2"));
  assert_true(key_of("2001:db8::1") == key_of("2001:db8::2:3:4:5")); /* one network of 64 bits */
  assert_true(key_of("2001:db8::1") != key_of("2001:db8:0:1::1"));
  assert_true(key_of("::1") != 0 && key_of("0.0.0.0") != 0);
  struct sockaddr_storage local = {.ss_family = AF_UNIX};
  assert_true(peer_key(&local) == 0);
}

static void test_counts(void **state) {
  (void)state;
  enum { PEERS = 5000 };
  struct peer_count count;
  peer_count_init(&count);
  for (uint64_t round = 0; round < 2; round++) {
    for (uint64_t key = 1; key <= PEERS; key++)
      for (int i = 0; i < 3; i++) assert_int_equal(peer_count_add(&count, key << 16, 2), i < 2);
    for (uint64_t key = 1; key <= PEERS; key++) {
      peer_count_remove(&count, key << 16);
      assert_true(peer_count_add(&count, key << 16, 2));
      for (int i = 0; i < 2; i++) peer_count_remove(&count, key << 16);
    }
  }
  for (int i = 0; i < PEER_BUCKETS; i++) assert_null(count.bucket[i]);
  peer_count_release(&count);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys), cmocka_unit_test(test_counts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
