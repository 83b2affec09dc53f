/* Pairs of GGUF files: which folders are one, and each damage to an encoder's file, with the exact sentence. */
#include "model/family.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATH = 512 };

static char folder[] = "/tmp/spate-mmproj-XXXXXX";

/* --- files -------------------------------------------------------------------------------------------------------- */

struct bytes {
  char *data;
  size_t size;
};

static struct bytes file_read(const char *path) {
  struct bytes bytes = {0};
  FILE *file = fopen(path, "rb");
  if (!file) fail_msg("%s cannot be opened", path);
  fseek(file, 0, SEEK_END);
  bytes.size = (size_t)ftell(file);
  rewind(file);
  bytes.data = malloc(bytes.size);
  assert_int_equal(fread(bytes.data, 1, bytes.size, file), bytes.size);
  fclose(file);
  return bytes;
}

static void file_write(const char *name, const struct bytes *bytes) {
  char path[PATH];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes->data, 1, bytes->size, file), bytes->size);
  fclose(file);
}

static void file_remove(const char *name) {
  char path[PATH];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  unlink(path);
}

static struct bytes fixture(const char *model, const char *name) {
  char path[PATH];
  snprintf(path, sizeof path, "%s/vision/%s/gguf/%s", FIXTURES, model, name);
  return file_read(path);
}

/* What stands behind the first place where the text is. */
static char *behind(const struct bytes *bytes, const char *text) {
  char *at = memmem(bytes->data, bytes->size, text, strlen(text));
  if (!at) fail_msg("the file has no %s", text);
  return at + strlen(text);
}

