/* The table of families, and what is checked of every plan against the checkpoint that it was made for. */
#include "model/family.h"

#include "model/mmproj.h"
#include "model/text_tail.h"

#include <stdio.h>
#include <stdlib.h>

static const struct family *const families[] = {
    &llama_family,      &gemma_family,      &gemma3_family,     &phi3_family,          &granite_family,
    &olmo2_family,      &smollm3_family,    &glm4_family,       &cohere_family,        &gpt2_family,
    &gpt_neox_family,   &starcoder2_family, &falcon_family,     &mpt_family,           &mixtral_family,
    &phimoe_family,     &gpt_oss_family,    &deepseek_family,   &gemma3_vision_family, &idefics3_family,
    &llava_family,      &mistral3_family,   &qwen2_vl_family,   &bert_family,          &modernbert_family,
    &nomic_bert_family, &mpnet_family,      &distilbert_family, &jina_bert_family};

enum { FAMILY_COUNT = sizeof families / sizeof *families };

static bool family_has(const struct family *family, const char *architecture) {
  const struct architecture *own = family->architectures;
  while (own->name && strcmp(own->name, architecture) != 0) own++;
  return own->name != NULL;
}

const struct family *family_find(const struct checkpoint *checkpoint, struct error *error) {
  const char *wanted = checkpoint_architecture(checkpoint);
  enum { REST = 144, MORE = 32 }; /* what the rest of the sentence takes, and the end of the list */
  char known[ERROR_TEXT_MAX - REST] = "";
  size_t used = 0;
  for (int i = 0; i < FAMILY_COUNT; i++)
    if (family_has(families[i], wanted)) return families[i];
  for (int i = 0; i < FAMILY_COUNT; i++) {
    bool fits = used + strlen(families[i]->title) + MORE < sizeof known;
    used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? "; " : "",
                             fits ? families[i]->title : "and more in docs/models.md");
    if (!fits) break;
  }
  error_set(error, ERROR_UNSUPPORTED, "The architecture \"%.64s\" is not one that Spate loads; it loads those of %s.",
            wanted, known);
  return NULL;
}

bool family_always_encodes(const struct checkpoint *checkpoint) {
  (void)checkpoint;
  return true;
}

const struct family *family_at(int index) { return index < FAMILY_COUNT ? families[index] : NULL; }

const char *family_gguf_name(const struct family *family, const struct checkpoint *checkpoint) {
  const struct architecture *own = family->architectures;
  while (own->name && strcmp(own->name, checkpoint_architecture(checkpoint)) != 0) own++;
  return own->name && own->gguf ? own->gguf : "";
}

/* --- tensors against weights ------------------------------------------------------------------------------------- */

/* A matrix of rows × cols, one row of which may be a vector; a convolution's weight is one whose rows have several
 * dimensions. */
static bool matrix_fits(const struct tensor *tensor, const struct weight *weight, int rows, int cols) {
  int64_t across = 1;
  if (weight->order == ORDER_TRANSPOSED) return tensor->n_dim == 2 && tensor->dim[0] == cols && tensor->dim[1] == rows;
  if (tensor->n_dim == 1) return rows == 1 && tensor->dim[0] == cols;
  for (int i = 1; i < tensor->n_dim; i++) across *= tensor->dim[i];
  return tensor->n_dim >= 2 && tensor->dim[0] == rows && across == cols;
}

/* Norms of each head's own have a row for each. */
static bool vector_fits(const struct tensor *tensor, int rows) {
  int64_t count = 1;
  for (int i = 0; i < tensor->n_dim; i++) count *= tensor->dim[i];
  return tensor->n_dim >= 1 && tensor->n_dim <= 2 && count == rows;
}

/* Is a weight of an encoder of texts a token's row of a head, which has one for each (text_tail_score)? */
static bool weight_is_token(const struct plan *plan, const struct weight *weight) {
  const char *name = plan_name(plan, weight->name);
  return plan->role == PLAN_ENCODER && weight->use == WEIGHT_MATRIX && weight->rows == 1 &&
         (strcmp(name, TEXT_SCORE_YES) == 0 || strcmp(name, TEXT_SCORE_NO) == 0);
}

/* Rows that the plan has of a part's tensor, all together, or all of a head's; `found` are the tensor's. */
static int tensor_rows(const struct plan *plan, const struct weight_part *part, int64_t found) {
  int rows = part_end(part);
  bool token = false;
  if (rows == found) return rows;
  for (int i = 0; i < plan->n_weight; i++) {
    const struct weight *weight = plan_weights(plan) + i;
    for (int k = 0; k < weight->n_part; k++) {
      int end = part_end(&weight->part[k]);
      if (strcmp(plan_name(plan, weight->part[k].tensor), plan_name(plan, part->tensor)) != 0) continue;
      if (end > rows) rows = end;
      token = token || weight_is_token(plan, weight);
    }
  }
  return token && rows != found ? plan->vocab : rows;
}

/* What the plan has of each expert's part of a tensor that is all experts', all weights together; a vector's is one
 * row. */
