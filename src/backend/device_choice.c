/* Choosing a device. */
#include "backend/device_choice.h"

#include "backend/backends.h"

#include <string.h>

bool device_choose(const char *wanted, const struct backend **backend, struct error *error) {
  struct error problem = {0};
  const struct backend *cuda = backend_find("cuda");
  bool automatic = !wanted || strcmp(wanted, "auto") == 0;
  *backend = automatic ? cuda : backend_find(wanted);
  if (!automatic && strcmp(wanted, "cpu") != 0 && strcmp(wanted, "cuda") != 0)
    return error_set(error, ERROR_INVALID, "device is \"%.40s\", expected \"auto\", \"cpu\" or \"cuda\".", wanted);
  if (!(*backend)->present || (*backend)->present(&problem)) return true;
  if (!automatic || problem.code != ERROR_NOT_FOUND) return error_set(error, problem.code, "%s", problem.text);
  *backend = backend_find("cpu");
  return true;
}
