/* Names of models, and what in the environment and on the disk they lead to. */
#include "hub/hub_cache.h"
#include "hub/hub_headers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_ids(void **state) {
  static const struct {
    const char *text, *repository, *choice, *revision;
  } good[] = {
      {"a/b", "a/b", "", "main"},
      {"meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B", "", "main"},
      {"a/b:Q4_K_M", "a/b", "Q4_K_M", "main"},
      {"a/b@v1.0", "a/b", "", "v1.0"},
      {"a/b@refs/pr/4", "a/b", "", "refs/pr/4"},
      {"a/b:f/x-Q8_0.gguf@main", "a/b", "f/x-Q8_0.gguf", "main"},
      {"a/b:x@y.gguf@z", "a/b", "x@y.gguf", "z"},
      {"hf.co/a/b:Q8_0", "a/b", "Q8_0", "main"},
      {"https://huggingface.co/a/b", "a/b", "", "main"},
      {"a/_b_", "a/_b_", "", "main"},
      {"gpt2", "gpt2", "", "main"},
      {"hf.co/bert-base-uncased@v1", "bert-base-uncased", "", "v1"},
      {"gpt2:Q4_K_M", "gpt2", "Q4_K_M", "main"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    struct hub_id id;
    struct error error = {0};
    assert_true(hub_id_parse(&id, good[i].text, &error));
    assert_string_equal(id.repository, good[i].repository);
    assert_string_equal(id.choice, good[i].choice);
    assert_string_equal(id.revision, good[i].revision);
  }
}

static void test_no_ids(void **state) {
  static const char *const bad[] = {"",
                                    ".",
                                    "..",
                                    "-a",
                                    "a--b",
                                    "a.git",
                                    "a b",
                                    "/a",
                                    "a/",
                                    "a/b/c",
                                    "../b",
                                    "a/..",
                                    "./a",
                                    "a/.b",
                                    "a/b.",
                                    "-a/b",
                                    "a/b-",
                                    "a//b",
                                    "a/b--c",
                                    "a/b..c",
                                    "a b/c",
                                    "a/b.git",
                                    "a/b:",
                                    "a/b@",
                                    "a/b:@x",
                                    "a/b:/x",
                                    "a/b:..",
                                    "a/b:x\\",
                                    "a/b:x\n",
                                    "a/b@-x",
                                    "a/b@a..b",
                                    "a/b@/x",
                                    "a/b@x/",
                                    "a/b@x//y",
                                    "a/b@x/.y",
                                    "a/b@x y",
                                    "a/b@x:y",
                                    "a/b@x~1",
                                    "http://a/b",
                                    "ftp://hf.co/a/b",
                                    "https://a/b",
                                    "hf.co/https://a/b",
                                    "hf.co/hf.co/a/b",
                                    "a/b@main:Q8_0",
                                    "a/b@x@y",
                                    "é/b",
                                    "a/b%2e"};
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct hub_id id;
    assert_false(hub_id_parse(&id, bad[i], NULL));
  }
}

static void test_commits(void **state) {
  (void)state;
  assert_true(hub_is_commit("0123456789abcdef0123456789abcdef01234567"));
  assert_false(hub_is_commit("0123456789ABCDEF0123456789abcdef01234567"));
  assert_false(hub_is_commit("0123456789abcdef0123456789abcdef0123456"));
  assert_false(hub_is_commit("0123456789abcdef0123456789abcdef012345678"));
  assert_false(hub_is_commit(""));
}

static void test_names(void **state) {
  static const char *const sound[] = {"a",   "a/b", ".gitattributes",        "a b",      "..a",
                                      "a..", "...", "1_Pooling/config.json", "\xc2\xa0", "\xc3\x9b"};
  static const char *const unsound[] = {"",
                                        "/",
                                        "/a",
                                        "a/",
                                        "a//b",
                                        ".",
                                        "..",
                                        "../a",
                                        "a/..",
                                        "a/../b",
                                        "a/./b",
                                        "a\\b",
                                        "a\nb",
                                        "a\x7f",
                                        "\x1b[2J",
                                        "\xc2\x9b"
                                        "2J"};
  (void)state;
  for (size_t i = 0; i < sizeof sound / sizeof *sound; i++) assert_true(hub_name_is_sound(slice_text(sound[i])));
  for (size_t i = 0; i < sizeof unsound / sizeof *unsound; i++) assert_false(hub_name_is_sound(slice_text(unsound[i])));
  assert_false(hub_name_is_sound(slice_make("a\0b", 3)));
  char name[256];
  memset(name, 'n', sizeof name);
  assert_true(hub_name_is_sound(slice_make(name, 255)));
  assert_false(hub_name_is_sound(slice_make(name, 256)));
}

static void test_headers(void **state) {
  char url[16];
  uint64_t first, last, total;
  (void)state;
  assert_true(hub_link_next("<http://h/2>; rel=\"next\"", url, sizeof url));
  assert_string_equal(url, "http://h/2");
  assert_true(hub_link_next("<http://h/1>; rel=\"prev\", <http://h/3>; rel=\"next\"", url, sizeof url));
  assert_string_equal(url, "http://h/3");
  static const char *const none[] = {"",
                                     "<",
                                     "<>; rel=\"next\"",
                                     "<x>",
                                     "<x>; rel=\"last\"",
                                     "rel=\"next\"",
                                     "<x; rel=\"next\"",
                                     "<http://host/long>; rel=\"next\""};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) assert_false(hub_link_next(none[i], url, sizeof url));
  assert_true(hub_range_read("bytes 5-9/10", &first, &last, &total));
  assert_true(first == 5 && last == 9 && total == 10);
  assert_true(hub_range_read("bytes 0-0/*", &first, &last, &total));
  assert_true(total == UINT64_MAX);
  static const char *const bad[] = {
      "",          "bytes",      "bytes */10",   "bytes 5/10",    "bytes 5-/10",  "bytes -9/10",
      "bytes 5-9", "bytes 5-9/", "lines 5-9/10", "bytes +5-9/10", "bytes 5-9/1x", "bytes 9999999999999999999-9/10"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(hub_range_read(bad[i], &first, &last, &total));
}

static void test_folders(void **state) {
  char path[PATH_MAX];
  struct error error;
  (void)state;
  assert_true(hub_repository_folder("/c", "acme/tiny", path, &error));
  assert_string_equal(path, "/c/models--acme--tiny");
  assert_true(hub_repository_folder("/c", "gpt2", path, &error));
  assert_string_equal(path, "/c/models--gpt2");
}

static void test_home(void **state) {
  char path[PATH_MAX];
  struct error error;
  (void)state;
  unsetenv("HF_HOME"), unsetenv("HF_HUB_CACHE"), unsetenv("HUGGINGFACE_HUB_CACHE"), unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/home/me", 1);
  assert_true(hub_cache_root(path, &error));
  assert_string_equal(path, "/home/me/.cache/huggingface/hub");
  setenv("HF_HUB_CACHE", "~/models", 1);
  assert_true(hub_cache_root(path, &error));
  assert_string_equal(path, "/home/me/models");
  unsetenv("HOME");
  assert_false(hub_cache_root(path, &error));
  assert_string_equal(error.text, "There is no folder for models: set HF_HOME, or HOME.");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_ids),     cmocka_unit_test(test_no_ids),
                                     cmocka_unit_test(test_commits), cmocka_unit_test(test_names),
                                     cmocka_unit_test(test_headers), cmocka_unit_test(test_home),
                                     cmocka_unit_test(test_folders)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