static bool folder_plan(struct error *error) {
  struct checkpoint *checkpoint = checkpoint_open(folder, error);
  if (!checkpoint) return false;
  struct buffer block[PLAN_ROLES];
  for (int role = 0; role < PLAN_ROLES; role++) buffer_init(&block[role], 1 << 24);
  const struct family *family = family_find(checkpoint, error);
  bool ok = family && family_plan(family, checkpoint, 512, block, error) && block[PLAN_VISION].size > 0;
  for (int role = 0; role < PLAN_ROLES; role++) buffer_release(&block[role]);
  checkpoint_close(checkpoint);
  return ok;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

/* Either the number behind a key becomes another, or the key another name (`renamed`, as long). */
static const struct {
  const char *model, *key, *renamed, *sentence;
  uint32_t number;
} damages[] = {
    {"gemma3", "clip.vision.attention.head_count", NULL,
     "The encoder's file: clip.vision.attention.head_count is 0, expected 1 to 4096.", 0},
    {"gemma3", "clip.vision.attention.head_count", NULL,
     "The encoder's file: The vision config has hidden size 36 and 5 attention heads; the first must be a multiple of "
     "the second, by 1024 at most.",
     5},
    {"gemma3", "clip.vision.patch_size", NULL, "The encoder's file: clip.vision.patch_size is 0, expected 1 to 64.", 0},
    {"gemma3", "clip.vision.patch_size", NULL,
     "The encoder's file: The vision config has images of 24 pixels in patches of 25, which makes 0 a side; expected 1 "
     "to 256, a multiple of 2.",
     25},
    {"gemma3", "clip.vision.embedding_length", NULL,
     "The encoder's file: clip.vision.embedding_length is 4294967295, expected 1 to 1048576.", UINT32_MAX},
    {"gemma3", "clip.vision.projector.scale_factor", NULL,
     "The encoder's file: clip.vision.projector.scale_factor is 9, expected 1 to 8.", 9},
    {"gemma3", "clip.vision.block_count", NULL, "Tensor v.blk.3.attn_q.weight is missing, but the config asks for it.",
     4},
    {"gemma3", "clip.use_gelu", "clip.use_gelU", "The encoder's file: clip.use_gelu is not true, as of a SigLIP it is.",
     0},
    {"gemma3", "mm.soft_emb_norm.weight", "mm.soft_emb_norm.weighT",
     "Tensor mm.soft_emb_norm.weight is missing, but the config asks for it.", 0},
    {"idefics3", "clip.vision.image_size", NULL,
     "The encoder's file: clip.vision.image_size is 0, expected 1 to 16384.", 0},
    {"pixtral", "clip.use_silu", "clip.use_silU",
     "The encoder's file: One of clip.use_silu and clip.use_gelu is to be true.", 0},
    {"mistral3", "clip.vision.spatial_merge_size", NULL,
     "The encoder's file: clip.vision.spatial_merge_size is 0, expected 1 to 8.", 0},
    {"qwen2_vl", "v.blk.0.ffn_up.weight", "v.blk.0.ffn_up.weighT",
     "The encoder's file: Tensor v.blk.0.ffn_up.weight is missing or no matrix of 1 to 1048576 rows.", 0},
    {"qwen2_vl", "v.patch_embd.weight.1", "v.patch_embd.weight.2",
     "Tensor v.patch_embd.weight.1 is missing, but the config asks for it.", 0},
    {"qwen2_5_vl", "clip.vision.n_wa_pattern", NULL,
     "The encoder's file: clip.vision.n_wa_pattern is 0, expected 1 to 1024.", 0},
    {"llava", "clip.vision.embedding_length", NULL,
     "The encoder's file: clip.vision.embedding_length is 0, expected 1 to 1048576.", 0},
    {"llava", "clip.vision.attention.head_count", NULL,
     "The encoder's file: The vision config has hidden size 36 and 5 attention heads; the first must be a multiple of "
     "the second, by 1024 at most.",
     5},
    {"llava", "clip.vision.block_count", NULL, "Tensor v.blk.3.attn_q.weight is missing, but the config asks for it.",
     4},
    {"llava", "clip.vision.block_count", NULL,
     "16 tensors of the checkpoint have no place in a network of architecture llama with its config: "
     "v.blk.2.ln1.bias, v.blk.2.ln1.weight, v.blk.2.ln2.bias, ….",
     2},
    {"llava", "v.class_embd", "v.class_embD", "Tensor v.class_embd is missing, but the config asks for it.", 0},
    {"llava", "v.pre_ln.weight", "v.pre_ln.weighT", "Tensor v.pre_ln.weight is missing, but the config asks for it.",
     0},
    {"llava", "mm.2.weight", "mm.3.weight", "Tensor mm.2.weight is missing, but the config asks for it.", 0},
    {"llava", "clip.vision.image_size", NULL,
     "The encoder's file: The vision config has images of 4 pixels in patches of 5, which makes 0 a side; expected 1 "
     "to "
     "256, a multiple of 1.",
     4},
    {"llava_next", "model.image_newline", "model.image_newlinE",
     "Tensor model.image_newline is missing, but the config asks for it.", 0},
    {"llava_next", "clip.vision.mm_patch_merge_type", "clip.vision.mm_patch_merge_typE",
     "The encoder's file: clip.vision.image_grid_pinpoints are there and clip.vision.mm_patch_merge_type is not "
     "\"spatial_unpad\": tiles without it are not served.",
     0},
    {"qwen2_5_vl", "clip.vision.window_size", NULL,
     "The encoder's file: clip.vision.window_size is 7, expected at least the 8 pixels of merged patches.", 7},
};

static void test_damaged(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
    struct error error = {0};
    struct bytes model = fixture(damages[i].model, "model.gguf");
    struct bytes mmproj = fixture(damages[i].model, "mmproj-model.gguf");
    file_write("model.gguf", &model);
    char *at = behind(&mmproj, damages[i].key);
    if (damages[i].renamed)
      memcpy(at - strlen(damages[i].renamed), damages[i].renamed, strlen(damages[i].renamed));
    else
      memcpy(at + 4, &damages[i].number, 4);
    file_write("mmproj-model.gguf", &mmproj);
    if (folder_plan(&error)) fail_msg("%s %s was accepted", damages[i].model, damages[i].key);
    assert_string_equal(error.text, damages[i].sentence);
    free(model.data);
    free(mmproj.data);
  }
}

