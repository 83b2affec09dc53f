/* spate inspect: what is in a model or an engine file, as text. Facts are printed as they come, nested ones indented;
 * lists of objects become tables. */
#include "base/json.h"
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

int command_inspect(const struct settings *settings) {
  spate_text json;
  spate_error error;
  if (!spate_inspect(settings->operand, &json, &error)) return command_fail(error.text);
  printf("%s\n", json.data);
  spate_text_free(&json);
  return 0;
}
