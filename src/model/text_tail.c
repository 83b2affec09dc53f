/* SELECT → a LINEAR for each Dense stage, or for each linear of a head. */
#include "model/text_tail.h"

#include "model/decoder.h"
#include "model/encoder_labels.h"

#include <stdio.h>

bool text_classifies(const struct checkpoint *c) {
  if (checkpoint_kind(c) == CHECKPOINT_GGUF) return checkpoint_find(c, "cls.output.weight") != NULL;
  return decoder_name_ends(checkpoint_architecture(c), "ForSequenceClassification");
}

bool text_encodes(const struct checkpoint *c) {
  int pooling = 0;
  if (checkpoint_kind(c) == CHECKPOINT_GGUF)
    return config_int(c, (struct config_key){NULL, "pooling_type"}, CONFIG_OPTIONAL, 0, INT_MAX, &pooling, NULL) &&
           pooling > 0;
  return decoder_name_ends(checkpoint_architecture(c), "Model") || text_classifies(c) || checkpoint_has_modules(c) ||
         checkpoint_words(c);
}

bool text_tail_read(struct text_tail *tail, const struct checkpoint *c, enum select_pool usual, int hidden,
                    struct error *error) {
  struct sentence_config sentence;
  if (!sentence_config_read(&sentence, c, error)) return false;
  if (sentence.yes >= 0)
    return error_set(error, ERROR_UNSUPPORTED,
                     "%s, which Spate does of Llama, Mistral, Qwen 2 and Qwen 3; the network is of architecture %.64s.",
                     checkpoint_kind(c) != CHECKPOINT_HF ? "The file ranks texts by the labels yes and no"
                     : checkpoint_words(c)               ? "The score of two texts is to be of the logits of words"
                                                         : "modules.json has a LogitScore stage",
                     checkpoint_architecture(c));
  *tail = (struct text_tail){.pool = sentence.found ? sentence.pool : usual};
  for (int i = 0, cols = hidden; i < sentence.n_dense; i++) {
    const struct dense_stage *stage = &sentence.dense[i];
    if (stage->cols != cols)
      return error_set(error, ERROR_INVALID, "modules.json: the stage %s takes %d numbers, and %d come to it.",
                       stage->folder, stage->cols, cols);
    struct text_linear *linear = text_tail_add(tail, "", cols, stage->rows);
    snprintf(linear->name, sizeof linear->name, "%s/linear", stage->folder);
    linear->act = stage->act;
    linear->bias = stage->bias;
    cols = stage->rows;
  }
  return true;
}

static struct text_linear *row_add(struct text_tail *tail, const char *name, const char *head, int row, int hidden) {
  struct text_linear *linear = text_tail_add(tail, name, hidden, 1);
  linear->tensor = head;
  linear->first = row;
  linear->bias = false;
  return linear;
}

bool text_tail_score(struct text_tail *tail, const struct sentence_config *sentence, const char *head, int hidden,
                     int vocab, struct error *error) {
  int larger = sentence->yes > sentence->no ? sentence->yes : sentence->no;
  if (larger >= vocab)
    return error_set(error, ERROR_INVALID, "The score of two texts names token %d, expected 0 to %d.", larger,
                     vocab - 1);
  *tail = (struct text_tail){.pool = POOL_TOKEN};
  if (sentence->no >= 0) row_add(tail, TEXT_SCORE_NO, head, sentence->no, hidden)->scale = -1;
  row_add(tail, TEXT_SCORE_YES, head, sentence->yes, hidden)->joins = sentence->no >= 0;
  return true;
}

struct text_linear *text_tail_add(struct text_tail *tail, const char *name, int cols, int rows) {
  struct text_linear *linear = &tail->linear[tail->n_linear++];
  *linear = (struct text_linear){.cols = cols, .rows = rows, .bias = true, .scale = 1};
  snprintf(linear->name, sizeof linear->name, "%s", name);
  return linear;
}

static int norm_add(const struct text_linear *linear, bool bias, struct plan_builder *builder) {
  char factors[TENSOR_NAME_BYTES], shifts[TENSOR_NAME_BYTES];
  snprintf(factors, sizeof factors, "%.140s.weight", linear->norm);
  snprintf(shifts, sizeof shifts, "%.140s.bias", linear->norm);
  const struct tensor_slice slices[] = {{.tensor = factors, .rows = linear->cols},
                                        {.tensor = bias ? shifts : "", .rows = linear->cols}};
  return plan_add_slices(builder, factors, WEIGHT_VECTOR, slices, 2, 1, false);
}

static int matrix_add(const struct text_linear *linear, struct plan_builder *builder) {
  char weight[TENSOR_NAME_BYTES];
  snprintf(weight, sizeof weight, "%.140s.weight", linear->name);
  const struct tensor_slice rows = {
      .tensor = linear->tensor ? linear->tensor : weight, .first = linear->first, .rows = linear->rows};
  return plan_add_slices(builder, linear->name, WEIGHT_MATRIX, &rows, 1, linear->cols, false);
}

void text_tail_build(const struct text_tail *tail, struct op select, int hidden, float eps, bool norm_bias,
                     struct plan_builder *builder) {
  select.out = plan_add_value(builder, hidden, ROWS_OUTPUTS);
  select.args.select.pool = (uint8_t)tail->pool;
  plan_add_op(builder, &select);
  for (int i = 0, in = select.out, before = -1; i < tail->n_linear; i++) {
    const struct text_linear *linear = &tail->linear[i];
    char bias[TENSOR_NAME_BYTES];
    struct op op = op_make(OP_LINEAR, -1);
    snprintf(bias, sizeof bias, "%.140s.bias", linear->name);
    op.in[0] = linear->joins ? before : in;
    op.in[1] = linear->joins ? in : -1;
    before = op.in[0];
    op.out = in = plan_add_value(builder, linear->rows, ROWS_OUTPUTS);
    op.weight[0] = matrix_add(linear, builder);
    op.args.linear.scale = linear->scale;
    if (linear->bias) op.weight[1] = plan_add_vector(builder, bias, linear->rows, 0);
    op.args.linear.act = (uint8_t)linear->act;
    if (linear->norm) {
      op.args.linear.norm = NORM_LAYER;
      op.args.linear.eps = eps;
      op.weight[2] = norm_add(linear, norm_bias, builder);
    }
    plan_add_op(builder, &op);
  }
}
