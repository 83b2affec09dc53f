/* spate.yaml: what it may hold, and the exact sentence for each thing that it may not. */
#include "base/limits.h"
#include "cli/config.h"
#include "cli/option_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool read_bytes(struct settings *settings, struct arena *texts, struct slice bytes, char text[512]) {
  arena_init(texts, LIMIT_SETTINGS_BYTES);
  *settings = (struct settings){.config = "spate.yaml"};
  return config_bytes_read(settings, FOR_SERVE, "spate.yaml", bytes, texts, text);
}

static const struct {
  const char *bytes, *sentence;
} refused[] = {
    /* names */
    {"prot: 8000\n", "spate.yaml:1: There is no setting \"prot\"; the nearest is port."},
    {"port: 1\n\nmax_queue: 4\n", "spate.yaml:3: There is no setting \"max_queue\"; the nearest is max-queue."},
    {"zzzzzz: 1\n", "spate.yaml:1: There is no setting \"zzzzzz\": spate config --print lists them."},
    {"temperature: 1\n", "spate.yaml:1: There is no setting \"temperature\": spate config --print lists them."},
    {"help: true\n", "spate.yaml:1: There is no setting \"help\": spate config --print lists them."},
    {"config: other.yaml\n", "spate.yaml:1: There is no setting \"config\": spate config --print lists them."},
    {"no-enable-block-reuse: true\n",
     "spate.yaml:1: There is no setting \"no-enable-block-reuse\"; the nearest is enable-block-reuse."},
    {"\"\": 1\n", "spate.yaml:1: There is no setting \"\": spate config --print lists them."},
    {"[port]: 1\n", "spate.yaml:1: The name of a setting is no text; expected lines such as \"port: 8000\"."},
    {"? {a: b}\n: 1\n", "spate.yaml:1: The name of a setting is no text; expected lines such as \"port: 8000\"."},
    {"<<: {port: 1}\n", "spate.yaml:1: There is no setting \"<<\": spate config --print lists them."},
    {"port: 1\nhost: a\nport: 2\n", "spate.yaml:3: port was set in line 1 already: leave one out."},
    /* values */
    {"port: x\n", "spate.yaml:1: port is \"x\", expected a whole number from 0 to 65535."},
    {"# a\n\nport: 65536\n", "spate.yaml:3: port is \"65536\", expected a whole number from 0 to 65535."},
    {"port: -1\n", "spate.yaml:1: port is \"-1\", expected a whole number from 0 to 65535."},
    {"port: 80.5\n", "spate.yaml:1: port is \"80.5\", expected a whole number from 0 to 65535."},
    {"port: 8_000\n", "spate.yaml:1: port is \"8_000\", expected a whole number from 0 to 65535."},
    {"port: 1e400\n", "spate.yaml:1: port is \"1e400\", expected a whole number from 0 to 65535."},
    {"port: \"\"\n", "spate.yaml:1: port is \"\", expected a whole number from 0 to 65535."},
    {"port:\n  x\n", "spate.yaml:2: port is \"x\", expected a whole number from 0 to 65535."},
    {"threads: many\n", "spate.yaml:1: threads is \"many\", expected a whole number from 0 to 256."},
    {"stall-timeout: .inf\n", "spate.yaml:1: stall-timeout is \".inf\", expected a number from 0 to 86400."},
    {"stall-timeout: nan\n", "spate.yaml:1: stall-timeout is \"nan\", expected a number from 0 to 86400."},
    {"free-gpu-memory-fraction: 90%\n",
     "spate.yaml:1: free-gpu-memory-fraction is \"90%\", expected a number from 0 to 1."},
    {"kv-cache-memory: 4GB\n", "spate.yaml:1: kv-cache-memory is \"4GB\", expected bytes such as 512M."},
    {"kv-cache-memory: 99999999999G\n",
     "spate.yaml:1: kv-cache-memory is \"99999999999G\", expected bytes such as 512M."},
    {"log-prompts: yes\n", "spate.yaml:1: log-prompts is \"yes\", expected true or false."},
    {"log-prompts: True\n", "spate.yaml:1: log-prompts is \"True\", expected true or false."},
    {"enable-block-reuse: 1\n", "spate.yaml:1: enable-block-reuse is \"1\", expected true or false."},
    {"log-level: loud\n", "spate.yaml:1: log-level is \"loud\", expected error, warning, info or debug."},
    {"log-level: INFO\n", "spate.yaml:1: log-level is \"INFO\", expected error, warning, info or debug."},
    {"log-format: xml\n", "spate.yaml:1: log-format is \"xml\", expected text or json."},
    {"scheduler: fair\n", "spate.yaml:1: scheduler is \"fair\", expected continuous, dynamic or static."},
    {"kv-cache-type: ROUND\n", "spate.yaml:1: kv-cache-type is \"ROUND\", expected PAGED or CONTIGUOUS."},
    {"host:\n", "spate.yaml:1: host has no value: write one, or leave the line out."},
    {"host: ~\nport: 1\n", "spate.yaml:1: host has no value: write one, or leave the line out."},
    {"allowed-origins:\n  - a\n  - b\n",
     "spate.yaml:2: allowed-origins is a list, expected one value; where several may be given, commas stand between "
     "them."},
    {"port: {a: 1}\n", "spate.yaml:1: port is a group of settings, expected one value."},
    {"port: &a 1\n", "spate.yaml:1: port has an anchor, expected the value alone."},
    {"host: &a b\nroot-path: *a\n", "spate.yaml:1: host has an anchor, expected the value alone."},
    {"root-path: *a\n", "spate.yaml:1: root-path is an alias, expected the value itself."},
    {"port: !!int 1\n", "spate.yaml:1: port has a tag, expected the value alone."},
    {"api-key: !secret k\n", "spate.yaml:1: api-key has a tag, expected the value alone."},
    {"host: \"a\\0b\"\n", "spate.yaml:1: \"a\" goes on after a zero byte, which no setting holds."},
    /* the file */
    {"- port\n", "spate.yaml:1: The file holds no settings, expected lines such as \"port: 8000\"."},
    {"# one\nport 8000\n", "spate.yaml:2: The file holds no settings, expected lines such as \"port: 8000\"."},
    {"[[[[[[[[\n", "spate.yaml:1: The file holds no settings, expected lines such as \"port: 8000\"."},
    {"port: 1\n---\nport: 2\n", "spate.yaml:2: A second document begins here; expected one."},
    {"---\n---\n", "spate.yaml:2: A second document begins here; expected one."},
    {"port: 1\n  host: a\n", "spate.yaml:1: port is \"1 host\", expected a whole number from 0 to 65535."},
    {"host: a: b\n", "spate.yaml:1: This is not YAML: mapping values are not allowed in this context."},
    {"\tport: 1\n", "spate.yaml:1: This is not YAML: found character that cannot start any token."},
    {"port: 1\nhost: \"a\n", "spate.yaml:3: This is not YAML: found unexpected end of stream."},
    {"host: a\nport: \xff\n", "spate.yaml:2: This is not YAML: invalid leading UTF-8 octet."},
    {"host: a\nport: 1\x07\n", "spate.yaml:2: This is not YAML: control characters are not allowed."},
    {"%YAML 9.9\n---\nport: 1\n", "spate.yaml:1: This is not YAML: found incompatible YAML document."},
};

