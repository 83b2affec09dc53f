/* Whether the engine is well: what has stopped it, what it waits for, what it computes; and the watcher over its file.
 */
#include "base/clock.h"
#include "base/log.h"
#include "runtime/runtime_state.h"

enum { WATCH_WAIT_MS = 500 };

void runtime_stop(struct runtime *rt, const struct error *error) {
  pthread_mutex_lock(&rt->failure_lock);
  bool first = rt->failure.code == ERROR_NONE;
  if (first) {
    rt->failure = *error;
    rt->failure.code = ERROR_DEVICE;
    atomic_store(&rt->failed, true);
  }
  pthread_mutex_unlock(&rt->failure_lock);
  if (first) log_error("The engine has stopped. %s", error->text);
  mailbox_wake(&rt->to_step);
}

struct error runtime_failure(struct runtime *rt) {
  struct error failure = {0};
  if (!atomic_load(&rt->failed)) return failure;
  pthread_mutex_lock(&rt->failure_lock);
  failure = rt->failure;
  pthread_mutex_unlock(&rt->failure_lock);
  return failure;
}

bool runtime_healthy(struct runtime *rt, struct error *error) {
  struct error failure = runtime_failure(rt);
  if (failure.code) return error_set(error, failure.code, "%s", failure.text);
  if (atomic_load(&rt->probe.failed))
    return error_set(
        error, ERROR_INTERNAL,
        "The engine computes no finite numbers, neither for requests nor for tokens of its own choice: its "
        "weights in memory are damaged, or the device is. Load it again (POST /admin/reload), or restart "
        "the server; if that is no help, build the engine again.");
  uint64_t progress = atomic_load(&rt->progress_us), now = clock_us(); /* in this order: now is the later */
  uint64_t still = now - progress;
  if (still <= rt->stall_us || request_table_live(&rt->table) == 0) return true;
  return error_set(error, ERROR_TIMEOUT, "Requests wait and no step has ended for %.3g seconds.", (double)still * 1e-6);
}

/* The watcher: hashes the engine file once while serving goes on, then keeps an eye on its size. */
void *watch_thread(void *argument) {
  struct runtime *rt = argument;
  const struct engine_file *file = &rt->engine->file;
  struct error error = {0};
  bool sound = file->verified || engine_file_verify(file, &rt->verify, &error);
  while (sound && !atomic_load(&rt->verify.stop)) {
    mailbox_wait(&rt->to_watcher, WATCH_WAIT_MS);
    sound = engine_file_intact(file, &error);
  }
  if (!sound) runtime_stop(rt, &error);
  return NULL;
}
