/* Engines on a GPU, as whole. */
#ifndef SPATE_TESTS_CUDA_ENGINE_H
#define SPATE_TESTS_CUDA_ENGINE_H

void test_budget(void **state);
void test_offload(void **state);
void test_turns(void **state);
void test_lost(void **state); /* afterwards the process has no GPU */

#endif