struct stack_extent {
  int rows, cols;
};

static struct stack_extent stack_extent_of(const struct plan *plan, const char *name) {
  struct stack_extent extent = {0, 0};
  for (int i = 0; i < plan->n_weight; i++) {
    const struct weight *w = plan_weights(plan) + i;
    for (int k = 0; k < w->n_part; k++) {
      if (strcmp(plan_name(plan, w->part[k].tensor), name) != 0) continue;
      bool turned = w->use == WEIGHT_VECTOR || w->order == ORDER_TRANSPOSED;
      int end = part_end(&w->part[k]), across = w->use == WEIGHT_VECTOR ? 1 : w->cols;
      int rows = turned ? across : end, cols = turned ? end : across;
      if (rows > extent.rows) extent.rows = rows;
      if (cols > extent.cols) extent.cols = cols;
    }
  }
  return extent;
}

/* One tensor of all experts has as many elements as they all together: one dimension more, or the rows follow each
 * other. */
static bool experts_fit(const struct tensor *tensor, const struct weight *weight, struct stack_extent extent) {
  return tensor->n_dim > 0 && tensor->dim[tensor->n_dim - 1] == extent.cols && tensor->dim[0] % weight->n_expert == 0 &&
         (int64_t)tensor->count == (int64_t)weight->n_expert * extent.rows * extent.cols;
}

static bool stack_check(const struct checkpoint *checkpoint, const struct plan *plan, const struct weight *weight,
                        const struct weight_part *part, bool *used, struct error *error) {
  const char *name = plan_name(plan, part->tensor);
  const struct tensor *tensor = checkpoint_find(checkpoint, name);
  char shape[TENSOR_SHAPE_TEXT];
  if (!tensor) return error_set(error, ERROR_FORMAT, "Tensor %s is missing, but the config asks for it.", name);
  used[tensor - checkpoint_tensor(checkpoint, 0)] = true;
  struct stack_extent extent = stack_extent_of(plan, name);
  if (experts_fit(tensor, weight, extent)) return true;
  return error_set(error, ERROR_FORMAT, "Tensor %s has shape %s, expected %d experts of %d × %d from the config.", name,
                   tensor_shape_text(tensor, shape), weight->n_expert, extent.rows, extent.cols);
}

/* Is the tensor exactly the part of the weight that it is meant to be? `name` is the part's, or that of an expert's. */
static bool tensor_check(const struct checkpoint *checkpoint, const struct plan *plan, const struct weight *weight,
                         const struct weight_part *part, const char *name, bool *used, struct error *error) {
  const struct tensor *tensor = checkpoint_find(checkpoint, name);
  char shape[TENSOR_SHAPE_TEXT];
  bool vector = weight->use == WEIGHT_VECTOR;
  if (!tensor) return error_set(error, ERROR_FORMAT, "Tensor %s is missing, but the config asks for it.", name);
  int rows = tensor_rows(plan, part, vector || tensor->n_dim > 1 ? tensor->dim[0] : 1);
  bool fits = vector ? vector_fits(tensor, rows) : matrix_fits(tensor, weight, rows, weight->cols);
  if (!fits && vector)
    return error_set(error, ERROR_FORMAT, "Tensor %s has shape %s, expected [%d] from the config.", name,
                     tensor_shape_text(tensor, shape), rows);
  if (!fits)
    return error_set(error, ERROR_FORMAT, "Tensor %s has shape %s, expected [%d, %d] from the config.", name,
                     tensor_shape_text(tensor, shape), rows, weight->cols);
  used[tensor - checkpoint_tensor(checkpoint, 0)] = true;
  return true;
}

static bool part_check(const struct checkpoint *checkpoint, const struct plan *plan, const struct weight *weight,
                       const struct weight_part *part, bool *used, struct error *error) {
  const char *name = plan_name(plan, part->tensor);
  char own[EXPERT_NAME_BYTES];
  if (part_is_constant(plan, part)) return true;
  if (weight->n_expert == 0) return tensor_check(checkpoint, plan, weight, part, name, used, error);
  if (!expert_tensor_apart(name)) return stack_check(checkpoint, plan, weight, part, used, error);
  for (int e = 0; e < weight->n_expert; e++)
    if (!tensor_check(checkpoint, plan, weight, part, expert_tensor_name(name, e, own), used, error)) return false;
  return true;
}

/* Tables that other programs store beside the weights and that are computed here. */
static bool tensor_computed(const char *name) {
  return strcmp(name, "rope_freqs.weight") == 0 || strcmp(name, "rope_factors_long.weight") == 0 ||
         strcmp(name, "rope_factors_short.weight") == 0 || strcmp(name, "v.token_embd.img_break") == 0 ||
         strstr(name, ".rotary_emb.inv_freq") != NULL;
}

/* Quantizers give every matrix a bias, of zeros where the network has none. */
static bool bias_of_zeros(const struct tensor *tensor) {
  size_t size = strlen(tensor->name);
  if (size < 5 || strcmp(tensor->name + size - 5, ".bias") != 0) return false;
  for (size_t i = 0; i < tensor->data.size; i++)
    if (tensor->data.data[i] != 0) return false;
  return true;
}

