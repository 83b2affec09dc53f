/* Which files make a model, by their names alone. */
#include "hub/hub_choice.h"

#include "base/vocabulary_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void listing_make(struct hub_listing *listing, const char *names) {
  hub_listing_init(listing);
  for (const char *at = names; *at; at += strspn(at, " ")) {
    size_t size = strcspn(at, " ");
    assert_true(hub_listing_put(listing, slice_make(at, size), 1, NULL));
    at += size;
  }
}

/* The names that are wanted, with spaces; or the sentence. */
static void check(const char *names, const char *asked, const char *wanted) {
  struct hub_listing listing;
  struct hub_choice choice;
  struct error error = {0};
  char found[1024] = "";
  listing_make(&listing, names);
  bool good = hub_choose(&listing, asked, "It", &choice, &error);
  for (int i = 0; good && i < listing.n; i++)
    if (listing.files[i].wanted)
      snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s", *found ? " " : "", listing.files[i].name);
  assert_string_equal(good ? found : error.text, wanted);
  hub_listing_release(&listing);
}

static void test_safetensors(void **state) {
  (void)state;
  check("README.md config.json model.safetensors tokenizer.json pytorch_model.bin", "",
        "config.json model.safetensors tokenizer.json");
  check("config.json model.safetensors.index.json model.safetensors model-00001-of-00001.safetensors", "",
        "config.json model.safetensors.index.json");
  check("config.json model.safetensors 1_Pooling/config.json 2_Dense/model.safetensors onnx/config.json "
        "2_Dense/model.bin",
        "", "config.json model.safetensors 1_Pooling/config.json 2_Dense/model.safetensors");
  check("config.json model.safetensors x.gguf", "", "config.json model.safetensors");
  check("config.json model.safetensors additional_chat_templates/tool_use.jinja additional_chat_templates/rag.jinja",
        "", "config.json model.safetensors additional_chat_templates/tool_use.jinja");
  check("config.json model.safetensors x-Q8_0.gguf", "Q8_0", "x-Q8_0.gguf");
}

/* Each that a model can be opened with is fetched. */
static void test_vocabularies(void **state) {
  char names[256];
  (void)state;
  for (const char *const *name = vocabulary_names; *name; name++) {
    snprintf(names, sizeof names, "config.json model.safetensors %s", *name);
    check(names, "", names);
  }
  check("config.json model.safetensors hy.tiktoken vocab.txt vocab.json merges.txt", "",
        "config.json model.safetensors hy.tiktoken vocab.txt vocab.json merges.txt");
  check("config.json model.safetensors sentencepiece.bpe.model spiece.model x.model", "",
        "config.json model.safetensors sentencepiece.bpe.model spiece.model");
}

static void test_gguf(void **state) {
  (void)state;
  check("x.gguf README.md", "", "x.gguf");
  check("a-Q2_K.gguf a-Q4_K_M.gguf a-Q8_0.gguf", "", "a-Q4_K_M.gguf");
  check("a-00001-of-00002.gguf a-00003-of-00002.gguf a-00000-of-00002.gguf", "",
        "It has 1 of the 2 parts of a-00001-of-00002.gguf.");
  check("a-Q2_K.gguf a.q8_0.gguf", "", "a.q8_0.gguf");
  check("a-Q4_K_M.gguf a-Q4_K_S.gguf", "q4_k_s", "a-Q4_K_S.gguf");
  check("a-UD-Q4_K_M.gguf a-Q4_K_M.gguf", "", "a-Q4_K_M.gguf");
  check("b-Q4_K_M.gguf a-Q4_K_M.gguf", "", "a-Q4_K_M.gguf");
  check("b-Q4_K_M.gguf a-Q4_K_M.gguf", "q4_k_m", "a-Q4_K_M.gguf");
  check("a-IQ4_NL.gguf a-Q4_0.gguf a-BF16.gguf a-F16.gguf", "F16", "a-F16.gguf");
  check("Q4_K_M/a-Q4_K_M-00001-of-00002.gguf Q4_K_M/a-Q4_K_M-00002-of-00002.gguf a-Q8_0.gguf", "Q4_K_M",
        "Q4_K_M/a-Q4_K_M-00001-of-00002.gguf Q4_K_M/a-Q4_K_M-00002-of-00002.gguf");
  check("a-00001-of-00002.gguf b-00002-of-00002.gguf", "", "It has 1 of the 2 parts of a-00001-of-00002.gguf.");
  check("a-00001-of-00002.gguf a-00002-of-00002.gguf", "a-00002-of-00002.gguf",
        "It has no GGUF file \"a-00002-of-00002.gguf\"; it has a-00001-of-00002.gguf.");
  check("1.gguf 2.gguf 3.gguf 4.gguf 5.gguf 6.gguf 7.gguf 8.gguf 9.gguf", "x",
        "It has no GGUF file \"x\"; it has 1.gguf, 2.gguf, 3.gguf, 4.gguf, 5.gguf, 6.gguf, 7.gguf, 8.gguf, ....");
  check(
      "imatrix.gguf x.bin", "",
      "It has its weights in pickle files alone that are not config.json with pytorch_model.bin or its index: look for "
      "one with those, safetensors or GGUF.");
}

