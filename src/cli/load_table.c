/* Percentiles in columns, and failures. */
#include "cli/load_table.h"

#include "cli/command.h"
#include "load/load_run.h"

#include <math.h>
#include <stdio.h>

enum { LATE_MS = 10 };

static void spread_print(const char *name, const struct load_spread *spread) {
  printf("  %-6s", name);
  for (int i = 0; i < LOAD_QUANTILES; i++) printf("%11.2f", spread->quantile[i]);
  printf("%11.2f%11.2f\n", spread->most, spread->mean);
}

static void failures_print(const struct load_tally *tally, const struct load_result *result) {
  for (int end = LOAD_CONNECT; end < LOAD_END_COUNT; end++) {
    if (!tally->ended[end]) continue;
    printf("  %d %s", tally->ended[end], load_end_name[end]);
    if (result->first[end][0])
      sentence_print(stdout, "", result->first[end]);
    else
      printf("\n");
  }
}

void load_table_print(const char *name, const char *slo, bool open_loop, const struct load_tally *tally,
                      const struct load_result *result) {
  printf("%s: %d of %d answered in %.2f s: %.2f requests/s, %.1f output tokens/s\n", name, tally->ended[LOAD_OK],
         tally->sent, tally->seconds, load_per_second(tally, tally->ended[LOAD_OK]),
         load_per_second(tally, (double)tally->output_tokens));
  if (tally->ended[LOAD_OK]) {
    printf("  %-6s", "ms");
    for (int i = 0; i < LOAD_QUANTILES; i++) printf("%11s", load_quantile_name[i]);
    printf("%11s%11s\n", "max", "mean");
    spread_print("ttft", &tally->ttft);
    spread_print("itl", &tally->itl);
    spread_print("e2e", &tally->e2e);
  }
  if (slo)
    printf("  goodput %.2f requests/s, %.1f %% within %s\n", load_per_second(tally, tally->good),
           100.0 * tally->good / fmax(1, tally->sent), slo);
  if (open_loop && tally->lag.quantile[LOAD_P99] > LATE_MS)
    printf("  this client was late: 1 %% of the requests were sent over %.1f ms after their time\n",
           tally->lag.quantile[LOAD_P99]);
  failures_print(tally, result);
  fflush(stdout);
}
