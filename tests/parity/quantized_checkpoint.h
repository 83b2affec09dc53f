/* Small checkpoints of Llama, Mixtral and Qwen 3 MoE whose matrices are stored as other programs store quantized ones,
 * and twins of the same numbers in F32. The packing is written here once more, from the formats' documentation, so that
 * it is not that of the program which reads it. */
#ifndef SPATE_TESTS_QUANTIZED_CHECKPOINT_H
#define SPATE_TESTS_QUANTIZED_CHECKPOINT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { HIDDEN = 128, INNER = 192, LAYERS = 2, HEADS = 4, KV_HEADS = 2, HEAD = 32, VOCAB = 283 };

enum {
  EXPERTS = 3,
  CHOSEN = EXPERTS
}; /* all: a choice that is nearly even would fall otherwise where inputs are rounded */

/* Which network. */
enum network { NETWORK_LLAMA, NETWORK_MIXTRAL, NETWORK_QWEN3_MOE, NETWORKS };

/* Which form, by what makes it. */
enum stored { STORED_F32, STORED_AWQ, STORED_GPTQ, STORED_WORDS, STORED_INT8, STORED_E4M3 };

struct form {
  const char *name, *quantization; /* of config.json */
  enum stored stored;
  int bits, group, scale_rows; /* columns and rows that share a scale; 0: all */
  bool has_zero, scattered;    /* scattered: every column of a matrix has a group of its own choice */
  double tolerance;            /* of the codes' engine against the twin's, as a part of the logits' range */
};

/* A file of tensors that grows. Tensors without rows are vectors. */
struct tensor_file {
  char *header;
  uint8_t *data;
  size_t header_size, size;
};

