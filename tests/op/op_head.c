/* The head of steps whose draws are all greedy, which a backend may end without logits: the tokens are those that a
 * plain search finds in the logits of the same step, asked for, also where a mask leaves some out. Of equal ones the
 * lowest, −∞ is never drawn, and what is no number, or +∞, ends the step with its sentence and leaves nothing to the
 * next. */
#include "op/op_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
  COLS = 192,
  VOCAB_MOST = 4100,
  TOKENS = 300,
  SEATS = 40,
  ALIKE = 1,  /* the token whose logits are all 0, */
  BROKEN = 2, /* and the one whose are no numbers */
};

static const struct limits head_limits = {
    .seats = SEATS, .tokens = TOKENS, .outputs = TOKENS, .length = TOKENS, .opt_batch = 4, .block_size = 16};

struct head {
  struct op_model model;
  int table, matrix; /* weights: what is embedded, the head's */
};

/* Embedded numbers are positive, so that an infinite weight makes logits of one sign. */
static void embedded_plant(const struct head *head, int vocab, bool alike) {
  float *x = (float *)(uintptr_t)head->model.codes[head->table].dense;
  for (int i = 0; i < vocab * COLS; i++) x[i] = fabsf(x[i]);
  if (vocab <= BROKEN) return;
  if (alike) memset(x + (size_t)ALIKE * COLS, 0, COLS * sizeof *x);
  x[BROKEN * COLS + COLS / 2] = NAN;
}

static uint16_t *matrix_row(const struct head *head, int row) {
  return (uint16_t *)(uintptr_t)head->model.codes[head->matrix].dense + (size_t)row * COLS;
}

/* Of bf16: a third of the rows twice, far from each other; and one whose logits are −∞, unless a layer norm has left
 * its column of both signs. */
static void rows_plant(const struct head *head, int vocab, enum norm_kind norm) {
  for (int row = 0; row < vocab / 2; row += 3)
    memcpy(matrix_row(head, vocab - 1 - row), matrix_row(head, row), COLS * sizeof(uint16_t));
  if (vocab > 5 && norm != NORM_LAYER) matrix_row(head, 5)[0] = 0xff80;
}

static void head_make(struct head *head, struct scheme scheme, int vocab, enum norm_kind norm) {
  struct op_model *m = &head->model;
  struct op select = op_make(OP_SELECT, 0), linear = op_make(OP_LINEAR, 0);
  model_init(m, vocab, (uint64_t)vocab);
  select.in[0] = model_embedded_value(m, COLS, 1);
  head->table = m->builder.head.n_weight - 1;
  select.out = linear.in[0] = plan_add_value(&m->builder, COLS, ROWS_OUTPUTS);
  plan_add_op(&m->builder, &select);
  linear.weight[0] = head->matrix = model_matrix(m, scheme, vocab, COLS, 0.3f);
  if (norm) linear.weight[2] = model_vector(m, norm == NORM_LAYER ? 2 * COLS : COLS, 0.5f, 1.5f);
  linear.out = plan_add_value(&m->builder, vocab, ROWS_OUTPUTS);
  linear.args.linear = (struct linear_args){.norm = (uint8_t)norm, .eps = 1e-5f, .scale = 0.7f, .lora_site = -1};
  plan_add_op(&m->builder, &linear);
  model_finish(m, linear.out, true);
  embedded_plant(head, vocab, scheme.kind != SCHEME_BF16); /* 0 times infinity is no number */
  if (scheme.kind == SCHEME_BF16) rows_plant(head, vocab, norm);
}

/* --- steps ------------------------------------------------------------------------------------------------------ */

struct step {
  struct row row[SEATS];
  int32_t token[TOKENS], out[TOKENS];
  struct sampling sampling[TOKENS];
  struct batch batch;
};

/* n tokens of one prompt, or of a seat each. No token is broken. */
static void step_make(struct step *step, int vocab, int n, bool seats) {
  *step = (struct step){.batch = {.n_row = seats ? n : 1, .n_token = n, .n_out = n}};
  for (int i = 0; i < n; i++) {
    step->token[i] = i % vocab == BROKEN ? 0 : i % vocab;
    step->out[i] = i;
    if (seats) step->row[i] = (struct row){.seat = i, .first = i, .count = 1};
  }
  if (!seats) step->row[0] = (struct row){.count = n};
  step->batch.row = step->row, step->batch.token = step->token, step->batch.out = step->out;
  step->batch.sampling = step->sampling;
}

