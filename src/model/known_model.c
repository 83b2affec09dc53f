/* The table of known networks, by the facts of their config.json; what is read of them goes through the same code as a
 * checkpoint's config. To add one: a line. */
#include "model/known_model.h"

#include <stdio.h>

enum { CONFIG_TEXT = 1024 };

struct known_model {
  const char *name, *architecture;
  int layers, hidden, feed_forward, heads, kv_heads, head_dim, vocab, positions;
  const char *eps;
  int rope_theta;
  int rope_factor; /* of Llama 3's scaling, from 8192 tokens on; 0: none */
  bool tied;
  int experts, chosen, expert_width; /* 0: it has none */
};

static const struct known_model models[] = {
    {"llama-3.1-8b", "LlamaForCausalLM", 32, 4096, 14336, 32, 8, 128, 128256, 131072, "1e-5", 500000, 8, false, 0, 0,
     0},
    {"llama-3.2-3b", "LlamaForCausalLM", 28, 3072, 8192, 24, 8, 128, 128256, 131072, "1e-5", 500000, 32, true, 0, 0, 0},
    {"llama-3.2-1b", "LlamaForCausalLM", 16, 2048, 8192, 32, 8, 64, 128256, 131072, "1e-5", 500000, 32, true, 0, 0, 0},
    {"llama-2-7b", "LlamaForCausalLM", 32, 4096, 11008, 32, 32, 128, 32000, 4096, "1e-5", 10000, 0, false, 0, 0, 0},
    {"mistral-7b", "MistralForCausalLM", 32, 4096, 14336, 32, 8, 128, 32768, 32768, "1e-5", 1000000, 0, false, 0, 0, 0},
    {"qwen3-8b", "Qwen3ForCausalLM", 36, 4096, 12288, 32, 8, 128, 151936, 40960, "1e-6", 1000000, 0, false, 0, 0, 0},
    {"qwen3-0.6b", "Qwen3ForCausalLM", 28, 1024, 3072, 16, 8, 128, 151936, 40960, "1e-6", 1000000, 0, true, 0, 0, 0},
    {"qwen3-30b-a3b", "Qwen3MoeForCausalLM", 48, 2048, 6144, 32, 4, 128, 151936, 40960, "1e-6", 1000000, 0, false, 128,
     8, 768},
    {"mixtral-8x7b", "MixtralForCausalLM", 32, 4096, 14336, 32, 8, 128, 32000, 32768, "1e-5", 1000000, 0, false, 8, 2,
     14336},
    {"smollm2-135m", "LlamaForCausalLM", 30, 576, 1536, 9, 3, 64, 49152, 8192, "1e-5", 100000, 0, true, 0, 0, 0},
};

enum { MODEL_COUNT = sizeof models / sizeof *models };

static void config_print(const struct known_model *m, char text[CONFIG_TEXT]) {
  char scaling[160] = "null";
  if (m->rope_factor)
    snprintf(scaling, sizeof scaling,
             "{\"rope_type\":\"llama3\",\"factor\":%d,\"low_freq_factor\":1,\"high_freq_factor\":4,"
             "\"original_max_position_embeddings\":8192}",
             m->rope_factor);
  char experts[160] = "";
  if (m->experts)
    snprintf(experts, sizeof experts,
             ",\"num_experts\":%d,\"num_local_experts\":%d,\"num_experts_per_tok\":%d,\"moe_intermediate_size\":%d,"
             "\"norm_topk_prob\":true",
             m->experts, m->experts, m->chosen, m->expert_width);
  snprintf(text, CONFIG_TEXT,
           "{\"architectures\":[\"%s\"],\"num_hidden_layers\":%d,\"hidden_size\":%d,\"intermediate_size\":%d,"
           "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"head_dim\":%d,\"vocab_size\":%d,"
           "\"max_position_embeddings\":%d,\"rms_norm_eps\":%s,\"rope_theta\":%d,\"rope_scaling\":%s,"
           "\"tie_word_embeddings\":%s,\"hidden_act\":\"silu\",\"sliding_window\":null%s}",
           m->architecture, m->layers, m->hidden, m->feed_forward, m->heads, m->kv_heads, m->head_dim, m->vocab,
           m->positions, m->eps, m->rope_theta, scaling, m->tied ? "true" : "false", experts);
}

struct checkpoint *known_model_open(const char *name, struct error *error) {
  char text[CONFIG_TEXT], known[ERROR_TEXT_MAX / 2] = "";
  size_t used = 0;
  for (int i = 0; i < MODEL_COUNT; i++) {
    if (strcmp(models[i].name, name) == 0) {
      config_print(&models[i], text);
      return checkpoint_of_config(name, slice_text(text), error);
    }
    used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", models[i].name);
  }
  error_set(error, ERROR_NOT_FOUND, "There is no known model \"%.40s\"; these are: %s.", name, known);
  return NULL;
}