static inline void file_add(struct tensor_file *f, const char *module, const char *part, const char *type, int rows,
                            int cols, const void *bytes, size_t size) {
  char shape[32];
  if (rows)
    snprintf(shape, sizeof shape, "%d,%d", rows, cols);
  else
    snprintf(shape, sizeof shape, "%d", cols);
  f->header = realloc(f->header, f->header_size + 256); /* with room for the end */
  f->data = realloc(f->data, f->size + size);
  if (!f->header || !f->data) abort();
  f->header_size += (size_t)sprintf(f->header + f->header_size,
                                    "%s\"%s%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                                    f->header_size ? "," : "{", module, part, type, shape, f->size, f->size + size);
  memcpy(f->data + f->size, bytes, size);
  f->size += size;
}

static inline void file_save(struct tensor_file *f, const char *path) {
  FILE *stream = fopen(path, "wb");
  f->header[f->header_size++] = '}';
  while (f->header_size % 8) f->header[f->header_size++] = ' ';
  uint64_t size = f->header_size;
  if (!stream || fwrite(&size, 8, 1, stream) != 1 || fwrite(f->header, size, 1, stream) != 1 ||
      fwrite(f->data, f->size, 1, stream) != 1 || fclose(stream) != 0)
    abort();
  free(f->header);
  free(f->data);
}

static inline uint32_t random_next(uint32_t *state) {
  *state = *state * 1664525 + 1013904223;
  return *state >> 8;
}

/* --- one matrix --------------------------------------------------------------------------------------------------- */

/* Numbers that every form holds exactly: scales of 7 bits. */
struct numbers {
  const struct form *form;
  int rows, cols, n_group;
  int *code, *zero; /* [rows][cols], [rows][n_group] */
  float *scale;     /* [rows][n_group] */
  int *group;       /* [cols] */
};

static inline float e4m3_value(int byte) {
  int exponent = byte >> 3 & 15, fraction = byte & 7;
  double value = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
  return (float)(byte & 128 ? -value : value);
}

static inline float number_at(const struct numbers *n, int row, int col) {
  int at = row * n->n_group + n->group[col], code = n->code[row * n->cols + col];
  return n->scale[at] * (n->form->stored == STORED_E4M3 ? e4m3_value(code) : (float)(code - n->zero[at]));
}

static inline struct numbers numbers_make(const struct form *form, int rows, int cols, uint32_t *random) {
  int group = form->group ? form->group : cols, n_group = (cols + group - 1) / group, top = 1 << form->bits;
  int scale_rows = form->scale_rows ? form->scale_rows : rows;
  struct numbers n = {.form = form, .rows = rows, .cols = cols, .n_group = n_group};
  n.code = calloc((size_t)rows * (size_t)cols, sizeof *n.code);
  n.zero = calloc((size_t)rows * (size_t)n_group, sizeof *n.zero);
  n.scale = calloc((size_t)rows * (size_t)n_group, sizeof *n.scale);
  n.group = calloc((size_t)cols, sizeof *n.group);
  if (!n.code || !n.zero || !n.scale || !n.group) abort();
  double unit = form->stored == STORED_E4M3 ? 0x1p-11 : ldexp(1, -9 - form->bits);
  for (int i = 0; i < rows * cols; i++)
    n.code[i] = (int)(random_next(random) % (uint32_t)top) & (form->stored == STORED_E4M3 ? 0xbf : 0xff);
  for (int r = 0; r < rows; r++)
    for (int g = 0; g < n_group; g++) {
      bool first = r % scale_rows == 0;
      n.scale[r * n_group + g] =
          first ? (float)(unit * (64 + random_next(random) % 64)) : n.scale[(r - 1) * n_group + g];
      n.zero[r * n_group + g] = form->has_zero ? top / 2 - 2 + (int)(random_next(random) % 4) : top / 2;
    }
  for (int c = 0; c < cols; c++) n.group[c] = c / group;
  for (int c = cols - 1; c > 0 && form->scattered; c--) { /* groups of equal size, their columns anywhere */
    int other = (int)(random_next(random) % (uint32_t)(c + 1)), kept = n.group[c];
    n.group[c] = n.group[other];
    n.group[other] = kept;
  }
  return n;
}

static inline void numbers_free(struct numbers *n) { free(n->code), free(n->zero), free(n->scale), free(n->group); }

/* A number of the matrix to be packed: its code, or a zero point as it is stored. */
typedef int (*field_of)(const struct numbers *n, int row, int col);

static inline int code_field(const struct numbers *n, int row, int col) { return n->code[row * n->cols + col]; }
static inline int zero_field(const struct numbers *n, int row, int group) { return n->zero[row * n->n_group + group]; }
static inline int zero_less_one(const struct numbers *n, int row, int group) { return zero_field(n, row, group) - 1; }

/* Words of 32 bits, [down][across], whose fields run along rows or columns of the matrix; `order`: which of a word's
 * rows each of its fields holds, the lowest first. */
static inline uint32_t *words_make(const struct numbers *n, field_of field, int rows, int cols, bool along_rows,
                                   bool rows_down, const int *order) {
  int bits = n->form->bits, per_word = 32 / bits;
  int down = rows_down ? rows : cols, across = rows_down ? cols : rows;
  bool packs_down = along_rows == rows_down;
  int words_down = packs_down ? down / per_word : down, words_across = packs_down ? across : across / per_word;
  uint32_t *words = calloc((size_t)words_down * (size_t)words_across, sizeof *words);
  if (!words) abort();
  for (int d = 0; d < words_down; d++)
    for (int a = 0; a < words_across; a++)
      for (int i = 0; i < per_word; i++) {
        int place = order ? order[i] : i;
        int at_down = packs_down ? d * per_word + place : d, at_across = packs_down ? a : a * per_word + place;
        int row = rows_down ? at_down : at_across, col = rows_down ? at_across : at_down;
        words[d * words_across + a] |= (uint32_t)field(n, row, col) << i * bits;
      }
  return words;
}

static inline void words_add(struct tensor_file *f, const char *module, const char *part, int rows, int cols,
                             uint32_t *words) {
  file_add(f, module, part, "I32", rows, cols, words, (size_t)rows * (size_t)cols * 4);
  free(words);
}

/* Scales as bf16, [rows / scale_rows][groups] or, groups first, as fp16 [groups][rows]. */
static inline void scales_add(struct tensor_file *f, const char *module, const char *part, const struct numbers *n,
                              bool groups_first) {
  int step = n->form->scale_rows ? n->form->scale_rows : n->rows, rows = (n->rows + step - 1) / step;
  uint16_t *halves = calloc((size_t)rows * (size_t)n->n_group, sizeof *halves);
  if (!halves) abort();
  for (int r = 0; r < rows; r++)
    for (int g = 0; g < n->n_group; g++) {
      float value = n->scale[r * step * n->n_group + g];
      uint32_t bits;
      memcpy(&bits, &value, sizeof bits);
      uint32_t half = (bits >> 23) - 112; /* the exponent of a normal fp16 */
      halves[groups_first ? g * rows + r : r * n->n_group + g] =
          (uint16_t)(groups_first ? half << 10 | (bits >> 13 & 1023) : bits >> 16);
    }
  file_add(f, module, part, groups_first ? "F16" : "BF16", groups_first ? n->n_group : rows,
           groups_first ? rows : n->n_group, halves, (size_t)rows * (size_t)n->n_group * 2);
  free(halves);
}

static inline void bytes_add(struct tensor_file *f, const char *module, const struct numbers *n) {
  size_t count = (size_t)n->rows * (size_t)n->cols;
  bool is_float = n->form->stored == STORED_E4M3;
  uint8_t *bytes = malloc(count);
  if (!bytes) abort();
  for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)(n->code[i] - (is_float ? 0 : 128));
  file_add(f, module, ".weight", is_float ? "F8_E4M3" : "I8", n->rows, n->cols, bytes, count);
  free(bytes);
}

static inline void floats_add(struct tensor_file *f, const char *module, const struct numbers *n) {
  float *out = malloc((size_t)n->rows * (size_t)n->cols * sizeof *out);
  if (!out) abort();
  for (int r = 0; r < n->rows; r++)
    for (int c = 0; c < n->cols; c++) out[r * n->cols + c] = number_at(n, r, c);
  file_add(f, module, ".weight", "F32", n->rows, n->cols, out, (size_t)n->rows * (size_t)n->cols * 4);
  free(out);
}

static inline void matrix_add(struct tensor_file *f, const char *module, const struct numbers *n, enum stored stored) {
  static const int awq_order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  int rows = n->rows, cols = n->cols, groups = n->n_group, per_word = 32 / n->form->bits;
  int64_t shape[2] = {rows, cols};
  switch (stored) {
  case STORED_F32: floats_add(f, module, n); break;
  case STORED_AWQ:
    words_add(f, module, ".qweight", cols, rows / 8, words_make(n, code_field, rows, cols, true, false, awq_order));
    words_add(f, module, ".qzeros", groups, rows / 8, words_make(n, zero_field, rows, groups, true, false, awq_order));
    scales_add(f, module, ".scales", n, true);
    break;
  case STORED_GPTQ:
    words_add(f, module, ".qweight", cols / per_word, rows, words_make(n, code_field, rows, cols, false, false, NULL));
    words_add(f, module, ".qzeros", groups, rows / per_word,
              words_make(n, zero_less_one, rows, groups, true, false, NULL));
    scales_add(f, module, ".scales", n, true);
    file_add(f, module, ".g_idx", "I32", 0, cols, n->group, (size_t)cols * 4);
    break;
  case STORED_WORDS:
    words_add(f, module, ".weight_packed", rows, cols / per_word,
              words_make(n, code_field, rows, cols, false, true, NULL));
    if (n->form->has_zero)
      words_add(f, module, ".weight_zero_point", rows / per_word, groups,
                words_make(n, zero_field, rows, groups, true, true, NULL));
    file_add(f, module, ".weight_shape", "I64", 0, 2, shape, sizeof shape);
    scales_add(f, module, ".weight_scale", n, false);
    break;
  default:
    bytes_add(f, module, n);
    scales_add(f, module, n->form->group ? ".weight_scale_inv" : ".weight_scale", n, false);
  }
}

/* --- a network ---------------------------------------------------------------------------------------------------- */

static inline void plain_add(struct tensor_file *f, const char *name, int rows, int cols, float middle,
                             uint32_t *random) {
  size_t count = (size_t)(rows ? rows : 1) * (size_t)cols;
  float *out = malloc(count * sizeof *out);
  if (!out) abort();
  for (size_t i = 0; i < count; i++) out[i] = middle + (float)(random_next(random) % 1024) / 2048 - 0.25f;
  file_add(f, name, "", "F32", rows, cols, out, count * sizeof *out);
  free(out);
}

static inline void module_add(struct tensor_file *f, int layer, const char *module, int rows, int cols,
                              const struct form *form, enum stored stored, uint32_t *random) {
  char name[128];
  struct numbers numbers = numbers_make(form, rows, cols, random);
  snprintf(name, sizeof name, "model.layers.%d.%s", layer, module);
  matrix_add(f, name, &numbers, stored);
  numbers_free(&numbers);
}

static inline void vector_add(struct tensor_file *f, int layer, const char *vector, int rows, int cols, float middle,
                              uint32_t *random) {
  char name[96];
  snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, vector);
  plain_add(f, name, rows, cols, middle, random);
}

