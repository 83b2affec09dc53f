/* spate build: a model into an engine file. */
#include "cli/command.h"
#include "cli/progress.h"

#include <stdio.h>

int command_build(const struct settings *settings) {
  if (!settings->output) return command_fail("spate build needs --output FILE: where to write the engine.");
  struct progress progress;
  spate_build_options build;
  build_options_fill(settings, &build);
  build.progress = progress_show;
  build.user = &progress;
  spate_error error;
  progress_begin(&progress);
  bool built = spate_build(&build, &error);
  progress_end(&progress);
  if (!built) return command_fail(error.text);
  printf("Built %s.\n", settings->output);
  return 0;
}
