/* general.type, adapter.type and adapter.lora.alpha. */
#include "format/gguf_adapter.h"

#include <math.h>
#include <string.h>

static bool text_expect(const struct gguf *gguf, const char *key, const char *expected, struct error *error) {
  struct slice value = {0};
  if (!gguf_get_string(gguf, key, GGUF_REQUIRED, &value, error)) return false;
  if (value.size == strlen(expected) && memcmp(value.data, expected, value.size) == 0) return true;
  return error_set(error, ERROR_UNSUPPORTED, "%s is \"%.*s\"; expected \"%s\".", key,
                   (int)(value.size < 40 ? value.size : 40), (const char *)value.data, expected);
}

bool gguf_adapter_settings(const struct gguf *gguf, struct gguf_adapter *settings, struct error *error) {
  static const char llama[] = "llama", invocation[] = "adapter.alora.invocation_tokens";
  struct slice architecture = {0};
  *settings = (struct gguf_adapter){0};
  if (!text_expect(gguf, "general.type", "adapter", error) || !text_expect(gguf, "adapter.type", "lora", error) ||
      !gguf_get_string(gguf, "general.architecture", GGUF_REQUIRED, &architecture, error) ||
      !gguf_get_float(gguf, "adapter.lora.alpha", GGUF_OPTIONAL, &settings->alpha, error))
    return false;
  if (gguf_find(gguf, invocation))
    return error_set(error, ERROR_UNSUPPORTED, "%s is there; an adapter works on the whole prompt.", invocation);
  settings->pairs = architecture.size == strlen(llama) && memcmp(architecture.data, llama, architecture.size) == 0;
  return isfinite(settings->alpha) || error_set(error, ERROR_FORMAT, "adapter.lora.alpha is no finite number.");
}
