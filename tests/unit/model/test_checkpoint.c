/* What a directory says besides its network: name, tokenizer files, chat template, generation defaults. */
#include "model/checkpoint.h"
#include "model/family.h"
#include "model/old_names.h"
#include "model/text_tail.h"
#include "model/tool_template.h"
#include "model_variant.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static void file_write(const struct model_variant *variant, const char *name, const void *bytes, size_t size) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%.40s/%.250s", variant->path, name);
  unlink(path); /* may be a link to the fixture */
  FILE *file = fopen(path, "wb");
  assert_true(file && fwrite(bytes, 1, size, file) == size);
  fclose(file);
}

static void text_write(const struct model_variant *variant, const char *name, const char *text) {
  file_write(variant, name, text, strlen(text));
}

static struct checkpoint *variant_open(const struct model_variant *variant) {
  struct error error;
  struct checkpoint *checkpoint = checkpoint_open(variant->path, &error);
  if (!checkpoint) fail_msg("%s", error.text);
  return checkpoint;
}

static void test_plain(void **state) {
  (void)state;
  struct error error;
  struct checkpoint *c = checkpoint_open(FIXTURES "/model/llama2", &error); /* two shards */
  assert_non_null(c);
  assert_int_equal(checkpoint_kind(c), CHECKPOINT_HF);
  assert_string_equal(checkpoint_name(c), "llama2");
  assert_string_equal(checkpoint_architecture(c), "LlamaForCausalLM");
  assert_int_equal(checkpoint_tensor_count(c), 30);
  assert_non_null(checkpoint_find(c, "lm_head.weight"));
  assert_null(checkpoint_find(c, "absent"));
  assert_true(checkpoint_intact(c, &error));
  const char *vocabulary;
  assert_true(checkpoint_vocabulary(c, &vocabulary).size > 0);
  assert_string_equal(vocabulary, "tokenizer.json");
  assert_int_equal(checkpoint_tokenizer_config(c).size, 0);
  assert_int_equal(checkpoint_chat_template(c).size, 0);
  const struct checkpoint_generation *g = checkpoint_generation(c);
  assert_true(g->temperature == 1 && g->top_p == 1 && g->top_k == 0);
  assert_true(g->min_p == 0 && g->typical_p == 1 && g->repetition_penalty == 1);
  assert_int_equal(g->n_end, 1); /* config.json's eos_token_id */
  assert_int_equal(g->end[0], 2);
  checkpoint_close(c);
}

static void test_generation_defaults(void **state) {
  (void)state;
  struct model_variant variant;
  variant_make(&variant, "llama2", NULL);
  text_write(&variant, "generation_config.json",
             "{\"temperature\": 0.6, \"top_p\": 0.9, \"top_k\": 20, \"min_p\": 0.1, \"typical_p\": 0.8, "
             "\"repetition_penalty\": 1.1, \"eos_token_id\": [7, 9], \"do_sample\": true}");
  struct checkpoint *c = variant_open(&variant);
  const struct checkpoint_generation *g = checkpoint_generation(c);
  assert_true(g->temperature == 0.6f && g->top_p == 0.9f && g->top_k == 20);
  assert_true(g->min_p == 0.1f && g->typical_p == 0.8f && g->repetition_penalty == 1.1f);
  assert_int_equal(g->n_end, 2);
  assert_int_equal(g->end[1], 9);
  checkpoint_close(c);
  text_write(&variant, "generation_config.json", "{\"temperature\": 0.6, \"top_p\": 0.9, \"do_sample\": false}");
  c = variant_open(&variant);
  g = checkpoint_generation(c);
  assert_true(g->temperature == 0 && g->top_p == 0.9f); /* greedy, unless a request says otherwise */
  checkpoint_close(c);
  static const struct {
    const char *json, *sentence;
  } refused[] = {
      {"{\"temperature\": -1}", "generation_config.json: temperature is -1, expected 0 to 100."},
      {"{\"temperature\": \"hot\"}", "generation_config.json: temperature is not a number."},
      {"{\"top_p\": 0}", "generation_config.json: top_p is 0, expected more than 0 and at most 1."},
      {"{\"min_p\": 2}", "generation_config.json: min_p is 2, expected 0 to 1."},
      {"{\"typical_p\": 0}", "generation_config.json: typical_p is 0, expected more than 0 and at most 1."},
      {"{\"repetition_penalty\": 0}",
       "generation_config.json: repetition_penalty is 0, expected more than 0 and at most 100."},
      {"{\"top_k\": 1e300}", "generation_config.json: top_k is 1048577, expected 0 to 1048576."},
      {"{\"do_sample\": 0}", "generation_config.json: do_sample is not true or false."},
      {"{\"eos_token_id\": [1, \"x\"]}", "generation_config.json: eos_token_id is no token id or list of token ids."},
      {"[]", "generation_config.json holds no JSON object."},
      {"{", "generation_config.json: Not valid JSON at line 1, column 1: string or '}' expected near end of file."},
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    struct error error = {0};
    text_write(&variant, "generation_config.json", refused[i].json);
    assert_null(checkpoint_open(variant.path, &error));
    assert_string_equal(error.text, refused[i].sentence);
  }
  variant_remove(&variant);
}

