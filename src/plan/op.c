/* Op names. */
#include "plan/op.h"

#include <stddef.h>

const char *op_kind_name(int kind) {
  static const char *const name[] = {"embed", "linear", "attend", "route", "select", "sample"};
  return kind >= 0 && kind < OP_KINDS ? name[kind] : NULL;
}
