/* spate_lora.h: adapters by name. */
#include "lib/spate_state.h"

static bool adapters_there(const spate_engine *engine, struct error *error) {
  return runtime_adapters(engine->runtime) ||
         error_set(error, ERROR_INVALID,
                   "The engine was opened without adapters: give it a folder of them (--lora-dir).");
}

bool spate_lora_load(spate_engine *engine, const char *name, const char *path, spate_error *error) {
  struct error detail = {0};
  bool done = adapters_there(engine, &detail) &&
              adapter_store_load(runtime_adapters(engine->runtime), slice_text(name), slice_text(path), &detail);
  return done || error_export(&detail, error);
}

bool spate_lora_unload(spate_engine *engine, const char *name, spate_error *error) {
  struct error detail = {0};
  bool done = adapters_there(engine, &detail) &&
              adapter_store_unload(runtime_adapters(engine->runtime), slice_text(name), &detail);
  return done || error_export(&detail, error);
}

void spate_lora_given(const spate_engine *engine, void (*visit)(void *user, const char *name, const char *path),
                      void *user) {
  struct adapter_store *store = runtime_adapters(engine->runtime);
  if (store) adapter_store_given(store, visit, user);
}

bool spate_lora_give(spate_engine *engine, const char *name, const char *path, spate_error *error) {
  struct error detail = {0};
  struct slice file = path ? slice_text(path) : slice_make(NULL, 0);
  bool done = adapters_there(engine, &detail) &&
              adapter_store_give(runtime_adapters(engine->runtime), slice_text(name), file, &detail);
  return done || error_export(&detail, error);
}

bool spate_lora_known(const spate_engine *engine, const char *name) {
  struct adapter_store *store = runtime_adapters(engine->runtime);
  return store && adapter_store_has(store, slice_text(name));
}

void spate_lora_list(const spate_engine *engine, size_t most, void (*visit)(void *user, const char *name), void *user) {
  struct adapter_store *store = runtime_adapters(engine->runtime);
  if (store) adapter_store_list(store, most, visit, user);
}
