/* Every op × kernel set × scheme × shape × variant against the reference backend, as plans of one op. Prints a line for
 * each family of cases: how many, the greatest error, and that error as a share of the tolerance. Tolerances are
 * derived where they are computed: from the number of float operations and the magnitudes that go into them.
 *
 *   op_table [few] [linear|experts|adapter|columns|chain|range|embed|head|sample|attend|decode|far|encode]
 *   op_table [few] linear TEXT  those schemes alone whose names have it; so experts, chain and head
 *   op_table [few] linear TEXT K/N  and of their steps each N-th alone, from the K-th on
 *   op_table [few] adapter TEXT K/N  the same of schemes and of variants ("experts": theirs)
 *   op_table [few] attend TEXT  the same of types of caches
 *   few: each kernel once, or few times, for sanitizers
 *   SPATE_LONG=1         all pairs of schemes and shapes of mixtures; on a GPU they are run anyway
 *   SPATE_ISA=NAME       only that kernel set
 *   SPATE_BACKEND=NAME   that backend instead of the CPU's */
#include "op/op_table.h"

#include "backend/backends.h"
#include "backend/cpu/cpu_kernels.h"
#include "backend/cuda/cuda_layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define INTEGER(...)                                                                                                   \
  { .kind = SCHEME_INT, .activation = ACTIVATION_INT8, __VA_ARGS__ }
#define EXACT(...)                                                                                                     \
  { .kind = SCHEME_INT, .activation = ACTIVATION_FLOAT, __VA_ARGS__ }

const struct scheme op_schemes[] = {
    {.kind = SCHEME_F32},
    {.kind = SCHEME_F16},
    {.kind = SCHEME_BF16},
    INTEGER(.bits = 8, .scale = SCALE_F16, .group = 32),                                                 /* Q8_0 */
    INTEGER(.bits = 4, .scale = SCALE_F16, .group = 32),                                                 /* Q4_0 */
    INTEGER(.bits = 4, .scale = SCALE_F16, .group = 32, .has_min = 1),                                   /* Q4_1 */
    INTEGER(.bits = 4, .high_bits = 1, .scale = SCALE_F16, .group = 32),                                 /* Q5_0 */
    INTEGER(.bits = 4, .high_bits = 1, .scale = SCALE_F16, .group = 32, .has_min = 1),                   /* Q5_1 */
    INTEGER(.bits = 2, .scale = SCALE_TWO_LEVEL, .group = 16, .has_min = 1),                             /* Q2_K */
    INTEGER(.bits = 2, .high_bits = 1, .scale = SCALE_TWO_LEVEL, .group = 16),                           /* Q3_K */
    INTEGER(.bits = 4, .scale = SCALE_TWO_LEVEL, .group = 32, .has_min = 1),                             /* Q4_K */
    INTEGER(.bits = 4, .high_bits = 1, .scale = SCALE_TWO_LEVEL, .group = 32, .has_min = 1),             /* Q5_K */
    INTEGER(.bits = 4, .high_bits = 2, .scale = SCALE_TWO_LEVEL, .group = 16),                           /* Q6_K */
    INTEGER(.bits = 4, .scale = SCALE_F16, .group = 32, .codebook = CODEBOOK_IQ4),                       /* IQ4_NL */
    INTEGER(.bits = 4, .scale = SCALE_TWO_LEVEL, .group = 32, .codebook = CODEBOOK_IQ4),                 /* IQ4_XS */
    INTEGER(.bits = 4, .scale = SCALE_BF16, .group = 32, .codebook = CODEBOOK_E2M1),                     /* MXFP4 */
    INTEGER(.bits = 4, .scale = SCALE_BF16, .group = 16, .codebook = CODEBOOK_E2M1),                     /* NVFP4 */
    INTEGER(.bits = 2, .high_bits = 1, .scale = SCALE_TWO_LEVEL, .group = 16, .codebook = CODEBOOK_IQ1), /* IQ1_M */
    INTEGER(.bits = 2, .high_bits = 1, .scale = SCALE_TWO_LEVEL, .group = 32, .codebook = CODEBOOK_IQ2), /* IQ2_XXS */
    INTEGER(.bits = 4, .scale = SCALE_TWO_LEVEL, .group = 32, .codebook = CODEBOOK_IQ3),                 /* IQ3_XXS */
    INTEGER(.bits = 4, .scale = SCALE_TWO_LEVEL, .group = 32, .codebook = CODEBOOK_ODD),                 /* IQ3_S */
    INTEGER(.bits = 2, .scale = SCALE_F16, .group = 128),                                                /* TQ1_0 */
    INTEGER(.bits = 2, .scale = SCALE_F16, .group = 128, .has_min = 1),                                  /* TQ2_0 */
    INTEGER(.bits = 4, .scale = SCALE_F16, .group = 64),
    INTEGER(.bits = 4, .scale = SCALE_F16, .group = 128, .has_min = 1),
    INTEGER(.bits = 8, .scale = SCALE_F32, .group = 128, .has_min = 1),
    INTEGER(.bits = 2, .high_bits = 2, .scale = SCALE_F32, .group = 16),
    INTEGER(.bits = 4, .scale = SCALE_F32, .group = 16, .codebook = CODEBOOK_E2M1),
    EXACT(.bits = 8, .scale = SCALE_F16, .group = 32),
    EXACT(.bits = 4, .scale = SCALE_F16, .group = 32, .has_min = 1),
    EXACT(.bits = 4, .high_bits = 2, .scale = SCALE_TWO_LEVEL, .group = 16),
    EXACT(.bits = 4, .scale = SCALE_BF16, .group = 32, .codebook = CODEBOOK_E2M1),
    INTEGER(.bits = 8, .scale = SCALE_F32),
    INTEGER(.bits = 4, .scale = SCALE_F32),
    {.kind = SCHEME_INT, .bits = 8, .scale = SCALE_F32, .activation = ACTIVATION_INT8_TOKEN}, /* W8A8 */
    EXACT(.bits = 8, .scale = SCALE_F32),
    EXACT(.bits = 4, .scale = SCALE_F16, .group = 32),
    EXACT(.bits = 4, .scale = SCALE_F16, .group = 128, .has_min = 1),
    EXACT(.bits = 8, .scale = SCALE_F16, .group = 128, .has_min = 1), /* INT8_WEIGHT of a GPU */
    {.kind = SCHEME_F8, .activation = ACTIVATION_E4M3_TOKEN},         /* FP8 */
    {.kind = SCHEME_F8},
    {.kind = SCHEME_F8, .group = 128},
};
const int op_scheme_count = sizeof op_schemes / sizeof *op_schemes;

