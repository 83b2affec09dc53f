/* One line for each model_type of the families. */
#include "model/model_type.h"

static const struct {
  const char *type, *architecture;
} types[] = {
    {"llama", "LlamaForCausalLM"},
    {"mistral", "MistralForCausalLM"},
    {"ministral", "MinistralForCausalLM"},
    {"ministral3", "Ministral3ForCausalLM"},
    {"qwen2", "Qwen2ForCausalLM"},
    {"qwen3", "Qwen3ForCausalLM"},
    {"gemma", "GemmaForCausalLM"},
    {"gemma2", "Gemma2ForCausalLM"},
    {"gemma3_text", "Gemma3ForCausalLM"},
    {"phi3", "Phi3ForCausalLM"},
    {"granite", "GraniteForCausalLM"},
    {"granitemoe", "GraniteMoeForCausalLM"},
    {"granitemoeshared", "GraniteMoeSharedForCausalLM"},
    {"granitemoehybrid", "GraniteMoeHybridForCausalLM"},
    {"olmo2", "Olmo2ForCausalLM"},
    {"olmo3", "Olmo3ForCausalLM"},
    {"smollm3", "SmolLM3ForCausalLM"},
    {"glm", "GlmForCausalLM"},
    {"glm4", "Glm4ForCausalLM"},
    {"chatglm", "ChatGLMModel"},
    {"cohere", "CohereForCausalLM"},
    {"cohere2", "Cohere2ForCausalLM"},
    {"gpt2", "GPT2LMHeadModel"},
    {"gpt_neox", "GPTNeoXForCausalLM"},
    {"starcoder2", "Starcoder2ForCausalLM"},
    {"falcon", "FalconForCausalLM"},
    {"RefinedWeb", "FalconForCausalLM"}, /* as Falcon's first files have it */
    {"RefinedWebModel", "FalconForCausalLM"},
    {"mpt", "MptForCausalLM"},
    {"mixtral", "MixtralForCausalLM"},
    {"qwen3_moe", "Qwen3MoeForCausalLM"},
    {"phimoe", "PhimoeForCausalLM"},
    {"olmoe", "OlmoeForCausalLM"},
    {"gpt_oss", "GptOssForCausalLM"},
    {"deepseek_v2", "DeepseekV2ForCausalLM"},
    {"deepseek_v3", "DeepseekV3ForCausalLM"},
    {"gemma3", "Gemma3ForConditionalGeneration"},
    {"idefics3", "Idefics3ForConditionalGeneration"},
    {"smolvlm", "SmolVLMForConditionalGeneration"},
    {"llava", "LlavaForConditionalGeneration"},
    {"llava_next", "LlavaNextForConditionalGeneration"},
    {"mistral3", "Mistral3ForConditionalGeneration"},
    {"qwen2_vl", "Qwen2VLForConditionalGeneration"},
    {"qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"},
    {"bert", "BertModel"},
    {"roberta", "RobertaModel"},
    {"xlm-roberta", "XLMRobertaModel"},
    {"camembert", "CamembertModel"},
    {"electra", "ElectraModel"},
    {"modernbert", "ModernBertModel"},
    {"nomic_bert", "NomicBertModel"},
    {"mpnet", "MPNetModel"},
    {"distilbert", "DistilBertModel"},
};

const char *model_type_architecture(struct slice model_type) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (slice_is(model_type, types[i].type)) return types[i].architecture;
  return NULL;
}
