/* The table of op tests: what is tested, against what, and the tally. One file per op adds its families of cases. */
#ifndef SPATE_TESTS_OP_TABLE_H
#define SPATE_TESTS_OP_TABLE_H

#include "op/op_model.h"

enum { TABLE_SUBJECTS = 16 };

/* A kernel set of the tested backend, opened with one and with two threads. */
struct subject {
  const char *name;
  struct device *device[2];
};

struct table {
  const struct backend *oracle, *tested;
  struct device *oracle_device;
  int n_subject;
  struct subject subject[TABLE_SUBJECTS];
  int passed, failed, skipped;
  const char *text;        /* in the name of the schemes that linears have, and of the caches that attention has */
  bool rounds_bf16;        /* its subjects are the kernel sets that do; or else those that do not */
  bool few;                /* each kernel once, as for a tool that makes them a thousand times slower */
  bool whole;              /* pairs of schemes and shapes, too, that a CPU runs through the same kernels */
  int share, shares, turn; /* of the steps of linears, each `shares`-th, from `share` on; the next one's number */
};

/* Cases reported in one line. A case is one run of one plan compared whole. */
struct family {
  char name[100];
  int cases, failed, skipped;
  struct error refusal; /* why the last was skipped */
  double error, share;  /* the greatest difference, and the greatest as a share of its tolerance */
};

/* One case: got and bytes-equal twin against expected, with a tolerance for each number. Failures are printed. */
void family_compare(struct family *family, const char *what, const float *expected, const double *tolerance,
                    const float *got, size_t count);
/* One case: the same bytes, whatever the threads, the batch or the chunks. */
void family_same(struct family *family, const char *what, const float *one, const float *other, size_t count);
/* Does the tested backend refuse the model's plan, in a sentence? Then its cases count as skipped. */
bool family_skips(struct family *family, const struct table *table, const struct op_model *model);
/* Is the next step of this run's share? */
bool table_turn(struct table *table);
/* One case that is simply right or wrong. */
void family_note(struct family *family, const char *what, bool right);
void family_end(struct table *table, const struct family *family);

/* Unit roundoff of float: a sum of n products has an error of at most n × ROUNDOFF × the sum of their magnitudes. */
#define ROUNDOFF 0x1p-24

/* Unit roundoff of a linear's activations where the tested backend rounds them for its matrix units: a GPU's and some
 * CPUs' take bf16 on both sides, 8 significant bits; or fp16, 11. 0: it does not. */
double input_roundoff(const struct table *table, const struct scheme *scheme);

void linear_cases(struct table *table);
void expert_cases(struct table *table);
void mixture_cases(struct table *table);
void hosted_cases(struct table *table);
void crowd_cases(struct table *table);
void adapter_cases(struct table *table);
void column_cases(struct table *table);
void chain_cases(struct table *table);
void range_cases(struct table *table);
void embed_cases(struct table *table);
void head_cases(struct table *table);
void sample_cases(struct table *table);
void attend_cases(struct table *table);
void decode_cases(struct table *table);
void far_cases(struct table *table);
void encode_cases(struct table *table);
void text_cases(struct table *table);

/* The schemes of weights, shared by linear and embed. */
extern const struct scheme op_schemes[];
extern const int op_scheme_count;

#endif