/* Gate, up and down of a feed-forward by their names. */
static inline void feed_forward_add(struct tensor_file *f, int layer, const char *base, const char *const names[3],
                                    const struct form *form, enum stored stored, uint32_t *random) {
  char module[96];
  for (int i = 0; i < 3; i++) {
    snprintf(module, sizeof module, "%s.%s", base, names[i]);
    module_add(f, layer, module, i < 2 ? INNER : HIDDEN, i < 2 ? HIDDEN : INNER, form, stored, random);
  }
}

/* A router, which no program quantizes, and experts. */
static inline void experts_add(struct tensor_file *f, int layer, enum network network, const struct form *form,
                               enum stored stored, uint32_t *random) {
  static const char *const names[][3] = {{"w1", "w3", "w2"}, {"gate_proj", "up_proj", "down_proj"}};
  const char *base = network == NETWORK_MIXTRAL ? "block_sparse_moe" : "mlp";
  char name[64];
  snprintf(name, sizeof name, "%s.gate", base);
  vector_add(f, layer, name, EXPERTS, HIDDEN, 0, random);
  for (int e = 0; e < EXPERTS; e++) {
    snprintf(name, sizeof name, "%s.experts.%d", base, e);
    feed_forward_add(f, layer, name, names[network != NETWORK_MIXTRAL], form, stored, random);
  }
}

