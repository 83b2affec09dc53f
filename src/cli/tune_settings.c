/* The table of what is tried, and its values on this machine. */
#include "cli/tune_settings.h"

#include "base/limits.h"
#include "cli/option_table.h"

#include <math.h>
#include <string.h>

enum tunable_kind { TUNE_THREADS, TUNE_STEP_TOKENS, TUNE_BATCH, TUNE_BLOCK, TUNE_PACE, TUNE_TACTICS };

struct tunable {
  enum tunable_kind kind;
  const char *name;       /* of the option */
  bool cpu;               /* means something on a CPU alone */
  int value[TUNE_VALUES]; /* ascending; the default is put in where it is not among them */
};

static const struct tunable tunables[] = {
    /* fewer than all: two of a core share it, and the network and other programs run, too */
    {TUNE_THREADS, "threads", true, {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128}},
    /* how much of a prompt a step may compute: streams wait for long steps, prompts for short ones */
    {TUNE_STEP_TOKENS, "max-num-tokens", false, {64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}},
    /* how many run at once: the others wait, those that run share the machine */
    {TUNE_BATCH, "max-batch-size", false, {2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}},
    /* long blocks are read in one go; short ones waste little of the cache and are shared more */
    {TUNE_BLOCK, "block-size", false, {16, 32, 64, 128, 256}},
    /* how long a gap between two tokens may be, from half to twice what the SLO allows on average; 0, after them: any
     */
    {TUNE_PACE, "target-itl-ms", false, {0}},
    /* the batch whose kernels' choices are timed, and remembered for this device */
    {TUNE_TACTICS, "opt-batch-size", true, {1, 2, 4, 8, 16, 32, 64}},
};

enum { N_TUNABLE = sizeof tunables / sizeof *tunables, DEFAULT_BLOCK = 16, DEFAULT_TACTICS = 16 };
_Static_assert(sizeof tunables / sizeof *tunables <= TUNE_AXES, "each setting is an axis");

static int default_of(const struct tunable *setting, const spate_engine_info *info, int cpus) {
  switch (setting->kind) {
  case TUNE_THREADS: return cpus;
  case TUNE_STEP_TOKENS: return info->max_num_tokens;
  case TUNE_BATCH: return info->max_batch_size;
  case TUNE_BLOCK: return DEFAULT_BLOCK;
  case TUNE_PACE: return 0;
  case TUNE_TACTICS: return info->max_batch_size < DEFAULT_TACTICS ? info->max_batch_size : DEFAULT_TACTICS;
  }
  return 0;
}

/* In order and once. */
static void value_put(int *value, int *count, int added) {
  int at = *count;
  while (at > 0 && value[at - 1] >= added) at--;
  if (at < *count && value[at] == added) return;
  memmove(value + at + 1, value + at, (size_t)(*count - at) * sizeof *value);
  value[at] = added;
  ++*count;
}

static void pace_put(int *value, int *count, double slo_itl_ms) {
  static const double parts[] = {0.5, 1, 2};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    double target = round(parts[i] * slo_itl_ms);
    if (target >= 1 && target <= LIMIT_TARGET_ITL_MS) value_put(value, count, (int)target);
  }
}

static void axis_make(struct tune_settings *tune, const struct tunable *setting, int usual, int cpus,
                      double slo_itl_ms) {
  struct tune_axis *axis = &tune->axis[tune->count];
  int *value = tune->value[tune->count];
  for (int i = 0; i < TUNE_VALUES && setting->value[i]; i++)
    if (setting->kind != TUNE_THREADS || setting->value[i] < cpus) value_put(value, &axis->count, setting->value[i]);
  if (setting->kind == TUNE_THREADS && cpus > 1) value_put(value, &axis->count, cpus - 1);
  if (setting->kind == TUNE_PACE) {
    pace_put(value, &axis->count, slo_itl_ms);
    value[axis->count++] = usual;
  } else {
    value_put(value, &axis->count, usual);
  }
  while (value[axis->start] != usual) axis->start++;
  tune->setting[tune->count++] = setting;
}

static const struct option *option_of(const struct tunable *setting) {
  return option_named(FOR_SERVE, slice_text(setting->name));
}

void tune_settings_make(struct tune_settings *tune, const struct settings *given, const spate_engine_info *info,
                        int cpus, double slo_itl_ms) {
  bool on_cpu = strncmp(info->device, "cuda", 4) != 0;
  *tune = (struct tune_settings){0};
  for (int i = 0; i < N_TUNABLE; i++) {
    const struct tunable *setting = &tunables[i];
    bool is_given = given->origin[option_origin(option_of(setting))].source != SOURCE_DEFAULT;
    if (is_given || (setting->cpu && !on_cpu) || (setting->kind == TUNE_PACE && slo_itl_ms == 0)) continue;
    axis_make(tune, setting, default_of(setting, info, cpus), cpus, slo_itl_ms);
  }
}

int tune_settings_choices(const struct tune_settings *tune) {
  int choices = 0;
  for (int i = 0; i < tune->count; i++) choices += tune->axis[i].count > 1;
  return choices;
}

/* What an axis of this kind has in a choice; 0: it is not among them, or is left to follow the others. */
static int value_of(const struct tune_settings *tune, const struct tune_choice *choice, enum tunable_kind kind) {
  for (int i = 0; i < tune->count; i++)
    if (tune->setting[i]->kind == kind && choice->at[i] != tune->axis[i].start) return tune->value[i][choice->at[i]];
  return 0;
}

bool tune_settings_fit(const void *user, const struct tune_choice *choice) {
  const struct tune_settings *tune = user;
  int tokens = value_of(tune, choice, TUNE_STEP_TOKENS), batch = value_of(tune, choice, TUNE_BATCH);
  int tactics = value_of(tune, choice, TUNE_TACTICS);
  return (!tokens || !batch || tokens >= batch) && (!tactics || !batch || tactics <= batch);
}

void tune_settings_apply(const struct tune_settings *tune, const struct tune_choice *choice,
                         struct settings *settings) {
  for (int i = 0; i < tune->count; i++) {
    if (choice->at[i] == tune->axis[i].start) continue;
    const struct option *option = option_of(tune->setting[i]);
    void *field = (char *)settings + option->field;
    if (option->kind == OPTION_REAL)
      *(double *)field = tune->value[i][choice->at[i]];
    else
      *(int *)field = tune->value[i][choice->at[i]];
    settings->origin[option_origin(option)] = (struct origin){.source = SOURCE_FLAG};
  }
}

const char *tune_setting_name(const struct tune_settings *tune, int axis) { return tune->setting[axis]->name; }