/* PyTorch's files, where there is nothing else. */
static void test_torch(void **state) {
  (void)state;
  check("config.json pytorch_model.bin training_args.bin tokenizer.json 2_Dense/pytorch_model.bin 2_Dense/config.json",
        "", "config.json pytorch_model.bin tokenizer.json 2_Dense/pytorch_model.bin 2_Dense/config.json");
  check("config.json pytorch_model.bin.index.json pytorch_model-00001-of-00001.bin", "",
        "config.json pytorch_model.bin.index.json");
  check("config.json pytorch_model.bin a.gguf", "", "a.gguf");
  check("config.json pytorch_model.bin", "Q8_0", "It has no GGUF file \"Q8_0\", nor any.");
}

static void test_pairs(void **state) {
  (void)state;
  check("m-Q8_0.gguf mmproj-model-f16.gguf", "", "m-Q8_0.gguf mmproj-model-f16.gguf");
  check("mmproj-BF16.gguf mmproj-Q8_0.gguf mmproj-F32.gguf m.gguf", "", "mmproj-BF16.gguf m.gguf");
  check("f/m.gguf mmproj-F16.gguf", "", "f/m.gguf");
  check("m.gguf mmproj-x.gguf preprocessor_config.json", "", "m.gguf mmproj-x.gguf preprocessor_config.json");
  check("mmproj-F16.gguf", "",
        "It holds no model that Spate reads: neither config.json with model.safetensors or its index, "
        "nor a .gguf file.");
}

static void test_shards(void **state) {
  static const struct {
    const char *index, *wanted;
  } cases[] = {
      {"{\"weight_map\": {\"a\": \"1.safetensors\", \"b\": \"1.safetensors\", \"c\": \"2.safetensors\"}}", NULL},
      {"{\"weight_map\": {\"a\": \"3.safetensors\"}}",
       "It lacks the file \"3.safetensors\" that its model.safetensors.index.json names."},
      {"{\"weight_map\": {\"a\": \"d/4.safetensors\"}}",
       "It lacks the file \"d/4.safetensors\" that its model.safetensors.index.json names."},
      {"{\"weight_map\": {\"a\": \"5.bin\"}}",
       "It lacks the file \"5.bin\" that its model.safetensors.index.json names."},
      {"{\"weight_map\": {\"a\": 7}}", "It lacks the file \"?\" that its model.safetensors.index.json names."},
      {"{\"weight_map\": {}}", "It: model.safetensors.index.json has no object \"weight_map\"."},
      {"[", "It: model.safetensors.index.json has no object \"weight_map\"."},
  };
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct hub_listing listing;
    struct error error = {0};
    listing_make(&listing, "config.json 1.safetensors 2.safetensors d/4.safetensors 5.bin");
    const struct hub_file index = {.name = "model.safetensors.index.json"};
    bool good = hub_choose_shards(&listing, &index, slice_text(cases[i].index), "It", &error);
    assert_true(good == !cases[i].wanted);
    if (good)
      assert_true(!listing.files[0].wanted && listing.files[1].wanted && listing.files[2].wanted);
    else
      assert_string_equal(error.text, cases[i].wanted);
    hub_listing_release(&listing);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_safetensors), cmocka_unit_test(test_vocabularies),
                                     cmocka_unit_test(test_gguf),        cmocka_unit_test(test_torch),
                                     cmocka_unit_test(test_pairs),       cmocka_unit_test(test_shards)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
