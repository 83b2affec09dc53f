/* URLs: what is read, how it is written, what is refused with which sentence, and what is below what. */
#include "http/http_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_written_one_way(void **state) {
  (void)state;
  static const struct {
    const char *text, *host, *port, *authority, *target;
  } rows[] = {
      {"http://a", "a", "80", "a", "/"},
      {"HTTPS://Example.COM", "example.com", "443", "example.com", "/"},
      {"https://a:443/", "a", "443", "a", "/"},
      {"https://a:0443", "a", "443", "a", "/"},
      {"https://a:80/x", "a", "80", "a:80", "/x"},
      {"http://a?q=%2e%2e/../x", "a", "80", "a", "/?q=%2e%2e/../x"},
      {"http://a/b//c/?q?r/s", "a", "80", "a", "/b//c/?q?r/s"},
      {"http://a/%41%7e%2d%2F%c3%a4", "a", "80", "a", "/A~-%2F%C3%A4"},
      {"http://a/b..c/...d/.e/f.", "a", "80", "a", "/b..c/...d/.e/f."},
      {"http://a/%25/%2525", "a", "80", "a", "/%25/%2525"},
      {"http://[::FFFF:127.0.0.1]:8080/", "::ffff:127.0.0.1", "8080", "[::ffff:127.0.0.1]:8080", "/"},
      {"http://[0:0::1]", "::1", "80", "[::1]", "/"},
      {"http://x_y.z-1:65535/$&'()*+,;=:@!", "x_y.z-1", "65535", "x_y.z-1:65535", "/$&'()*+,;=:@!"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct http_url url;
    struct error error = {0};
    if (!http_url_parse(&url, slice_text(rows[i].text), &error)) fail_msg("%s: %s", rows[i].text, error.text);
    assert_string_equal(url.host, rows[i].host);
    assert_string_equal(url.port, rows[i].port);
    assert_string_equal(url.authority, rows[i].authority);
    assert_string_equal(url.target, rows[i].target);
    assert_int_equal(url.tls, rows[i].text[4] == 's' || rows[i].text[4] == 'S');
    assert_int_equal(url.path_size, strcspn(rows[i].target, "?"));
    assert_int_equal(http_url_has_query(&url), strchr(rows[i].target, '?') != NULL);
  }
}

#define SCHEME "The URL begins with neither http:// nor https://."
#define DOTS   "The URL's path has a segment . or .., as it stands or percent-encoded: write the path that is meant."
#define HOST                                                                                                           \
  "The URL has no host that is a name of letters, digits, - and _ between dots, or an address: write "                 \
  "https://HOST/PATH."
#define PORT   "The URL's port is no number from 1 to 65535."
#define USER   "The URL names a user, and none is told to a server: leave out what stands before the @."
#define ESCAPE "The URL has a % that two hexadecimal digits do not follow: write %25 for it."
#define BYTE(n, x)                                                                                                     \
  "The URL's byte " n " is 0x" x ", which no URL has: write it percent-encoded, and names of hosts in ASCII."

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *text, *sentence;
  } rows[] = {
      {"", SCHEME},
      {"a", SCHEME},
      {"http:/a", SCHEME},
      {"httpss://a", SCHEME},
      {" http://a", SCHEME},
      {"ftp://a", SCHEME},
      {"javascript:http://a", SCHEME},
      {"http://", HOST},
      {"http:///a", HOST},
      {"http://?a", HOST},
      {"http://:80", HOST},
      {"http://.a", HOST},
      {"http://a.", HOST},
      {"http://a..b", HOST},
      {"http://a!b", HOST},
      {"http://%61", HOST},
      {"http://[::1", HOST},
      {"http://[]", HOST},
      {"http://[127.0.0.1]", HOST},
      {"http://[::1]a", HOST},
      {"http://[fe80::1%25eth0]", HOST},
      {"http://a]", HOST},
      {"http://a:", PORT},
      {"http://a:0", PORT},
      {"http://a:65536", PORT},
      {"http://a:4294967376", PORT},
      {"http://a:+80", PORT},
      {"http://a:8_0", PORT},
      {"http://a:80:80", PORT},
      {"http://user@a", USER},
      {"http://user:word@a/", USER},
      {"http://a:80@b/", USER},
      {"http://@a", USER},
      {"http://a\\@b", BYTE("9", "5c")},
      {"http://a/\\..", BYTE("10", "5c")},
      {"http://a/b c", BYTE("11", "20")},
      {"http://a/\r\nHost: b", BYTE("10", "0d")},
      {"http://a/\t", BYTE("10", "09")},
      {"http://a/\x7f", BYTE("10", "7f")},
      {"http://\xc3\xa4", BYTE("8", "c3")},
      {"http://a/\"", BYTE("10", "22")},
      {"http://a/?<", BYTE("11", "3c")},
      {"http://a#b", "The URL has a fragment, which no server is told: leave out the #."},
      {"http://a/?b#@c", "The URL has a fragment, which no server is told: leave out the #."},
      {"http://a/%", ESCAPE},
      {"http://a/%1", ESCAPE},
      {"http://a/%1g", ESCAPE},
      {"http://a/?%zz", ESCAPE},
      {"http://a/[", "The URL has brackets behind its host: write %5B and %5D for them."},
      {"http://a/?x[0]=1", "The URL has brackets behind its host: write %5B and %5D for them."},
      {"http://a/.", DOTS},
      {"http://a/..", DOTS},
      {"http://a/b/../c", DOTS},
      {"http://a/b/./c", DOTS},
      {"http://a/%2e", DOTS},
      {"http://a/b/.%2E/c", DOTS},
      {"http://a/b%2f..%2Fc", DOTS},
      {"http://a/b%5c..%5Cc", DOTS},
      {"http://a/b%5c%2e%2e", DOTS},
      {"http://a/%252e%252e/", DOTS},
      {"http://a/%25252e%25252e/", DOTS},
      {"http://a/..;x=y/c", DOTS},
      {"http://a/.;/c", DOTS},
      {"http://a/%25252525252525252525252e", "The URL's path is percent-encoded again and again: encode it once."},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct http_url url;
    struct error error = {0};
    if (http_url_parse(&url, slice_text(rows[i].text), &error)) fail_msg("%s was read", rows[i].text);
    assert_string_equal(error.text, rows[i].sentence);
  }
}