static bool tensor_ignored(const struct family *family, const struct checkpoint *checkpoint, const struct plan *plan,
                           const struct tensor *tensor) {
  const char *name = tensor->name;
  if (tensor_computed(name) || bias_of_zeros(tensor) || (family->unused && family->unused(checkpoint, name)))
    return true;
  /* A tied head that the file stores all the same. */
  const struct op *head = plan_ops(plan) + plan->n_op - 2;
  const struct op *embed = plan_ops(plan);
  size_t size = strlen(name), tail = strlen("lm_head.weight");
  return head->weight[0] == embed->weight[0] && size >= tail && strcmp(name + size - tail, "lm_head.weight") == 0;
}

/* A tensor that no weight uses means that the network is not quite the one planned: its answers would be wrong. */
static bool leftover_check(const struct family *family, const struct checkpoint *checkpoint, const struct plan *plan,
                           const bool *used, struct error *error) {
  char list[ERROR_TEXT_MAX / 2] = "";
  size_t at = 0;
  int count = 0;
  for (int i = 0; i < checkpoint_tensor_count(checkpoint); i++) {
    const char *name = checkpoint_tensor(checkpoint, i)->name;
    if (used[i] || tensor_ignored(family, checkpoint, plan, checkpoint_tensor(checkpoint, i))) continue;
    if (count++ < 3) at += (size_t)snprintf(list + at, sizeof list - at, "%s%.60s", at ? ", " : "", name);
  }
  if (count == 0) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "%d tensors of the checkpoint have no place in a network of architecture %.64s with its config: "
                   "%s%s.",
                   count, checkpoint_architecture(checkpoint), list, count > 3 ? ", …" : "");
}

static const struct plan *block_plan(const struct buffer *block) { return (const void *)block->data; }

static bool weights_check(const struct checkpoint *checkpoint, const struct plan *plan, bool *used,
                          struct error *error) {
  for (int i = 0; i < plan->n_weight; i++) {
    const struct weight *weight = plan_weights(plan) + i;
    for (int k = 0; k < weight->n_part; k++)
      if (!part_check(checkpoint, plan, weight, weight->part + k, used, error)) return false;
  }
  return true;
}

static bool tensors_check(const struct family *family, const struct checkpoint *checkpoint,
                          const struct buffer block[PLAN_ROLES], struct error *error) {
  bool *used = calloc((size_t)checkpoint_tensor_count(checkpoint) + 1, sizeof *used);
  if (!used) return error_set(error, ERROR_MEMORY, "No memory is left to check the tensors.");
  bool ok = true;
  for (int role = 0; ok && role < PLAN_ROLES; role++)
    ok = block[role].size == 0 || weights_check(checkpoint, block_plan(&block[role]), used, error);
  ok = ok && leftover_check(family, checkpoint, block_plan(&block[PLAN_DECODER]), used, error);
  free(used);
  return ok;
}

static bool vision_outline(const struct family *family, const struct checkpoint *checkpoint,
                           struct buffer block[PLAN_ROLES], struct error *error) {
  struct plan_builder builder;
  bool pair = checkpoint_projector(checkpoint) != NULL;
  if (!family->build_vision && !pair) return true;
  const struct plan *decoder = block_plan(&block[PLAN_DECODER]);
  plan_builder_init(&builder, PLAN_VISION);
  bool ok = (pair ? mmproj_build : family->build_vision)(checkpoint, decoder, &builder, error);
  if (ok && builder.head.n_op > 0)
    ok = plan_finish(&builder, &block[PLAN_VISION], error) &&
         plan_vision_fits(decoder, block_plan(&block[PLAN_VISION]), error);
  plan_builder_release(&builder);
  return ok;
}

bool family_outline(const struct family *family, const struct checkpoint *checkpoint, int length, struct buffer *block,
                    struct error *error) {
  struct plan_builder builder;
  plan_builder_init(&builder, family->encodes && family->encodes(checkpoint) ? PLAN_ENCODER : PLAN_DECODER);
  builder.length = length;
  bool words = !checkpoint_words(checkpoint) || builder.head.role == PLAN_ENCODER ||
               error_set(error, ERROR_UNSUPPORTED,
                         "The score of two texts is to be of the logits of words, which Spate does of Llama, Mistral, "
                         "Qwen 2 and Qwen 3; the network is of architecture %.64s.",
                         checkpoint_architecture(checkpoint));
  bool ok = words && family->build(checkpoint, &builder, error) && plan_finish(&builder, block, error);
  plan_builder_release(&builder);
  return ok;
}

bool family_plan(const struct family *family, const struct checkpoint *checkpoint, int length,
                 struct buffer block[PLAN_ROLES], struct error *error) {
  for (int role = 0; role < PLAN_ROLES; role++) buffer_clear(&block[role]);
  return family_outline(family, checkpoint, length, &block[PLAN_DECODER], error) &&
         vision_outline(family, checkpoint, block, error) && tensors_check(family, checkpoint, block, error);
}
