/* Quantized checkpoints that must be refused, each with its exact sentence: settings of config.json, and shapes, types
 * and contents of the tensors that are one matrix. */
#include "model/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka wants the above */
#include <cmocka.h>

enum { PATH_BYTES = 128, TEXT_BYTES = 4096 };

static char folder[] = "/tmp/spate-refusal-XXXXXX";

static void file_write(const char *name, const void *head, size_t head_bytes, const char *text, int fill,
                       size_t filling) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  assert_true(file && fwrite(head, 1, head_bytes, file) == head_bytes && fputs(text, file) >= 0);
  for (size_t i = 0; i < filling; i++) fputc(fill, file);
  assert_int_equal(fclose(file), 0);
}

/* Of sizes as "2,16". */
static size_t sizes_product(const char *sizes) {
  size_t product = 1;
  for (char *end; *sizes; sizes = *end ? end + 1 : end) product *= strtoul(sizes, &end, 10);
  return product;
}

/* Tensors from "NAME TYPE ROWS COLS; …", COLS perhaps of several dimensions as "2,16": adds them to the header; returns
 * their bytes. */
static size_t header_print(const char *tensors, char header[TEXT_BYTES]) {
  size_t used = (size_t)sprintf(header, "{"), at = 0;
  for (const char *next = tensors; next && *next; next = strchr(next, ';') ? strchr(next, ';') + 2 : NULL) {
    char name[32], type[16], cols[32];
    unsigned rows;
    assert_int_equal(sscanf(next, "%31s %15s %u %31[0-9,]", name, type, &rows, cols), 4);
    size_t element = strstr(type, "64") ? 8 : strstr(type, "32") ? 4 : strstr(type, "16") ? 2 : 1;
    size_t bytes = element * rows * sizes_product(cols);
    used += (size_t)snprintf(header + used, TEXT_BYTES - used,
                             "%s\"p.%s\":{\"dtype\":\"%s\",\"shape\":[%u,%s],\"data_offsets\":[%zu,%zu]}",
                             used > 1 ? "," : "", name, type, rows, cols, at, at + bytes);
    at += bytes;
  }
  used += (size_t)sprintf(header + used, "}");
  while (used % 8) header[used++] = ' '; /* tensors begin where their type is aligned */
  header[used] = '\0';
  return at;
}

static bool checkpoint_opens(const char *settings, const char *tensors, int fill, struct error *error) {
  char config[TEXT_BYTES], header[TEXT_BYTES];
  snprintf(config, sizeof config, "{\"architectures\": [\"LlamaForCausalLM\"], \"quantization_config\": %s}", settings);
  file_write("config.json", "", 0, config, 0, 0);
  size_t bytes = header_print(tensors, header);
  uint64_t size = strlen(header);
  file_write("model.safetensors", &size, sizeof size, header, fill, bytes);
  struct checkpoint *checkpoint = checkpoint_open(folder, error);
  checkpoint_close(checkpoint);
  return checkpoint != NULL;
}

#define AWQ        "{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32}"
#define GPTQ(more) "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32" more "}"
#define FP8(more)  "{\"quant_method\": \"fp8\"" more "}"
#define MXFP4      "{\"quant_method\": \"mxfp4\"}"
#define COMPRESSED(format, weights, more)                                                                              \
  "{\"quant_method\": \"compressed-tensors\", \"format\": \"" format                                                   \
  "\", \"config_groups\": {\"a\": {\"weights\": {" weights "}" more "}}}"
#define W4 "\"num_bits\": 4, \"type\": \"int\", \"strategy\": \"group\", \"group_size\": 32"
#define W8 "\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"channel\""
#define F8 "\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"channel\""

#define GROUP(name) "\"" name "\": {\"weights\": {" W8 "}}, "

