/* Forms of config.json that mean the same network: as transformers 5 saves each fixture's again
 * (tools/make_config_forms.py), and without "architectures". The plans must be those of the fixture. */
#include "model/family.h"
#include "model/model_type.h"
#include "model_variant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct plans {
  struct buffer block[PLAN_ROLES];
};

static struct plans usual, other;

static int group_begin(void **state) {
  (void)state;
  for (int role = 0; role < PLAN_ROLES; role++) {
    buffer_init(&usual.block[role], 1 << 24);
    buffer_init(&other.block[role], 1 << 24);
  }
  return 0;
}

static int group_end(void **state) {
  (void)state;
  for (int role = 0; role < PLAN_ROLES; role++) {
    buffer_release(&usual.block[role]);
    buffer_release(&other.block[role]);
  }
  return 0;
}

static void plans_make(struct plans *plans, const char *name, const char *path) {
  struct error error = {0};
  struct checkpoint *checkpoint = checkpoint_open(path, &error);
  const struct family *family = checkpoint ? family_find(checkpoint, &error) : NULL;
  if (!family || !family_plan(family, checkpoint, 512, plans->block, &error)) fail_msg("%s: %s", name, error.text);
  checkpoint_close(checkpoint);
}

static void config_write(const struct model_variant *variant, const json_t *config) {
  char path[PATH_MAX + 16];
  snprintf(path, sizeof path, "%s/config.json", variant->path);
  if (json_dump_file(config, path, 0) != 0) fail_msg("%s was not written", path);
}

/* "model/llama2" with another config.json. */
static void form_check(const char *name, const json_t *config) {
  struct model_variant variant;
  const char *slash = strchr(name, '/');
  char kind[16];
  json_t *none = json_object();
  snprintf(kind, sizeof kind, "%.*s", (int)(slash - name), name);
  variant_make_in(&variant, kind, slash + 1, none);
  plans_make(&usual, name, variant.path);
  config_write(&variant, config);
  plans_make(&other, name, variant.path);
  for (int role = 0; role < PLAN_ROLES; role++)
    if (usual.block[role].size != other.block[role].size ||
        (usual.block[role].size > 0 &&
         memcmp(usual.block[role].data, other.block[role].data, usual.block[role].size) != 0))
      fail_msg("%s: the plan of role %d is another", name, role);
  variant_remove(&variant);
  json_decref(none);
}

static json_t *forms_read(void) {
  json_error_t error;
  json_t *forms = json_load_file(FIXTURES "/model/resaved.json", 0, &error);
  if (!forms) fail_msg("%s", error.text);
  return forms;
}

static void test_saved_again(void **state) {
  (void)state;
  json_t *forms = forms_read(), *config;
  const char *name;
  assert_true(json_object_size(forms) >= 72);
  json_object_foreach(forms, name, config) form_check(name, config);
  json_decref(forms);
}

/* What model_type alone says; of encoders it is the network without a head for labels. */
static void test_without_architectures(void **state) {
  (void)state;
  json_t *forms = forms_read(), *form;
  const char *name;
  int alike = 0;
  json_object_foreach(forms, name, form) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/config.json", FIXTURES, name);
    json_t *config = json_load_file(path, 0, NULL);
    const char *own = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    const char *known = model_type_architecture(json_slice(json_object_get(config, "model_type")));
    if (!known) fail_msg("%s: its model_type is not in the table", name);
    bool same = own && strcmp(known, own) == 0;
    json_object_del(config, "architectures");
    if (same) form_check(name, config);
    alike += same;
    json_decref(config);
  }
  assert_true(alike >= 55);
  json_decref(forms);
}

/* Its first files, whose code was on the hub. */
static void test_falcon_of_old(void **state) {
  (void)state;
  static const char *const changes[][2] = {
      {"model/falcon_rw", "{\"architectures\": [\"RWForCausalLM\"], \"model_type\": \"RefinedWebModel\"}"},
      {"model/falcon_rw", "{\"architectures\": null, \"model_type\": \"RefinedWebModel\"}"},
      {"model/falcon7b", "{\"architectures\": [\"RWForCausalLM\"], \"model_type\": \"RefinedWebModel\"}"}};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s/config.json", FIXTURES, changes[i][0]);
    json_t *config = json_load_file(path, 0, NULL), *change = json_loads(changes[i][1], 0, NULL);
    json_object_update(config, change);
    static const char *const keys[][2] = {{"num_attention_heads", "n_head"}, {"num_hidden_layers", "n_layer"}};
    for (int k = 0; k < 2; k++) {
      json_object_set(config, keys[k][1], json_object_get(config, keys[k][0]));
      json_object_del(config, keys[k][0]);
    }
    form_check(changes[i][0], config);
    json_decref(config);
    json_decref(change);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_saved_again), cmocka_unit_test(test_without_architectures),
                                     cmocka_unit_test(test_falcon_of_old)};
  return cmocka_run_group_tests(tests, group_begin, group_end);
}
