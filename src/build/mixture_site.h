/* A layer's experts as calibration goes through them, one at a time: so that what is held does not grow with their
 * number. */
#ifndef SPATE_BUILD_MIXTURE_SITE_H
#define SPATE_BUILD_MIXTURE_SITE_H

#include "build/calibrating.h"
#include "build/expert_program.h"
#include "build/expert_rows.h"
#include "build/gptq_site.h"

enum {                      /* what factors are judged by */
       EXPERT_SAMPLE = 128, /* rows of an expert's inputs */
       EXPERT_TRIED = 256   /* rows of its matrices */
};

/* One of an expert's linears: those of gates, then the one that is added up. */
struct expert_linear {
  const struct op *op;
  const struct weight *weight;
  int index;            /* of the weight */
  struct weight floats; /* the weight, its scheme F32 */
  struct weight_reader reader;
  struct stack_writer stack;
  float *matrix; /* [rows][cols] of the expert */
  bool writes;   /* the calibration rounds and writes it */
};

struct mixture {
  struct calibrating *c;
  const struct walk_site *site;
  const struct op *gather;
  int n_expert, k, hidden, width; /* numbers between an expert's linears */
  int n_linear;                   /* of an expert; the last is the one that is added up */
  struct expert_linear linear[EXPERT_LINEARS];
  struct expert_program gate, down;
  struct input_sums sums[2]; /* GPTQ: of what goes into gates, and into the last */
  struct expert_rows rows;
  float *inputs;    /* [tokens][hidden] normed */
  float *choice;    /* [tokens][2k] */
  float *x, *h, *y; /* rows of an expert: [n][hidden], [n][width], [n][hidden], n up to `room` */
  int room;
  const float *column; /* [hidden] factors on what all experts read; NULL: none */
  float *metric;       /* of one matrix */
  bool scales;         /* factors within an expert, and rounding to nearest with them */
  uint32_t n_few;
};

/* mixture_scale.c: AWQ and SmoothQuant. Factors on what router, experts and those beside them read, folded away: fills
 * mixture->column, and the transforms of all. */
bool mixture_fold(struct mixture *m, struct error *error);
/* Scales the expert's matrices, whose inputs are m->x and m->h, and writes them. */
bool mixture_expert_scale(struct mixture *m, struct error *error);

/* Can the calibration round into the scheme? */
static inline bool scheme_rounds(const struct scheme *s) { return s->kind != SCHEME_INT || gptq_takes(s); }

/* Reads a linear's matrix of an expert. */
bool expert_matrix_read(struct expert_linear *linear, int expert, struct error *error);
/* The expert's rows: fills m->rows and m->x. */
bool mixture_rows_take(struct mixture *m, int expert, int least, struct error *error);
/* The linears beside the experts as a site of their own; its count is 0 where there are none. */
struct walk_site mixture_beside(const struct plan *plan, const struct walk_site *site);

#endif
