/* Engines on a GPU: the memory that they take, experts in that of the host, several at once, and what becomes of
 * requests when the GPU fails. Skipped (77) where there is no GPU. An argument is the pattern of the tests to run. */
#include "cuda_engine.h"

#include <cuda_runtime_api.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_offload), cmocka_unit_test(test_budget),
                                     cmocka_unit_test(test_turns), cmocka_unit_test(test_lost)};
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    printf("SKIPPED: there is no GPU\n");
    return 77;
  }
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