static void test_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    struct settings settings;
    struct arena texts;
    char text[512] = "";
    bool read = read_bytes(&settings, &texts, slice_text(refused[i].bytes), text);
    arena_release(&texts);
    if (read) fail_msg("%s was read", refused[i].bytes);
    assert_string_equal(text, refused[i].sentence);
  }
}

static void test_texts_beyond_the_limit(void **state) {
  (void)state;
  struct settings settings;
  struct arena texts;
  char text[512], *bytes = malloc(LIMIT_SETTINGS_BYTES + 8);
  assert_non_null(bytes);
  memset(bytes, 'a', LIMIT_SETTINGS_BYTES + 8);
  memcpy(bytes, "host: ", 6);
  assert_false(read_bytes(&settings, &texts, slice_make(bytes, LIMIT_SETTINGS_BYTES + 8), text));
  assert_string_equal(text, "spate.yaml:1: The texts of the file take more than 262144 bytes.");
  arena_release(&texts);
  free(bytes);
}

static void test_nothing(void **state) {
  (void)state;
  static const char *const nothing[] = {"", "\n", "# only words\n", "---\n", "---\n...\n", "{}\n", "\xef\xbb\xbf"};
  for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
    struct settings settings;
    struct arena texts;
    char text[512] = "";
    if (!read_bytes(&settings, &texts, slice_text(nothing[i]), text)) fail_msg("%s: %s", nothing[i], text);
    arena_release(&texts);
    for (int o = 0; o < OPTION_MAX; o++) assert_int_equal(settings.origin[o].source, SOURCE_DEFAULT);
  }
}

