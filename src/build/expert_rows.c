/* Lists of tokens, made anew for each expert. */
#include "build/expert_rows.h"

#include <stdlib.h>
#include <string.h>

bool expert_rows_init(struct expert_rows *rows, const float *choice, int n_token, int k, struct error *error) {
  size_t most = (size_t)n_token + EXPERT_OTHERS;
  *rows = (struct expert_rows){.choice = choice, .n_token = n_token, .k = k};
  rows->token = malloc(most * sizeof *rows->token);
  rows->weight = malloc(most * sizeof *rows->weight);
  return (rows->token && rows->weight) ||
         error_set(error, ERROR_MEMORY, "Out of memory for the experts of %d tokens.", n_token);
}

void expert_rows_release(struct expert_rows *rows) {
  free(rows->token);
  free(rows->weight);
  *rows = (struct expert_rows){0};
}

static void others_add(struct expert_rows *rows) {
  int count = rows->n_token < EXPERT_OTHERS ? rows->n_token : EXPERT_OTHERS;
  for (int i = 0; i < count; i++) rows->token[rows->n_row++] = (int)((long long)i * rows->n_token / count);
}

void expert_rows_find(struct expert_rows *rows, int expert, int least) {
  rows->n_chosen = 0;
  for (int t = 0; t < rows->n_token; t++) {
    const float *choice = rows->choice + (size_t)t * 2 * (size_t)rows->k;
    for (int j = 0; j < rows->k; j++) {
      if ((int)choice[j] != expert) continue;
      rows->token[rows->n_chosen] = t;
      rows->weight[rows->n_chosen++] = choice[rows->k + j];
    }
  }
  rows->n_row = rows->n_chosen;
  if (rows->n_chosen < least) others_add(rows);
}

void expert_rows_take(const struct expert_rows *rows, const float *from, int cols, float *out) {
  for (int i = 0; i < rows->n_row; i++)
    memcpy(out + (size_t)i * (size_t)cols, from + (size_t)rows->token[i] * (size_t)cols, (size_t)cols * sizeof *out);
}

void expert_rows_give(const struct expert_rows *rows, const float *results, float scale, int cols, float *to) {
  for (int i = 0; i < rows->n_chosen; i++) {
    const float *result = results + (size_t)i * (size_t)cols;
    float *out = to + (size_t)rows->token[i] * (size_t)cols, factor = scale * rows->weight[i];
    for (int k = 0; k < cols; k++) out[k] += factor * result[k];
  }
}
