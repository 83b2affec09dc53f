/* Which kernels a GPU runs, by its compute capability and by SPATE_ISA. Needs no GPU. */
#include "backend/cuda/cuda_paths.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed;

/* expected: the path's name, or a part of the sentence. */
static void choice_check(const char *environment, const char *isa, int capability, const char *expected) {
  struct error error = {0};
  if (environment)
    setenv("SPATE_ISA", environment, 1);
  else
    unsetenv("SPATE_ISA");
  const struct cuda_path *path = cuda_path_choose(isa, capability, "Test", &error);
  if (path ? strcmp(path->name, expected) == 0 : strstr(error.text, expected) != NULL) return;
  printf("FAILED SPATE_ISA=%s, %s, %d: %s, expected %s\n", environment ? environment : "", isa ? isa : "", capability,
         path ? path->name : error.text, expected);
  failed++;
}

int main(void) {
  choice_check(NULL, NULL, 70, "compute capability 7.0, and there are kernels for 7.5 (Turing) and later");
  choice_check(NULL, NULL, 75, "sm75");
  choice_check(NULL, NULL, 80, "sm80");
  choice_check(NULL, NULL, 86, "sm80");
  choice_check(NULL, NULL, 89, "sm80");
  choice_check(NULL, NULL, 90, "sm90");
  choice_check(NULL, NULL, 100, "sm80");
  choice_check(NULL, NULL, 120, "sm80");
  choice_check("sm80", NULL, 90, "sm80");
  choice_check("sm75", "sm80", 90, "sm75");
  choice_check(NULL, "sm75", 86, "sm75");
  choice_check("avx2", NULL, 90, "sm90");
  choice_check("sm90", NULL, 86, "'sm90' cannot run on the GPU Test of compute capability 8.6");
  choice_check(NULL, "sm80", 75, "'sm80' cannot run");
  choice_check(NULL, "sm60", 90, "none of a GPU's, which are: sm90, sm80, sm75");
  choice_check("sm90", NULL, 61, "6.1");
  printf("%d failed\n", failed);
  return failed > 0;
}