static void template_expect(const struct model_variant *variant, const char *expected) {
  struct checkpoint *c = variant_open(variant);
  assert_true(slice_is(checkpoint_chat_template(c), expected));
  checkpoint_close(c);
}

static void test_chat_template(void **state) {
  (void)state;
  struct model_variant variant;
  variant_make(&variant, "llama2", NULL);
  text_write(&variant, "tokenizer_config.json", "{\"chat_template\": \"{{ bos_token }}\"}");
  template_expect(&variant, "{{ bos_token }}");
  text_write(&variant, "tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, "
             "{\"name\": \"default\", \"template\": \"d\"}]}");
  template_expect(&variant, "{% if tools %}\nt{{ '' }}{% else %}\nd{{ '' }}{% endif %}");
  text_write(&variant, "tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, "
             "{\"name\": \"rag\", \"template\": \"r\"}]}");
  template_expect(&variant, "");
  text_write(&variant, "tokenizer_config.json",
             "{\"chat_template\": [{\"name\": \"default\", \"template\": \"d\"}, "
             "{\"name\": \"tool_use\", \"template\": \"d\"}]}");
  template_expect(&variant, "d");
  text_write(&variant, "chat_template.jinja", "from the file");
  template_expect(&variant, "from the file");
  char folder[PATH_MAX + 64];
  snprintf(folder, sizeof folder, "%s/additional_chat_templates", variant.path);
  assert_int_equal(mkdir(folder, 0700), 0);
  text_write(&variant, TOOL_TEMPLATE_FILE, "with tools\n");
  template_expect(&variant, "{% if tools %}\nwith tools{{ '' }}{% else %}\nfrom the file{{ '' }}{% endif %}");
  snprintf(folder, sizeof folder, "%s/" TOOL_TEMPLATE_FILE, variant.path);
  assert_int_equal(unlink(folder), 0);
  *strrchr(folder, '/') = '\0';
  assert_int_equal(rmdir(folder), 0);
  variant_remove(&variant);
}

/* Writes the fixture's safetensors with each tensor's name behind a prefix: data offsets count from the header's end.
 */