static void test_kinds(void **state) {
  (void)state;
  struct error error = {0};
  struct bytes model = fixture("gemma3", "model.gguf"), mmproj = fixture("gemma3", "mmproj-model.gguf");
  file_write("model.gguf", &model);
  memcpy(behind(&mmproj, "clip.projector_type") + 4 + 8, "gemma9", 6);
  file_write("mmproj-model.gguf", &mmproj);
  assert_false(folder_plan(&error));
  assert_string_equal(error.text,
                      "The encoder's file has a projector of the kind \"gemma9\", expected \"gemma3\", \"idefics3\", "
                      "\"mlp\", \"pixtral\", \"qwen2vl_merger\" or \"qwen2.5vl_merger\".");
  free(mmproj.data);
  mmproj = fixture("gemma3", "mmproj-model.gguf");
  file_write("mmproj-model.gguf", &mmproj);
  assert_true(folder_plan(&error));
  memcpy(behind(&model, "<image_soft_token") - 5, "tOken", 5);
  file_write("model.gguf", &model);
  assert_false(folder_plan(&error));
  assert_string_equal(error.text,
                      "The encoder's file: The vocabulary has no token <image_soft_token>, which stands for images.");
  free(model.data);
  free(mmproj.data);
}

/* A pair whose files are changed: `count` bytes at `offset` behind a text become others. */
static void pair_changed(const char *of, const char *file, const char *text, size_t offset, const char *bytes,
                         size_t count) {
  static const char *const names[] = {"model.gguf", "mmproj-model.gguf"};
  for (int i = 0; i < 2; i++) {
    struct bytes whole = fixture(of, names[i]);
    if (strcmp(names[i], file) == 0) memcpy(behind(&whole, text) + offset, bytes, count);
    file_write(names[i], &whole);
    free(whole.data);
  }
}

enum {
  SCALAR = 4,
  LIST = 16,
  TEXT = 12
}; /* bytes from a key to its value: behind its type, the type and number of
      elements, or the length */

/* What LLaVA's files say in lists and words. */
static void test_llava(void **state) {
  (void)state;
  static const struct {
    const char *file, *text;
    size_t offset;
    const char *bytes;
    size_t count;
    const char *sentence;
  } changes[] = {
      {"mmproj-model.gguf", "clip.vision.feature_layer", LIST, "\4", 1,
       "The encoder's file: clip.vision.feature_layer is 4, expected 3, the last of the file's."},
      {"mmproj-model.gguf", "clip.vision.feature_layer", LIST, "\0", 1,
       "The encoder's file: clip.vision.feature_layer is 0, expected 3, the last of the file's."},
      {"mmproj-model.gguf", "clip.vision.mm_patch_merge_type", TEXT, "spatial_unPad", 13,
       "The encoder's file: clip.vision.mm_patch_merge_type is \"spatial_unPad\", expected \"flat\" or "
       "\"spatial_unpad\"."},
      {"model.gguf", "<image", 0, "E", 1, NULL}, /* which leaves <unk> */
  };
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    struct error error = {0};
    pair_changed("llava_next", changes[i].file, changes[i].text, changes[i].offset, changes[i].bytes, changes[i].count);
    assert_int_equal(folder_plan(&error), changes[i].sentence == NULL);
    if (changes[i].sentence) assert_string_equal(error.text, changes[i].sentence);
  }
}

/* A decoder that knows no image lends a token that no text becomes. */
static void test_lent(void **state) {
  (void)state;
  struct error error = {0};
  pair_changed("llava", "model.gguf", "<unk", 0, ">", 1);
  assert_true(folder_plan(&error));
  pair_changed("llava", "model.gguf", "<unk", 0, "E", 1);
  assert_false(folder_plan(&error));
  assert_string_equal(error.text, "The encoder's file: The vocabulary has none of the tokens <image>, <unk> and "
                                  "<|reserved_special_token_0|>, one of which is to stand for images.");
}

#define PICTURES_REST                                                                                                  \
  "\"do_pad\":true,\"size\":{\"shortest_edge\":20},\"crop_size\":{\"height\":20,\"width\":20},\"image_mean\":"         \
  "[0.48145467042922974,0.45782750844955444,0.40821072459220886],\"image_std\":"                                       \
  "[0.26862955093383789,0.26130259037017822,0.27577710151672363]"