static void test_values(void **state) {
  (void)state;
  static const char bytes[] = "model: /models/a b.gguf   # a path\n"
                              "port: 0\n"
                              "'host': \"::1\"\n"
                              "log-prompts: true\n"
                              "enable-block-reuse: false\n"
                              "kv-cache-memory: 2G\n"
                              "stall-timeout: 1.5\n"
                              "kv-cache-type: contiguous\n"
                              "root-path: ''\n"
                              "allowed-origins: >-\n  https://a,\n  https://b\n";
  struct settings settings;
  struct arena texts;
  char text[512];
  if (!read_bytes(&settings, &texts, slice_text(bytes), text)) fail_msg("%s", text);
  assert_string_equal(settings.operand, "/models/a b.gguf");
  assert_true(settings.has_port && settings.port == 0);
  assert_string_equal(settings.host, "::1");
  assert_true(settings.log_prompts && settings.no_block_reuse);
  assert_int_equal(settings.kv_cache_memory, 2ull << 30);
  assert_true(settings.stall_timeout == 1.5);
  assert_string_equal(settings.kv_cache_type, "contiguous");
  assert_string_equal(settings.root_path, "");
  assert_string_equal(settings.allowed_origins, "https://a, https://b");
  const struct option *option = option_named(FOR_SERVE, slice_text("host"));
  assert_int_equal(settings.origin[option_origin(option)].line, 3);
  arena_release(&texts);
}

/* Of what the environment says, for port given on the command line. */
static void test_environment(void **state) {
  (void)state;
  static const struct {
    char *variable;
    const char *sentence; /* NULL: it is read, or is none of ours */
  } cases[] = {
      {"SPATE_HOST=::", NULL},
      {"SPATE_PORT=tcp://10.0.0.1:8000", NULL}, /* the line gives it */
      {"SPATE_WORKERS=2x", "SPATE_WORKERS is \"2x\", expected a whole number from 0 to 64."},
      {"SPATE_WORKERS=", "SPATE_WORKERS is \"\", expected a whole number from 0 to 64."},
      {"SPATE_NO_FUSE=1", "SPATE_NO_FUSE is \"1\", expected true or false."},
      {"SPATE_API_KEYS=k",
       "SPATE_API_KEYS is set and is no setting; the nearest is SPATE_API_KEY: rename it, or unset it."},
      {"SPATE_Workers=2",
       "SPATE_Workers is set and is no setting; the nearest is SPATE_WORKERS: rename it, or unset it."},
      {"SPATE_ISA=avx2", NULL},
      {"SPATE_TEST_MODEL=/m", NULL},
      {"SPATE_SERVICE_HOST=10.0.0.1", NULL},
      {"SPATE_PORT_8000_TCP_ADDR=10.0.0.1", NULL},
      {"SPATE_CONFIG=/etc/spate.yaml", NULL},
      {"SPATE_", NULL},
      {"SPATE_=", NULL},
      {"SPATE", NULL},
  };
  struct settings line = {0};
  char text[512], *arguments[] = {"serve", "--port", "1", NULL};
  assert_true(options_parse(&line, FOR_SERVE, 3, arguments, text));
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct settings settings = {0};
    char *environment[] = {"PATH=/bin", cases[i].variable, NULL};
    bool read = config_environment_read(&settings, FOR_SERVE, &line, environment, text);
    if (read == (cases[i].sentence != NULL)) fail_msg("%s: %s", cases[i].variable, read ? "read" : text);
    if (!read) assert_string_equal(text, cases[i].sentence);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refused),     cmocka_unit_test(test_texts_beyond_the_limit),
      cmocka_unit_test(test_nothing),     cmocka_unit_test(test_values),
      cmocka_unit_test(test_environment),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
