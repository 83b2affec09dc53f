/* Each value of each fixture's config.json, and the first element of each array, replaced by values of every other
 * type: what a family reads is refused with a sentence that names it, what none reads changes nothing of the plans. */
#include "model/family.h"
#include "model_variant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const char *const wrong[] = {"7",  "0.5", "true",      "\"abc\"", "\"\"",
                                    "[]", "[1]", "[\"abc\"]", "{}",      "{\"a\": 1}"};
enum { N_WRONG = sizeof wrong / sizeof *wrong, KEYS = 8, TEXT = 1 << 9 };

struct plans {
  struct buffer block[PLAN_ROLES];
};

static struct plans plans_start, plans_now;
static int refused, unread;

static void plans_init(struct plans *plans) {
  for (int role = 0; role < PLAN_ROLES; role++) buffer_init(&plans->block[role], 1 << 24);
}

static void plans_release(struct plans *plans) {
  for (int role = 0; role < PLAN_ROLES; role++) buffer_release(&plans->block[role]);
}

static bool plans_make(struct plans *plans, const char *path, struct error *error) {
  struct checkpoint *checkpoint = checkpoint_open(path, error);
  const struct family *family = checkpoint ? family_find(checkpoint, error) : NULL;
  bool ok = family && family_plan(family, checkpoint, 512, plans->block, error);
  checkpoint_close(checkpoint);
  return ok;
}

static bool plans_equal(const struct plans *a, const struct plans *b) {
  for (int role = 0; role < PLAN_ROLES; role++)
    if (a->block[role].size != b->block[role].size ||
        (a->block[role].size > 0 && memcmp(a->block[role].data, b->block[role].data, a->block[role].size) != 0))
      return false;
  return true;
}

/* Whether a value of one type may stand where the other is: numbers are one type here, and a null says little. */
static bool types_fit(const json_t *was, const json_t *now) {
  if (json_is_null(was)) return !json_is_string(now) && !json_is_array(now);
  if (json_is_number(was)) return json_is_number(now);
  if (json_is_boolean(was)) return json_is_boolean(now);
  return json_typeof(was) == json_typeof(now);
}

/* A layer, or a list of one. */
static bool one_or_several(const char *key, const json_t *now) {
  return strcmp(key, "vision_feature_layer") == 0 && json_is_integer(json_array_get(now, 0));
}

static void config_write(const char *folder, const json_t *config) {
  char path[PATH_MAX + 16];
  snprintf(path, sizeof path, "%s/config.json", folder);
  unlink(path);
  if (json_dump_file(config, path, 0) != 0) fail_msg("%s was not written", path);
}

/* One change, which is in the config; `key` is what it is of. */
static void change_check(const char *folder, const json_t *config, const char *name, const char *key,
                         const char *value) {
  struct error error = {0};
  config_write(folder, config);
  if (plans_make(&plans_now, folder, &error)) {
    unread++;
    if (!plans_equal(&plans_start, &plans_now)) fail_msg("%s with %s %s was read as something", name, key, value);
    return;
  }
  refused++;
  if (error.text[0] == '\0' || error.text[strlen(error.text) - 1] != '.')
    fail_msg("%s with %s %s: no sentence: %s", name, key, value, error.text);
  const char *last = strrchr(key, '.') ? strrchr(key, '.') + 1 : key;
  if (!strstr(error.text, last))
    fail_msg("%s with %s %s: the sentence does not name it: %s", name, key, value, error.text);
}

static void array_change(const char *folder, const json_t *config, const char *name, json_t *array, const char *key) {
  json_t *was = json_incref(json_array_get(array, 0));
  for (int i = 0; was && i < N_WRONG; i++) {
    json_t *now = json_loads(wrong[i], JSON_DECODE_ANY, NULL);
    if (!types_fit(was, now)) {
      json_array_set(array, 0, now);
      change_check(folder, config, name, key, wrong[i]);
    }
    json_decref(now);
  }
  if (was) json_array_set(array, 0, was);
  json_decref(was);
}

static void object_change(const char *folder, const json_t *config, const char *name, json_t *object,
                          const char *prefix) {
  const char *key;
  json_t *was, *keys = json_copy(object);
  json_object_foreach(keys, key, was) {
    char path[TEXT];
    snprintf(path, sizeof path, "%.200s%.200s", prefix, key);
    for (int i = 0; i < N_WRONG; i++) {
      json_t *now = json_loads(wrong[i], JSON_DECODE_ANY, NULL);
      if (!types_fit(was, now) && !one_or_several(key, now)) {
        json_object_set(object, key, now);
        change_check(folder, config, name, path, wrong[i]);
      }
      json_decref(now);
    }
    json_object_set(object, key, was);
    if (json_is_array(was)) array_change(folder, config, name, json_object_get(object, key), path);
    if (!json_is_object(was)) continue;
    strcat(path, ".");
    object_change(folder, config, name, json_object_get(object, key), path);
  }
  json_decref(keys);
}

static void fixture_change(const char *kind, const char *name) {
  struct model_variant variant;
  struct error error = {0};
  char path[PATH_MAX + 16];
  json_t *none = json_object();
  variant_make_in(&variant, kind, name, none);
  snprintf(path, sizeof path, "%s/config.json", variant.path);
  json_t *config = json_load_file(path, 0, NULL);
  if (!plans_make(&plans_start, variant.path, &error)) fail_msg("%s: %s", name, error.text);
  object_change(variant.path, config, name, config, "");
  variant_remove(&variant);
  json_decref(config);
  json_decref(none);
}

static void kind_change(const char *kind) {
  char folder[512], path[1024];
  struct dirent **entries;
  snprintf(folder, sizeof folder, "%s/%s", FIXTURES, kind);
  int count = scandir(folder, &entries, NULL, alphasort);
  assert_true(count > 0);
  for (int i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%.200s/config.json", folder, entries[i]->d_name);
    if (access(path, R_OK) == 0) fixture_change(kind, entries[i]->d_name);
    free(entries[i]);
  }
  free(entries);
}

static void test_types(void **state) {
  (void)state;
  plans_init(&plans_start);
  plans_init(&plans_now);
  kind_change("model");
  kind_change("encoder");
  kind_change("vision");
  printf("%d changes refused, %d of what is not read\n", refused, unread);
  assert_true(refused > 4000 && unread > 1000);
  plans_release(&plans_start);
  plans_release(&plans_now);
}

/* An empty text is a text, and not what is usual. */
static void test_empty_texts(void **state) {
  (void)state;
  static const struct {
    const char *name, *key;
  } cases[] = {{"jina-bert", "position_embedding_type"},
               {"jina-bert", "feed_forward_type"},
               {"nomic", "activation_function"},
               {"bert", "position_embedding_type"}};
  plans_init(&plans_now);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct model_variant variant;
    struct error error = {0};
    json_t *change = json_pack("{s:s}", cases[i].key, "");
    variant_make_in(&variant, "encoder", cases[i].name, change);
    bool ok = plans_make(&plans_now, variant.path, &error);
    variant_remove(&variant);
    json_decref(change);
    if (ok || !strstr(error.text, cases[i].key))
      fail_msg("%s with an empty %s: %s", cases[i].name, cases[i].key, ok ? "accepted" : error.text);
  }
  plans_release(&plans_now);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_empty_texts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