/* How pictures are made, where no preprocessor_config.json says it. */
static void test_pictures(void **state) {
  (void)state;
  static const char *const of[] = {"llava", "llava_next", "gemma3"};
  static const char *const texts[] = {"{\"image_processor_type\":\"LlavaImageProcessor\"," PICTURES_REST "}",
                                      "{\"image_processor_type\":\"LlavaNextImageProcessor\"," PICTURES_REST
                                      ",\"image_grid_pinpoints\":[[20,40],[40,20],[40,40],[60,20]]}",
                                      ""};
  for (int i = 0; i < 3; i++) {
    struct error error = {0};
    pair_changed(of[i], "", "", 0, "", 0);
    struct checkpoint *checkpoint = checkpoint_open(folder, &error);
    if (!checkpoint) fail_msg("%s", error.text);
    struct slice made = checkpoint_preprocessor(checkpoint);
    assert_int_equal(made.size, strlen(texts[i]));
    assert_memory_equal(made.size ? (const char *)made.data : "", texts[i], made.size);
    checkpoint_close(checkpoint);
  }
  struct error error = {0};
  char sentence[PATH];
  pair_changed("llava", "mmproj-model.gguf", "clip.vision.image_mean", 4, "\5", 1); /* of whole numbers */
  assert_null(checkpoint_open(folder, &error));
  snprintf(sentence, sizeof sentence, "%s/mmproj-model.gguf: clip.vision.image_mean is no list of 3 numbers.", folder);
  assert_string_equal(error.text, sentence);
}

/* Decoders of the architecture mistral3 are Llama's, whose scores may grow with the position. */
static void test_growth(void **state) {
  (void)state;
  static const char key[] = "mistral3.attention.temperature_scale";
  struct error error = {0};
  pair_changed("mistral3", "model.gguf", key, SCALAR, "\0\0\0\0", 4);
  assert_true(folder_plan(&error));
  pair_changed("mistral3", "model.gguf", key, SCALAR, "\0\0\0\x3f", 4); /* 0.5 */
  assert_true(folder_plan(&error));
  pair_changed("mistral3", "model.gguf", key, SCALAR, "\0\0\0\xbf", 4);
  assert_false(folder_plan(&error));
  assert_string_equal(error.text, "mistral3.attention.temperature_scale is -0.5, expected 0 to 1000.");
}

static void test_folders(void **state) {
  (void)state;
  struct error error = {0};
  char sentence[PATH];
  struct bytes model = fixture("idefics3", "model.gguf"), mmproj = fixture("idefics3", "mmproj-model.gguf");
  file_write("model.gguf", &model);
  file_write("mmproj-model.gguf", &mmproj);
  assert_true(folder_plan(&error));
  file_write("mmproj-2.gguf", &mmproj);
  assert_false(folder_plan(&error));
  snprintf(sentence, sizeof sentence,
           "%s has 1 .gguf files of models and 2 of encoders (mmproj), expected one of each.", folder);
  assert_string_equal(error.text, sentence);
  file_remove("mmproj-2.gguf");
  file_write("mmproj-model.gguf", &model); /* not an encoder's */
  assert_false(folder_plan(&error));
  assert_non_null(strstr(error.text, "mmproj-model.gguf: "));
  file_remove("mmproj-model.gguf");
  assert_false(folder_plan(&error));
  assert_non_null(strstr(error.text, " has no config.json; a model is a directory"));
  free(model.data);
  free(mmproj.data);
}

static void cut_check(const char *of) {
  struct bytes model = fixture(of, "model.gguf"), mmproj = fixture(of, "mmproj-model.gguf");
  file_write("model.gguf", &model);
  for (size_t size = 0; size < mmproj.size; size += mmproj.size / 61) {
    struct error error = {0};
    struct bytes part = {mmproj.data, size};
    file_write("mmproj-model.gguf", &part);
    assert_false(folder_plan(&error));
    assert_true(error.text[0] != '\0');
  }
  free(model.data);
  free(mmproj.data);
}

static void test_cut(void **state) {
  (void)state;
  cut_check("qwen2_vl");
  cut_check("llava_next");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_damaged),  cmocka_unit_test(test_kinds),
                                     cmocka_unit_test(test_cut),      cmocka_unit_test(test_folders),
                                     cmocka_unit_test(test_llava),    cmocka_unit_test(test_lent),
                                     cmocka_unit_test(test_pictures), cmocka_unit_test(test_growth)};
  if (!mkdtemp(folder)) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  file_remove("model.gguf");
  file_remove("mmproj-model.gguf");
  rmdir(folder);
  return failed;
}
