/* Which proxy the environment names for a server, and where a redirect leads. */
#include "http/http_proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void url_make(struct http_url *url, const char *text) {
  assert_true(http_url_parse(url, slice_text(text), NULL));
}

static bool found(const struct http_proxy_rules *rules, const char *server, struct http_proxy *proxy) {
  struct http_url url;
  bool is_found;
  url_make(&url, server);
  assert_true(http_proxy_find(rules, &url, proxy, &is_found, NULL));
  return is_found;
}

static void test_schemes(void **state) {
  const struct http_proxy_rules rules = {.https = "http://me:a%3Ab@p:3128", .http = "q:8080", .none = ""};
  const struct http_proxy_rules all = {.https = "", .all = "[::1]:1"}, none = {0};
  struct http_proxy proxy;
  (void)state;
  assert_true(found(&rules, "https://h/x", &proxy));
  assert_string_equal(proxy.address.authority, "p:3128");
  assert_string_equal(proxy.credentials, "bWU6YTpi"); /* me:a:b */
  assert_true(found(&rules, "http://h/x", &proxy));
  assert_string_equal(proxy.address.authority, "q:8080");
  assert_string_equal(proxy.credentials, "");
  assert_true(found(&all, "https://h/x", &proxy));
  assert_string_equal(proxy.address.host, "::1");
  assert_false(found(&none, "https://h/x", &proxy));
}

static void test_none(void **state) {
  static const struct {
    const char *none, *server;
    bool proxied;
  } cases[] = {
      {"h", "http://h/", false},
      {"H.Example", "http://h.example/", false},
      {"example", "http://h.example/", false},
      {".example", "http://h.example/", false},
      {"*.example", "http://h.example/", false},
      {"example", "http://hexample/", true},
      {"h.example", "http://example/", true},
      {"*", "http://any/", false},
      {"a,b, c", "http://c/", false},
      {" ,, ", "http://c/", true},
      {"h:81", "http://h/", true},
      {"h:81", "http://h:81/", false},
      {"::1", "http://[::1]/", false},
      {"10.0.0.1", "http://10.0.0.1/", false},
      {"0.0.1", "http://10.0.0.1/", false}, /* as a name's end: nobody writes it */
      {".", "http://h/", true},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct http_proxy_rules rules = {.http = "p:1", .none = cases[i].none};
    struct http_proxy proxy;
    assert_true(found(&rules, cases[i].server, &proxy) == cases[i].proxied);
  }
}

static void test_bad(void **state) {
  static const char *const bad[] = {"socks5://p:1", "https://p:1", "http://", "http://p:99999",
                                    "p q",          "http://u@",   "p/x?y"};
  struct http_url url;
  (void)state;
  url_make(&url, "https://h/");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const struct http_proxy_rules rules = {.https = bad[i]};
    struct http_proxy proxy;
    struct error error = {0};
    bool is_found;
    assert_false(http_proxy_find(&rules, &url, &proxy, &is_found, &error));
    assert_string_equal(error.text, "The proxy that the environment names cannot be used, expected "
                                    "http://[USER:PASSWORD@]HOST:PORT.");
  }
}

static void test_redirects(void **state) {
  static const struct {
    const char *location, *to; /* NULL: refused */
  } cases[] = {
      {"/y", "https://h:4/y"},
      {"//k/y?z", "https://k/y?z"},
      {"http://k:4/y", "http://k:4/y"},
      {"https://k/y#z", "https://k/y"},
      {"y", NULL},
      {"", NULL},
      {"ftp://k/", NULL},
      {"/../y", NULL},
      {"https://u:p@k/", NULL},
      {"?y", NULL},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct http_url from, url, wanted;
    struct error error;
    url_make(&from, "https://h:4/x/z?w");
    bool good = http_url_follow(&url, &from, cases[i].location, &error);
    assert_true(good == (cases[i].to != NULL));
    if (!good) continue;
    url_make(&wanted, cases[i].to);
    assert_true(http_url_same_origin(&url, &wanted));
    assert_string_equal(url.target, wanted.target);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_schemes), cmocka_unit_test(test_none),
                                     cmocka_unit_test(test_bad), cmocka_unit_test(test_redirects)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