static void tensors_rename(const struct model_variant *variant, const char *prefix) {
  struct error error;
  struct file file;
  assert_true(file_open(&file, FIXTURES "/model/gemma3/model.safetensors", &error));
  uint64_t size;
  memcpy(&size, file.data, 8);
  json_t *header = json_parse(slice_make(file.data + 8, (size_t)size), &error), *renamed = json_object(), *entry;
  const char *name;
  json_object_foreach(header, name, entry) {
    char longer[256];
    snprintf(longer, sizeof longer, "%s%s", strcmp(name, "__metadata__") ? prefix : "", name);
    json_object_set(renamed, longer, entry);
  }
  char *text = json_dumps(renamed, JSON_COMPACT);
  struct buffer out;
  buffer_init(&out, file.size * 2);
  uint64_t longer = (strlen(text) + 7) / 8 * 8; /* padded with spaces, so that data stays aligned */
  buffer_append(&out, &longer, 8);
  buffer_print(&out, "%-*s", (int)longer, text);
  buffer_append(&out, file.data + 8 + size, file.size - 8 - (size_t)size);
  file_write(variant, "model.safetensors", out.data, out.size);
  buffer_release(&out);
  free(text);
  json_decref(header);
  json_decref(renamed);
  file_close(&file);
}

/* Gemma 3 that sees images: its text network is one of several, in the config and in the tensors. */
static void test_names_do_not_command_the_terminal(void **state) {
  (void)state;
  struct model_variant variant;
  json_t *change = json_pack("{s: [s]}", "architectures", "\x1b[2JL\x7f");
  variant_make(&variant, "llama2", change);
  struct checkpoint *checkpoint = variant_open(&variant);
  assert_string_equal(checkpoint_architecture(checkpoint), "?[2JL?");
  checkpoint_close(checkpoint);
  variant_remove(&variant);
  json_decref(change);
}

static void test_text_config(void **state) {
  (void)state;
  struct error error = {0};
  struct model_variant variant;
  variant_make(&variant, "gemma3", NULL);
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%.40s/config.json", variant.path);
  json_t *text = json_load_file(path, 0, NULL);
  json_t *config = json_pack("{s:[s], s:O}", "architectures", "Gemma3ForConditionalGeneration", "text_config", text);
  json_dump_file(config, path, 0);
  tensors_rename(&variant, "language_model.");
  struct checkpoint *c = variant_open(&variant);
  struct buffer block[PLAN_ROLES];
  for (int role = 0; role < PLAN_ROLES; role++) buffer_init(&block[role], 1 << 20);
  if (!family_plan(family_find(c, &error), c, 512, block, &error)) fail_msg("%s", error.text);
  const struct plan *plan = (const struct plan *)(const void *)block[PLAN_DECODER].data;
  assert_int_equal(plan->hidden, 44);
  assert_string_equal(plan_name(plan, plan_weights(plan)[0].part[0].tensor),
                      "language_model.model.embed_tokens.weight");
  for (int role = 0; role < PLAN_ROLES; role++) buffer_release(&block[role]);
  checkpoint_close(c);
  json_decref(text);
  json_decref(config);
  variant_remove(&variant);
}

/* Opens a model of which `path` is a file, cuts that file to a page and makes it as long as it was. The last tensor
 * then reads as zeros and no SIGBUS is raised, but the checkpoint knows. */
static int cut_run(const char *model, const char *path) {
  struct error error = {0};
  struct stat status;
  signal(SIGBUS, SIG_DFL); /* cmocka has a handler of its own */
  struct checkpoint *c = checkpoint_open(model, &error);
  if (!c || stat(path, &status) != 0 || !checkpoint_intact(c, &error)) return 1;
  if (truncate(path, 4096) != 0) return 2;
  struct slice data = checkpoint_tensor(c, checkpoint_tensor_count(c) - 1)->data;
  if (data.data[data.size - 1] != 0) return 3;
  if (truncate(path, status.st_size) != 0 || checkpoint_intact(c, &error)) return 4;
  checkpoint_close(c);
  return strstr(error.text, " changed its size while it was being read.") ? 0 : 5;
}

