/* What came of a load, on standard output for people. */
#ifndef SPATE_CLI_LOAD_TABLE_H
#define SPATE_CLI_LOAD_TABLE_H

#include "load/load_run.h"
#include "load/load_tally.h"

/* slo: the limits as they were given, or NULL. open_loop: requests have times of their own, and may be late. */
void load_table_print(const char *name, const char *slo, bool open_loop, const struct load_tally *tally,
                      const struct load_result *result);

#endif