static inline void layer_add(struct tensor_file *f, int layer, enum network network, const struct form *form,
                             enum stored stored, uint32_t *random) {
  static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
  module_add(f, layer, "self_attn.q_proj", HEADS * HEAD, HIDDEN, form, stored, random);
  module_add(f, layer, "self_attn.k_proj", KV_HEADS * HEAD, HIDDEN, form, stored, random);
  module_add(f, layer, "self_attn.v_proj", KV_HEADS * HEAD, HIDDEN, form, stored, random);
  module_add(f, layer, "self_attn.o_proj", HIDDEN, HEADS * HEAD, form, stored, random);
  if (network == NETWORK_LLAMA)
    feed_forward_add(f, layer, "mlp", names, form, stored, random);
  else
    experts_add(f, layer, network, form, stored, random);
  vector_add(f, layer, "input_layernorm", 0, HIDDEN, 1, random);
  vector_add(f, layer, "post_attention_layernorm", 0, HIDDEN, 1, random);
  if (network != NETWORK_QWEN3_MOE) return;
  vector_add(f, layer, "self_attn.q_norm", 0, HEAD, 1, random);
  vector_add(f, layer, "self_attn.k_norm", 0, HEAD, 1, random);
}

static inline void config_save(const char *path, enum network network, const char *quantization) {
  static const char *const names[NETWORKS][2] = {
      {"LlamaForCausalLM", "llama"}, {"MixtralForCausalLM", "mixtral"}, {"Qwen3MoeForCausalLM", "qwen3_moe"}};
  FILE *stream = fopen(path, "w");
  if (!stream) abort();
  fprintf(stream, "{\"architectures\": [\"%s\"], \"model_type\": \"%s\", ", names[network][0], names[network][1]);
  if (network != NETWORK_LLAMA)
    fprintf(stream,
            "\"num_local_experts\": %d, \"num_experts\": %d, \"num_experts_per_tok\": %d, "
            "\"moe_intermediate_size\": %d, \"norm_topk_prob\": true, \"decoder_sparse_step\": 1, "
            "\"mlp_only_layers\": [], ",
            EXPERTS, EXPERTS, CHOSEN, INNER);
  fprintf(stream,
          "\"bos_token_id\": 1, "
          "\"eos_token_id\": 2, \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
          "\"tie_word_embeddings\": false, \"attention_bias\": false, \"max_position_embeddings\": 512, "
          "\"hidden_size\": %d, \"intermediate_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
          "\"num_key_value_heads\": %d, \"head_dim\": %d, \"vocab_size\": %d%s%s}",
          HIDDEN, INNER, LAYERS, HEADS, KV_HEADS, HEAD, VOCAB, quantization ? ", \"quantization_config\": " : "",
          quantization ? quantization : "");
  if (fclose(stream) != 0) abort();
}

/* A checkpoint in an existing folder: the form's, or (`twin`) one of the same numbers in F32. */
static inline void network_save(const char *folder, enum network network, const struct form *form, bool twin) {
  struct tensor_file f = {0};
  char path[128];
  uint32_t random = 11;
  for (int layer = 0; layer < LAYERS; layer++)
    layer_add(&f, layer, network, form, twin ? STORED_F32 : form->stored, &random);
  plain_add(&f, "model.embed_tokens.weight", VOCAB, HIDDEN, 0, &random);
  plain_add(&f, "model.norm.weight", 0, HIDDEN, 1, &random);
  plain_add(&f, "lm_head.weight", VOCAB, HIDDEN, 0, &random);
  snprintf(path, sizeof path, "%s/model.safetensors", folder);
  file_save(&f, path);
  snprintf(path, sizeof path, "%s/config.json", folder);
  config_save(path, network, twin ? NULL : form->quantization);
}

static inline void checkpoint_save(const char *folder, const struct form *form, bool twin) {
  network_save(folder, NETWORK_LLAMA, form, twin);
}

#endif