static bool step_run(const struct backend *backend, struct program *program, const struct step *step,
                     const struct masks *masks, struct result *result, struct error *error) {
  return backend->submit(program, &step->batch, error) && backend->finish(program, masks, error) &&
         backend->collect(program, result, error);
}

static bool allowed(const uint32_t *mask, int id) { return !mask || mask[id / 32] >> id % 32 & 1; }

static int greatest_find(const float *logits, int vocab, const uint32_t *mask) {
  int most = -1;
  for (int i = 0; i < vocab; i++)
    if (allowed(mask, i) && (most < 0 || logits[i] > logits[most])) most = i;
  return most;
}

enum company {
  ALONE,
  DRAWN, /* the first is drawn at a temperature, so that all have logits; the greedy ones' tokens are the same */
  MASKED /* each second has a mask, which leaves out what is greatest without it */
};

enum { MASK_WORDS = (VOCAB_MOST + 31) / 32 };

/* Of those that are masked every third id is left out, and the greatest. */
static struct masks masks_make(const float *logits, int vocab, int n) {
  static uint32_t mask[TOKENS][MASK_WORDS];
  static const uint32_t *masks[TOKENS];
  for (int i = 0; i < n; i++) {
    masks[i] = i % 2 ? mask[i] : NULL;
    memset(mask[i], 0, sizeof mask[i]);
    int most = greatest_find(logits + (size_t)i * (size_t)vocab, vocab, NULL);
    for (int id = 0; id < vocab; id++)
      if (id % 3 && id != most) mask[i][id / 32] |= 1u << id % 32;
  }
  return (struct masks){masks};
}

static bool tokens_right(const struct op_packed *packed, struct program *program, struct step *step,
                         enum company company) {
  static float logits[TOKENS * VOCAB_MOST];
  struct error error = {0};
  struct result result;
  int vocab = packed->model->plan->vocab, wrong = 0, n = step->batch.n_out;
  program_step(packed, program, &head_limits, step->batch, NULL, logits);
  struct masks masks = masks_make(logits, vocab, n);
  bool masked = company == MASKED;
  if (company == DRAWN) step->sampling[0].temperature = 1, step->sampling[0].top_p = 1;
  if (!step_run(packed->backend, program, step, masked ? &masks : NULL, &result, &error))
    op_die("a greedy step", &error);
  for (int i = company == DRAWN; i < n; i++) {
    int expected = greatest_find(logits + (size_t)i * (size_t)vocab, vocab, masked ? masks.mask[i] : NULL);
    if (result.token[i] != expected && wrong++ < 3)
      printf("output %d of %d: token %d, expected %d\n", i, n, result.token[i], expected);
  }
  return wrong == 0;
}

/* Output `at` (−1: each) is spoilt and says so, and no other is. */
static bool step_spoilt(const struct op_packed *packed, struct program *program, const struct step *step, int at) {
  struct error error = {0};
  struct result result;
  if (!step_run(packed->backend, program, step, NULL, &result, &error)) op_die("a spoilt step", &error);
  bool right = true;
  for (int i = 0; i < step->batch.n_out; i++) right &= (result.token[i] < 0) == (at < 0 || i == at);
  return right;
}

/* --- cases ------------------------------------------------------------------------------------------------------ */

static void tokens_cases(const struct table *table, const struct op_packed *packed, struct program *program,
                         struct family *family) {
  static const int all[] = {TOKENS, 129, 64, 33, 17, 9, 8, 1, 0}, few[] = {129, 17, 9, 8, 0};
  static struct step step;
  int vocab = packed->model->plan->vocab;
  const int *n = table->few ? few : all;
  for (int i = 0; n[i]; i++) {
    char what[48];
    snprintf(what, sizeof what, "%d tokens", n[i]);
    step_make(&step, vocab, n[i], false);
    family_note(family, what, tokens_right(packed, program, &step, ALONE));
    family_note(family, what, tokens_right(packed, program, &step, MASKED));
    if (n[i] > SEATS) continue;
    for (enum company c = ALONE; c <= MASKED; c++) {
      snprintf(what, sizeof what, "%d tokens of as many seats%s", n[i], c == MASKED ? ", masked" : "");
      step_make(&step, vocab, n[i], true);
      family_note(family, what, tokens_right(packed, program, &step, c));
    }
  }
}