/* A zero byte ends no URL, and lengths are kept. */
static void test_sizes(void **state) {
  (void)state;
  struct http_url url;
  struct error error;
  char text[LIMIT_FETCH_URL_BYTES + 16];
  assert_false(http_url_parse(&url, slice_make("http://a/\0b", 11), &error));
  assert_string_equal(error.text, BYTE("10", "00"));
  memset(text, 'a', sizeof text);
  memcpy(text, "http://h/", 9);
  assert_true(http_url_parse(&url, slice_make(text, LIMIT_FETCH_URL_BYTES), &error));
  assert_int_equal(strlen(url.target), LIMIT_FETCH_URL_BYTES - 8);
  assert_false(http_url_parse(&url, slice_make(text, LIMIT_FETCH_URL_BYTES + 1), &error));
  assert_string_equal(error.text, "The URL has 4097 bytes, expected at most 4096.");
  memset(text, 'a', sizeof text);
  memcpy(text, "http://", 7);
  assert_true(http_url_parse(&url, slice_make(text, 7 + 253), &error));
  assert_false(http_url_parse(&url, slice_make(text, 7 + 254), &error));
  assert_string_equal(error.text, HOST);
}

static bool below(const char *text, const char *prefix) {
  static struct http_url url, at;
  struct error error;
  if (!http_url_parse(&url, slice_text(text), &error) || !http_url_parse(&at, slice_text(prefix), &error))
    fail_msg("%s %s: %s", text, prefix, error.text);
  return http_url_below(&url, &at);
}

static void test_below(void **state) {
  (void)state;
  static const char *const yes[][2] = {
      {"https://a/b/c", "https://a"},      {"https://a/b/c", "https://a/"},        {"https://a/b/c", "https://a/b"},
      {"https://a/b/c", "https://a/b/"},   {"https://a/b/c", "https://A:443/b/c"}, {"https://a/b?c", "https://a/b"},
      {"https://a/%62/c", "https://a/b"},  {"https://a/b%2fc", "https://a/b%2Fc"}, {"http://a:80/b", "http://a/b"},
      {"http://[::1]/b", "http://[0::1]"}, {"https://a/b//c", "https://a/b/"},     {"https://a?x", "https://a"},
  };
  static const char *const no[][2] = {
      {"http://a/b", "https://a/b"},   {"https://a/b", "http://a/b"},       {"https://a:444/b", "https://a/b"},
      {"https://aa/b", "https://a/b"}, {"https://a/bc", "https://a/b"},     {"https://a/b", "https://a/b/"},
      {"https://a/B", "https://a/b"},  {"https://a/b%2fc", "https://a/b/"}, {"https://b.a/", "https://a"},
      {"https://a.b/", "https://a"},   {"https://a/?/b/", "https://a/b"},   {"http://127.1/", "http://127.0.0.1"},
  };
  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
    if (!below(yes[i][0], yes[i][1])) fail_msg("%s is below %s", yes[i][0], yes[i][1]);
  for (size_t i = 0; i < sizeof no / sizeof *no; i++)
    if (below(no[i][0], no[i][1])) fail_msg("%s is not below %s", no[i][0], no[i][1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_written_one_way),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_sizes),
      cmocka_unit_test(test_below),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