static const struct {
  const char *settings, *tensors;
  int fill; /* every byte of the tensors */
  const char *sentence;
} cases[] = {
    {"{\"quant_method\": \"bitsandbytes\"}", "", 0,
     "config.json: quantization_config.quant_method is \"bitsandbytes\"; expected \"awq\", \"gptq\", "
     "\"compressed-tensors\", \"fp8\" or \"mxfp4\"."},
    {"{\"quant_method\": \"awq\", \"bits\": 3, \"group_size\": 32}", "", 0,
     "config.json: quantization_config.bits is 3; expected 4."},
    {"{\"quant_method\": \"awq\", \"bits\": 4}", "", 0,
     "config.json: quantization_config.group_size is missing; expected -1 or the columns of a group."},
    {"{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 0}", "", 0,
     "config.json: quantization_config.group_size is 0; expected -1 or the columns of a group."},
    {"{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 9000000000000000000}", "", 0,
     "config.json: quantization_config.group_size is 9000000000000000000; expected -1 or the columns of a group."},
    {"{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32, \"version\": \"gemv\"}", "", 0,
     "config.json: quantization_config.version is \"gemv\"; expected \"gemm\"."},
    {"{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32, \"zero_point\": false}", "", 0,
     "config.json: quantization_config.zero_point is false; expected true."},
    {"{\"quant_method\": \"gptq\", \"bits\": 3, \"group_size\": 32}", "", 0,
     "config.json: quantization_config.bits is 3; expected 2, 4 or 8."},
    {GPTQ(", \"checkpoint_format\": \"marlin\""), "", 0,
     "config.json: quantization_config.checkpoint_format is \"marlin\"; expected \"gptq\" or \"gptq_v2\"."},
    {GPTQ(", \"is_marlin_format\": true"), "", 0,
     "config.json: quantization_config.is_marlin_format is true; expected false."},
    {GPTQ(", \"pack_dtype\": \"int8\""), "", 0,
     "config.json: quantization_config.pack_dtype is \"int8\"; expected \"int32\"."},
    {GPTQ(", \"dynamic\": {\"+:.*down.*\": {\"bits\": 8}}"), "", 0,
     "config.json: quantization_config.dynamic is {\"+:.*down.*\":{\"bits\":8}}; expected patterns that begin with "
     "\"-:\" only."},
    {FP8(", \"fmt\": \"e5m2\""), "", 0, "config.json: quantization_config.fmt is \"e5m2\"; expected \"e4m3\"."},
    {FP8(", \"activation_scheme\": \"block\""), "", 0,
     "config.json: quantization_config.activation_scheme is \"block\"; expected \"dynamic\" or \"static\"."},
    {FP8(", \"weight_block_size\": [128]"), "", 0,
     "config.json: quantization_config.weight_block_size is [128]; expected two sizes, as [128, 128]."},
    {FP8(", \"weight_block_size\": [128, -1]"), "", 0,
     "config.json: quantization_config.weight_block_size is [128,-1]; expected two sizes, as [128, 128]."},
    {COMPRESSED("marlin-24", W4, ""), "", 0,
     "config.json: quantization_config.format is \"marlin-24\"; expected \"pack-quantized\" or \"int-quantized\" of "
     "integers, \"float-quantized\" of floats or \"naive-quantized\"."},
    {COMPRESSED("nvfp4-pack-quantized", "\"num_bits\": 4, \"type\": \"float\", \"strategy\": \"tensor_group\"", ""), "",
     0,
     "config.json: quantization_config.format is \"nvfp4-pack-quantized\"; expected \"pack-quantized\" or "
     "\"int-quantized\" of integers, \"float-quantized\" of floats or \"naive-quantized\"."},
    {COMPRESSED("pack-quantized", "\"num_bits\": 3, \"type\": \"int\", \"strategy\": \"channel\"", ""), "", 0,
     "config.json: quantization_config.config_groups.a.weights.num_bits is 3; expected 2, 4 or 8."},
    {COMPRESSED("int-quantized", "\"num_bits\": 4, \"type\": \"int\", \"strategy\": \"channel\"", ""), "", 0,
     "config.json: quantization_config.config_groups.a.weights.num_bits is 4; expected 8 for this format."},
    {COMPRESSED("int-quantized", "\"num_bits\": 8, \"type\": \"int\", \"strategy\": \"token\"", ""), "", 0,
     "config.json: quantization_config.config_groups.a.weights.strategy is \"token\"; expected \"tensor\", "
     "\"channel\", \"group\" or \"block\" with a block_structure."},
    {COMPRESSED("float-quantized", "\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"block\"", ""), "", 0,
     "config.json: quantization_config.config_groups.a.weights.strategy is \"block\"; expected \"tensor\", "
     "\"channel\", \"group\" or \"block\" with a block_structure."},
    {COMPRESSED("int-quantized", W8, ", \"output_activations\": {\"num_bits\": 8}"), "", 0,
     "config.json: quantization_config.config_groups.a.output_activations is {\"num_bits\":8}; expected null."},
    {"{\"quant_method\": \"compressed-tensors\", \"config_groups\": {}}", "", 0,
     "config.json: quantization_config.config_groups is {}; expected at least one group with weights."},
    {"{\"quant_method\": \"compressed-tensors\", \"format\": \"int-quantized\", \"config_groups\": {" GROUP("a") GROUP(
         "b") GROUP("c") GROUP("d") GROUP("e") GROUP("f") GROUP("g") GROUP("h") "\"i\": {\"weights\": {" W8 "}}}}",
     "", 0, "config.json: quantization_config.config_groups has more than 8 groups with weights; more do not load."},
    {"{\"quant_method\": \"compressed-tensors\", \"quantization_status\": \"frozen\"}", "", 0,
     "config.json: quantization_config.quantization_status is \"frozen\"; expected \"compressed\"."},
    {"{\"quant_method\": \"compressed-tensors\", \"sparsity_config\": {\"format\": \"sparse-24-bitmask\"}}", "", 0,
     "config.json: quantization_config.sparsity_config.format is \"sparse-24-bitmask\"; expected \"dense\"."},
    {"{\"quant_method\": \"compressed-tensors\", \"transform_config\": {\"config_groups\": {}}}", "", 0,
     "config.json: quantization_config.transform_config is {\"config_groups\":{}}; expected no transforms: they would "
     "have to be applied to activations."},
    {AWQ, "qweight I32 64 4; scales F16 2 32", 0, "The zero points that belong to tensor p.qweight are missing."},
    {AWQ, "qweight I32 64 4; qzeros I32 2 4", 0, "The scales that belong to tensor p.qweight are missing."},
    {AWQ, "qweight I64 64 4; qzeros I32 2 4; scales F16 2 32", 0, "Tensor p.qweight is of type I64, expected I32."},
    {AWQ, "qweight I32 64 4; qzeros I32 1 4; scales F16 2 32", 0,
     "Tensor p.qzeros has shape [1, 4], expected [2, 4] from the codes beside it."},
    {AWQ, "qweight I32 64 4; qzeros I32 2 4; scales F16 3 32", 0,
     "Tensor p.scales has shape [3, 32], expected [2, 32] from the codes beside it."},
    {AWQ, "qweight I32 64 4; qzeros I32 2 4; scales I32 2 32", 0,
     "Tensor p.scales is of type I32, expected F16, BF16 or F32."},
    {AWQ, "qweight I32 0 4; qzeros I32 2 4; scales F16 2 32", 0,
     "Tensor p.qweight has shape [0, 4], expected two dimensions of a matrix of at most 1048576."},
    {GPTQ(""), "qweight I32 8 32; qzeros I32 2 4; scales F16 2 32; g_idx I32 63 1", 0,
     "Tensor p.g_idx has shape [63, 1], expected [64, 1] from the codes beside it."},
    {GPTQ(""), "qweight I32 8 32; qzeros I32 2 4; scales F16 2 32; g_idx I64 64 1", 0,
     "Tensor p.g_idx is of type I64, expected I32."},
    {GPTQ(""), "qweight I32 8 32; qzeros I32 2 4; scales F16 2 32; g_idx I32 64 1", 1,
     "Tensor p.g_idx has group 16843009 for column 0, expected 0 to 1."},
    {GPTQ(", \"desc_act\": true"), "qweight I32 8 32; qzeros I32 2 4; scales F16 2 32; g_idx I32 64 1", 255,
     "Tensor p.g_idx has group -1 for column 0, expected 0 to 1."},
    {GPTQ(", \"desc_act\": true"), "qweight I32 8 32; qzeros I32 2 4; scales F16 2 32", 0,
     "The group numbers (g_idx) that belong to tensor p.qweight are missing, and its groups' columns lie apart."},
    {COMPRESSED("pack-quantized", W4, ""), "weight_packed I32 32 8; weight_scale F16 32 1", 0,
     "Tensor p.weight_scale has shape [32, 1], expected [32, 2] from the codes beside it."},
    {COMPRESSED("pack-quantized", W4, ""), "weight_packed I32 32 8; weight_scale F16 32 2; weight_shape I64 1 2", 0,
     "Tensor p.weight_shape does not state the shape of p.weight_packed, whose words are [32, 8]."},
    {COMPRESSED("pack-quantized", W4, ""), "weight_packed I32 32 8; weight_scale F16 32 2; weight_shape F16 1 2", 0,
     "Tensor p.weight_shape is of type F16, expected I64."},
    {COMPRESSED("pack-quantized", W4 ", \"symmetric\": false", ""), "weight_packed I32 32 8; weight_scale F16 32 2", 0,
     "The zero points that belong to tensor p.weight_packed are missing."},
    {COMPRESSED("int-quantized", W8, ""), "weight F8_E4M3 32 64; weight_scale F32 32 1", 0,
     "Tensor p.weight is of type F8_E4M3, expected I8."},
    {COMPRESSED("int-quantized", W8, ""), "weight I8 32 64; weight_scale F32 31 1", 0,
     "Tensor p.weight_scale has shape [31, 1], expected [32, 1] from the codes beside it."},
    {COMPRESSED("float-quantized", F8, ""), "weight F8_E5M2 32 64; weight_scale F32 32 1", 0,
     "Tensor p.weight is of type F8_E5M2, expected F8_E4M3."},
    {FP8(", \"weight_block_size\": [128, 128]"), "weight F8_E4M3 64 64; weight_scale_inv F32 2 1", 0,
     "Tensor p.weight_scale_inv has shape [2, 1], expected [1, 1] from the codes beside it."},
    {FP8(", \"weight_block_size\": [128, 128]"), "weight F8_E4M3 64 64; weight_scale_inv F8_E8M0 1 1", 0,
     "Tensor p.weight_scale_inv is of type F8_E8M0, expected F16, BF16 or F32."},
    {MXFP4, "x_blocks I8 4 2,16; x_scales U8 4 2", 0, "Tensor p.x_blocks is of type I8, expected U8."},
    {MXFP4, "x_blocks U8 4 32; x_scales U8 4 2", 0,
     "Tensor p.x_blocks has shape [4, 32], expected blocks of 16 bytes in rows of at most 1048576 columns."},
    {MXFP4, "x_blocks U8 4 2,8; x_scales U8 4 2", 0,
     "Tensor p.x_blocks has shape [4, 2, 8], expected blocks of 16 bytes in rows of at most 1048576 columns."},
    {MXFP4, "x_blocks U8 4 0,16; x_scales U8 4 0", 0,
     "Tensor p.x_blocks has shape [4, 0, 16], expected blocks of 16 bytes in rows of at most 1048576 columns."},
    {MXFP4, "x_blocks U8 3 4,2,16; x_scales U8 3 4,1", 0,
     "Tensor p.x_scales has shape [3, 4, 1], expected one for each block of p.x_blocks, whose shape is [3, 4, 2, 16]."},
    {MXFP4, "x_blocks U8 3 4,2,16; x_scales F32 3 4,2", 0, "Tensor p.x_scales is of type F32, expected U8."},
    {MXFP4, "x_blocks U8 3 4,2,16", 0, "The scales that belong to tensor p.x_blocks are missing."},
};

static void test_refusals(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct error error = {0};
    if (checkpoint_opens(cases[i].settings, cases[i].tensors, cases[i].fill, &error))
      fail_msg("%s with %s was accepted", cases[i].settings, cases[i].tensors);
    if (strcmp(error.text, cases[i].sentence) != 0)
      fail_msg("%s with %s: %s", cases[i].settings, cases[i].tensors, error.text);
  }
}

static int folder_make(void **state) {
  (void)state;
  return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state) {
  static const char *const names[] = {"config.json", "model.safetensors"};
  char path[PATH_BYTES];
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    unlink(path);
  }
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
