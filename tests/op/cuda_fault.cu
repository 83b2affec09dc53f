/* A kernel that writes where nothing is: the device's context is lost from then on, as it is when a GPU fails. Preloaded
 * into a server, it runs when the file that SPATE_FAULT_WHEN names exists. */
#include <chrono>
#include <cstdlib>
#include <thread>
#include <unistd.h>

__global__ void fault(int *nowhere) { *nowhere = 1; }

extern "C" void cuda_fault(void) { fault<<<1, 1>>>(nullptr); }

__attribute__((constructor)) static void fault_wait() {
  const char *when = getenv("SPATE_FAULT_WHEN");
  if (!when) return;
  std::thread([when] {
    while (access(when, F_OK) != 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    cuda_fault();
  }).detach();
}