static void broken_cases(const struct op_packed *packed, struct program *program, struct family *family) {
  static struct step step;
  int vocab = packed->model->plan->vocab;
  for (int n = 8; n <= 64 && vocab > BROKEN; n *= 8) { /* few and many */
    step_make(&step, vocab, n, false);
    step.token[n / 2] = BROKEN;
    family_note(family, "a token that is no number", step_spoilt(packed, program, &step, n / 2));
    step_make(&step, vocab, n, false);
    family_note(family, "after a spoilt step", tokens_right(packed, program, &step, ALONE));
  }
}

/* A weight of the last row, in the last tile, that is no number or, where its column has one sign, infinite. */
static void damaged_cases(const struct table *table, struct head *head, const struct subject *subject,
                          enum norm_kind norm, struct family *family) {
  static const uint16_t bad[] = {0x7fc0, 0xffc0, 0x7f80};
  static struct step step;
  int vocab = head->model.plan->vocab;
  for (int b = 0; b < (norm == NORM_LAYER ? 2 : 3); b++) {
    struct op_packed packed;
    matrix_row(head, vocab - 1)[0] = bad[b];
    packed_init(&packed, table->tested, &head->model);
    struct program *program = packed_compile(&packed, subject->device[1], &head_limits);
    for (int n = 8; n <= 64; n *= 8) {
      step_make(&step, vocab, n, false);
      family_note(family, "a weight that is no number", step_spoilt(&packed, program, &step, -1));
    }
    table->tested->release(program);
    packed_release(&packed);
  }
}

static void head_case(struct table *table, struct scheme scheme, int vocab, enum norm_kind norm) {
  static const char *const norms[] = {", no norm", "", ", a layer norm"};
  struct head head;
  struct op_packed packed;
  struct family family = {0};
  char name[48];
  if (!strstr(scheme_name(&scheme, name), table->text)) return;
  snprintf(family.name, sizeof family.name, "greedy heads, %s, vocabulary of %d%s", name, vocab, norms[norm]);
  head_make(&head, scheme, vocab, norm);
  packed_init(&packed, table->tested, &head.model);
  for (int s = 0; s < table->n_subject; s++) {
    struct program *program = packed_compile(&packed, table->subject[s].device[1], &head_limits);
    tokens_cases(table, &packed, program, &family);
    broken_cases(&packed, program, &family);
    table->tested->release(program);
    if (scheme.kind == SCHEME_BF16) damaged_cases(table, &head, &table->subject[s], norm, &family);
  }
  packed_release(&packed);
  model_release(&head.model);
  family_end(table, &family);
}

void head_cases(struct table *table) {
  static const struct scheme schemes[] = {
      {.kind = SCHEME_BF16},
      {.kind = SCHEME_F32},
      {.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN},
      {.kind = SCHEME_INT, .bits = 8, .activation = ACTIVATION_INT8_TOKEN},
      {.kind = SCHEME_F8},
      {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F16, .has_min = 1, .group = 128},
      {.kind = SCHEME_INT, .bits = 4, .scale = SCALE_F16, .has_min = 1, .group = 128},
  };
  static const struct {
    int vocab;
    enum norm_kind norm; /* without one a token that is no number is in one column, as it comes to o and down */
  } heads[] = {{1000, NORM_RMS}, {37, NORM_NONE}, {VOCAB_MOST, NORM_RMS}, {1000, NORM_LAYER}};
  enum { HEADS = sizeof heads / sizeof *heads };
  for (size_t s = 0; s < sizeof schemes / sizeof *schemes; s++)
    for (int h = 0; h < (table->few ? 1 : HEADS); h++) head_case(table, schemes[s], heads[h].vocab, heads[h].norm);
}