/* --- the tally -------------------------------------------------------------------------------------------------- */

void family_note(struct family *family, const char *what, bool right) {
  family->cases++;
  if (right) return;
  family->failed++;
  printf("FAILED %s: %s\n", family->name, what);
}

void family_compare(struct family *family, const char *what, const float *expected, const double *tolerance,
                    const float *got, size_t count) {
  bool right = true;
  for (size_t i = 0; i < count; i++) {
    double error = fabs((double)got[i] - expected[i]);
    if (error > family->error) family->error = error;
    if (error / tolerance[i] > family->share) family->share = error / tolerance[i];
    if (error <= tolerance[i]) continue;
    if (right) printf("%s: number %zu is %.9g, expected %.9g ± %.3g\n", what, i, got[i], expected[i], tolerance[i]);
    right = false; /* also where error is NaN */
  }
  family_note(family, what, right);
}

void family_same(struct family *family, const char *what, const float *one, const float *other, size_t count) {
  size_t at = 0;
  while (at < count && memcmp(one + at, other + at, sizeof *one) == 0) at++;
  if (at < count) printf("%s: number %zu is %.9g, expected the bytes of %.9g\n", what, at, other[at], one[at]);
  family_note(family, what, at == count);
}

bool table_turn(struct table *table) { return table->turn++ % table->shares == table->share; }

bool family_skips(struct family *family, const struct table *table, const struct op_model *model) {
  int op = 0;
  while (op < model->plan->n_op && table->tested->supports(model->plan, op, &family->refusal)) op++;
  if (op == model->plan->n_op) return false;
  family->skipped++;
  return true;
}

void family_end(struct table *table, const struct family *family) {
  if (family->skipped) printf("SKIPPED %s: %d plans: %s\n", family->name, family->skipped, family->refusal.text);
  table->skipped += family->skipped;
  if (family->skipped && !family->cases) return;
  printf("%-44s %5d cases, max error %.2e, %4.1f %% of its tolerance%s\n", family->name, family->cases, family->error,
         100 * family->share, family->failed ? "  FAILED" : "");
  fflush(stdout);
  table->passed += family->cases - family->failed;
  table->failed += family->failed;
}

/* Hopper adds products of E4M3 with 14 bits, some times before a float takes the sum. Weights of 4 and 8 bits have
 * tokens in bf16, each off by 2⁻⁹ of itself at most; among many a weight is in bf16, too, its code times its scale, and
 * where scales are of groups those are in bf16 before: three such factors of a product. */
double input_roundoff(const struct table *table, const struct scheme *scheme) {
  if (table->rounds_bf16 && scheme->kind == SCHEME_BF16) return 0x1p-9;
  if (table->tested->target != TARGET_CUDA) return 0;
  if (scheme->kind == SCHEME_F8 && scheme->activation) return 0x1p-11;
  if (!scheme->activation && cuda_scheme_coded(scheme)) return (scheme->group ? 3 : 2) * 0x1p-9;
  return scheme->kind == SCHEME_BF16 ? 0x1p-8 : scheme->kind == SCHEME_F16 ? 0x1p-11 : 0;
}

