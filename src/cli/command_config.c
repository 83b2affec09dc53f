/* spate config: the settings that spate serve would have here. Whoever calls has resolved them, so they are right. */
#include "cli/command.h"
#include "cli/config.h"

enum { PRINT_MAX = 4 << 20 };

int command_config(const struct settings *settings) {
  if (!settings->print) return 0;
  struct buffer out;
  buffer_init(&out, PRINT_MAX);
  bool whole = config_print(settings, FOR_SERVE, &out);
  fwrite(out.data, 1, out.size, stdout);
  buffer_release(&out);
  return whole ? 0 : command_fail("Out of memory for the settings.");
}