static void cut_check(const char *name, const char *model_file, const char *tensors) {
  struct model_variant variant;
  char path[PATH_MAX], model[PATH_MAX];
  struct file file;
  struct error error;
  int status;
  variant_make(&variant, name, NULL);
  snprintf(path, sizeof path, "%s/model/%s/%s", FIXTURES, name, tensors);
  assert_true(file_open(&file, path, &error));
  file_write(&variant, tensors, file.data, file.size);
  file_close(&file);
  snprintf(path, sizeof path, "%.40s/%s", variant.path, tensors);
  snprintf(model, sizeof model, "%.40s/%s", variant.path, model_file);
  pid_t child = fork();
  if (child == 0) _exit(cut_run(model, path));
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  variant_remove(&variant);
}

static void test_cut_while_open(void **state) {
  (void)state;
  cut_check("llama3", "", "model.safetensors");
  cut_check("llama2", "", "model-00002-of-00002.safetensors");
  cut_check("llama3", "model.gguf", "model.gguf");
}

/* Of a table with these names; what they are afterwards. */
static void test_old_names(void **state) {
  (void)state;
  static const char *const cases[][2][3] = {
      {{"a.LayerNorm.gamma", "a.LayerNorm.beta", "b.gamma"}, {"a.LayerNorm.weight", "a.LayerNorm.bias", "b.gamma"}},
      {{"a.LayerNorm.gamma", "a.LayerNorm.weight", "a.LayerNorm.beta"},
       {"a.LayerNorm.gamma", "a.LayerNorm.weight", "a.LayerNorm.bias"}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tensor tensors[3] = {{.name = cases[i][0][0]}, {.name = cases[i][0][1]}, {.name = cases[i][0][2]}};
    struct tensor_table table = {.tensors = tensors, .n_tensor = 3};
    struct error error = {0};
    struct arena arena;
    arena_init(&arena, 1 << 16);
    assert_true(tensor_table_index(&table, &arena, &error));
    if (!old_names_mend(&table, &arena, &error)) fail_msg("%s", error.text);
    for (int k = 0; k < 3; k++) {
      assert_string_equal(tensors[k].name, cases[i][1][k]);
      assert_ptr_equal(tensor_find(&table, cases[i][1][k]), &tensors[k]);
    }
    arena_release(&arena);
  }
}

/* The twin of qwen3-yes-no has a chat template and one for ranks; with pooling_type 4 alone the latter counts. */
static void test_ranks(void **state) {
  (void)state;
  static const struct {
    uint32_t pooling;
    bool ranks;
  } cases[] = {{4, true}, {3, false}, {0, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char path[] = "/tmp/spate-ranks-XXXXXX";
    struct error error = {0};
    /* behind the type */
    gguf_variant_make_in(path, "encoder", "qwen3-yes-no", "pooling_type", 4, &cases[i].pooling, 4);
    struct checkpoint *c = checkpoint_open(path, &error);
    unlink(path);
    if (!c) fail_msg("%s", error.text);
    assert_int_equal(checkpoint_ranks(c), cases[i].ranks);
    struct slice source = checkpoint_chat_template(c);
    assert_int_equal(source.size > 4 && memcmp(source.data, "{{ \"", 4) == 0, cases[i].ranks); /* not the chat's */
    struct text_tail tail;
    if (cases[i].ranks) {
      assert_false(text_tail_read(&tail, c, POOL_MEAN, 32, &error));
      assert_string_equal(error.text, "The file ranks texts by the labels yes and no, which Spate does of Llama, "
                                      "Mistral, Qwen 2 and Qwen 3; the network is of architecture qwen3.");
    }
    checkpoint_close(c);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cut_while_open), /* first: its children set the handler of SIGBUS, once in a process */
      cmocka_unit_test(test_plain),
      cmocka_unit_test(test_generation_defaults),
      cmocka_unit_test(test_chat_template),
      cmocka_unit_test(test_ranks),
      cmocka_unit_test(test_old_names),
      cmocka_unit_test(test_text_config),
      cmocka_unit_test(test_names_do_not_command_the_terminal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