/* --- what is tested --------------------------------------------------------------------------------------------- */

static struct device *device_open(const struct backend *backend, const char *isa, int n_thread) {
  struct error error = {0};
  struct device *device = backend->open(&(struct device_options){.n_thread = n_thread, .isa = isa}, &error);
  if (!device) op_die(backend->name, &error);
  return device;
}

/* The kernel sets that round bf16's input, or those that do not. */
static void sets_open(struct table *table) {
  const char *forced = getenv("SPATE_ISA");
  for (int i = 0; kernel_sets[i]; i++) {
    const char *name = kernel_sets[i]->name;
    if (kernel_sets[i]->rounds_bf16 != table->rounds_bf16) continue;
    if (forced && *forced && strcmp(forced, name) != 0) continue;
    if (!kernel_sets[i]->available()) {
      printf("SKIPPED %s: this machine cannot run these kernels\n", name);
      continue;
    }
    struct subject *subject = &table->subject[table->n_subject++];
    *subject = (struct subject){name, {device_open(table->tested, name, 1), device_open(table->tested, name, 2)}};
  }
}

static void table_open(struct table *table) {
  table->oracle_device = device_open(table->oracle, NULL, 1);
  if (table->tested == backend_find("cpu"))
    sets_open(table);
  else if (!table->rounds_bf16)
    table->subject[table->n_subject++] = (struct subject){
        table->tested->name, {device_open(table->tested, NULL, 1), device_open(table->tested, NULL, 2)}};
}

static void table_close(struct table *table) {
  for (int i = 0; i < table->n_subject; i++)
    for (int k = 0; k < 2; k++) table->tested->close(table->subject[i].device[k]);
  table->oracle->close(table->oracle_device);
  table->n_subject = 0;
}

static bool share_read(struct table *table, const char *text) {
  char rest;
  bool read = sscanf(text, "%d/%d%c", &table->share, &table->shares, &rest) == 2;
  return read && --table->share >= 0 && table->share < table->shares;
}

static void table_run(struct table *table, const char *only) {
  table_open(table);
  for (int i = 0; i < table->n_subject; i++) printf("%s\n", table->tested->describe(table->subject[i].device[1]));
  if (table->n_subject > 0) {
    if (strstr("linear", only)) linear_cases(table);
    if (strstr("experts", only)) expert_cases(table);
    if (strstr("mixture", only)) mixture_cases(table);
    if (strstr("hosted", only)) hosted_cases(table);
    if (strstr("crowds", only)) crowd_cases(table);
    if (strstr("adapter", only)) adapter_cases(table);
    if (strstr("columns", only)) column_cases(table);
    if (strstr("chain", only)) chain_cases(table);
    if (strstr("range", only)) range_cases(table);
    if (strstr("embed", only)) embed_cases(table);
    if (strstr("head", only)) head_cases(table);
    if (strstr("encode", only)) encode_cases(table);
    if (strstr("texts", only)) text_cases(table);
    if (strstr("sample", only) && !table->rounds_bf16) sample_cases(table);
    if (strstr("attend", only) && !table->rounds_bf16) attend_cases(table); /* the others' attention is as here */
    if (strstr("decode", only) && !table->rounds_bf16) decode_cases(table);
    if (strstr("far", only) && !table->rounds_bf16) far_cases(table);
  }
  table_close(table);
}

int main(int argc, char **argv) {
  bool few = argc > 1 && strcmp(argv[1], "few") == 0;
  const char *only = argc > 1 + few ? argv[1 + few] : "", *tested = getenv("SPATE_BACKEND"),
             *whole = getenv("SPATE_LONG");
  struct table table = {.oracle = backend_find("reference"),
                        .tested = backend_find(tested ? tested : "cpu"),
                        .few = few,
                        .whole = whole && strcmp(whole, "1") == 0,
                        .text = argc > 2 + few ? argv[2 + few] : "",
                        .shares = 1};
  if (!table.tested) op_die("SPATE_BACKEND", &(struct error){.text = "there is no such backend"});
  if (argc > 3 + few && !share_read(&table, argv[3 + few])) {
    fprintf(stderr, "op_table: a share is K/N, K from 1 to N, not '%s'.\n", argv[3 + few]);
    return 2;
  }
  for (int rounds = 0; rounds < 2; rounds++) {
    table.rounds_bf16 = rounds;
    table_run(&table, only);
  }
  if (table.skipped) printf("%d plans skipped\n", table.skipped);
  printf("%d passed, %d failed\n", table.passed, table.failed);
  bool refused = table.skipped > 0 && table.tested == backend_find("cpu"); /* which may refuse none */
  return table.failed || table.passed == 0 || refused;
}
