/* What spate tune tries: settings of spate serve that change how fast answers come, and none that changes what they
 * say. To add one: a line in the table of tune_settings.c. */
#ifndef SPATE_CLI_TUNE_SETTINGS_H
#define SPATE_CLI_TUNE_SETTINGS_H

#include "cli/option.h"
#include "cli/tune_search.h"
#include "spate.h"

struct tunable;

/* Those of one engine on one machine: what the user has given is not among them. */
struct tune_settings {
  int count;
  const struct tunable *setting[TUNE_AXES];
  struct tune_axis axis[TUNE_AXES];
  int value[TUNE_AXES][TUNE_VALUES];
};

/* slo_itl_ms: 0: none. */
void tune_settings_make(struct tune_settings *tune, const struct settings *given, const spate_engine_info *info,
                        int cpus, double slo_itl_ms);

/* How many of them have more than one value. */
int tune_settings_choices(const struct tune_settings *tune);

/* Are the tokens of a step enough for its sequences? `tune` is a struct tune_settings. */
bool tune_settings_fit(const void *tune, const struct tune_choice *choice);

/* Sets what differs from the defaults, which stay defaults. */
void tune_settings_apply(const struct tune_settings *tune, const struct tune_choice *choice, struct settings *settings);

const char *tune_setting_name(const struct tune_settings *tune, int axis);

#endif
