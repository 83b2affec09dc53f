/* transformers' names, and GGUF's. */
#include "model/vision_tower.h"

const struct vision_names vision_names_hf = {.patch = "embeddings.patch_embedding",
                                             .position = "embeddings.position_embedding",
                                             .class_token = "embeddings.class_embedding",
                                             .pre_norm = "pre_layrnorm", /* so spelled in checkpoints */
                                             .post_norm = "post_layernorm",
                                             .layers = "encoder.layers",
                                             .attend_norm = "layer_norm1",
                                             .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                                             .out = "self_attn.out_proj",
                                             .mlp_norm = "layer_norm2",
                                             .up = "mlp.fc1",
                                             .down = "mlp.fc2"};
const struct vision_names vision_names_gguf = {.patch = "patch_embd",
                                               .position = "position_embd",
                                               .class_token = "class_embd",
                                               .pre_norm = "pre_ln",
                                               .post_norm = "post_ln",
                                               .layers = "blk",
                                               .attend_norm = "ln1",
                                               .qkv = {"attn_q", "attn_k", "attn_v"},
                                               .out = "attn_out",
                                               .mlp_norm = "ln2",
                                               .up = "ffn_up",
                                               .down = "ffn_down"};
