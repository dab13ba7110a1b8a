"""The cases of make-families.py: a tiny config.json of every family that duo computes, as its models are published.

Each has the features that set its family apart, sized so that they change the logits of 72 tokens; `without` undoes one of them,
and the script checks that this is seen.
"""

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}
MISTRAL = {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None}
QWEN2 = {
    **LLAMA,
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "sliding_window": 32,
    "use_sliding_window": False,
    "max_window_layers": 1,
}
QWEN3 = {
    **QWEN2,
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 16,
    "sliding_window": None,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}


def text_of(config, *dropped, **changes):
    """`text_config` of a wrapper: no class names, the given keys left out."""
    names = {"architectures", "torch_dtype", *dropped}
    return {**{key: value for key, value in config.items() if key not in names}, **changes}


def inside(model_type, class_name, text, vision, **outer):
    return {
        "architectures": [class_name],
        "model_type": model_type,
        "text_config": text,
        "vision_config": vision,
        "torch_dtype": "bfloat16",
        **outer,
    }


CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 4,
    "patch_size": 2,
    "projection_dim": 8,
    "vocab_size": 64,
}
PIXTRAL = {
    "model_type": "pixtral",
    "hidden_size": 16,
    "head_dim": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 4,
    "patch_size": 2,
}
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 4,
    "patch_size": 2,
    "vision_use_head": False,
}
QWEN3_VISION = {
    "model_type": "qwen3_vl",
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_heads": 2,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
    "patch_size": 2,
    "deepstack_visual_indexes": [0],
}

# name: (config.json, keys of it, or of its text_config, whose other value must change the logits, options)
FAMILIES = {
    "llama-2": ({**LLAMA, "num_key_value_heads": 4}, {"rms_norm_eps": 1e-1}, {}),
    "llama-3": ({**LLAMA, "rope_theta": 500000.0}, {"rope_theta": 10000.0}, {}),
    "llama-3.1": (
        {**LLAMA, "rope_theta": 500000.0, "head_dim": 16, "rope_scaling": LLAMA3_ROPE},
        {"rope_scaling": {**LLAMA3_ROPE, "high_freq_factor": 3.0}},
        {},
    ),
    "llama-3.2": (
        {
            **LLAMA,
            "rope_theta": 500000.0,
            "head_dim": 8,
            "rope_scaling": {**LLAMA3_ROPE, "factor": 32.0},
            "tie_word_embeddings": True,
        },
        {"rope_scaling": LLAMA3_ROPE},
        {},
    ),
    "llama-biases": ({**LLAMA, "attention_bias": True, "mlp_bias": True}, {"rms_norm_eps": 1e-1}, {}),
    "smollm2": (
        {
            **LLAMA,
            "hidden_size": 36,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "rope_theta": 100000,
            "tie_word_embeddings": True,
            "is_llama_config": True,
            "rope_interleaved": False,
        },
        {"rope_theta": 10000},
        {},
    ),
    "vicuna-16k": (
        {
            **LLAMA,
            "num_key_value_heads": 4,
            "max_position_embeddings": 128,
            "max_sequence_length": 512,
            "rope_scaling": {"type": "linear", "factor": 4.0},
        },
        {"rope_scaling": None},
        {},
    ),
    "llama-dynamic": (
        {**LLAMA, "max_position_embeddings": 32, "rope_scaling": {"type": "dynamic", "factor": 4.0}},
        {"rope_scaling": None},
        {},
    ),
    "mistral-0.1": ({**MISTRAL, "sliding_window": 72}, {"sliding_window": 40}, {}),
    "mistral-0.3": ({**MISTRAL, "rope_theta": 1000000.0}, {"rope_theta": 10000.0}, {}),
    "mistral-nemo": ({**MISTRAL, "rope_theta": 1000000.0, "head_dim": 12}, {"rope_theta": 10000.0}, {}),
    "qwen2": ({**QWEN2, "tie_word_embeddings": True}, {"use_sliding_window": True}, {}),
    "qwen2.5-yarn": (
        {**QWEN2, "head_dim": 16, "rope_theta": 10000.0, "rope_scaling": {"type": "yarn", **YARN}},
        {"rope_scaling": {**YARN, "beta_fast": 8.0}},
        {},
    ),
    "qwen3": ({**QWEN3, "tie_word_embeddings": True}, {"rope_theta": 10000.0}, {}),
    "qwen3-yarn": (
        {**QWEN3, "rope_theta": 10000.0, "rope_scaling": {**YARN, "attention_factor": 1.3}},
        {"rope_scaling": {**YARN, "attention_factor": 1.0}},
        {},
    ),
    "qwen3-embedding": (
        {**QWEN3, "tie_word_embeddings": True, "head_dim": 8},
        {"rope_theta": 10000.0},
        {"save": "without lm_head"},
    ),
    "qwen3-vl": (
        inside(
            "qwen3_vl",
            "Qwen3VLForConditionalGeneration",
            text_of(
                QWEN3,
                "sliding_window",
                "use_sliding_window",
                "max_window_layers",
                model_type="qwen3_vl_text",
                rope_theta=5000000,
                rope_scaling={"mrope_interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"},
            ),
            QWEN3_VISION,
            image_token_id=60,
            video_token_id=61,
            vision_start_token_id=62,
            vision_end_token_id=63,
            tie_word_embeddings=True,
        ),
        {"rope_theta": 10000.0},
        {},
    ),
    "mistral-small-3": (
        inside(
            "mistral3",
            "Mistral3ForConditionalGeneration",
            text_of(MISTRAL, "tie_word_embeddings", head_dim=12, rope_theta=1000000000.0),
            PIXTRAL,
            image_token_index=10,
        ),
        {"rope_theta": 10000.0},
        {"untie": True},
    ),
    "pixtral": (
        inside(
            "llava",
            "LlavaForConditionalGeneration",
            text_of(MISTRAL, "hidden_act", head_dim=8, rope_theta=1000000000.0),
            PIXTRAL,
            image_token_index=10,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        ),
        {"rope_theta": 10000.0},
        {},
    ),
    "llava-1.5": (
        inside(
            "llava",
            "LlavaForConditionalGeneration",
            text_of(LLAMA, "model_type", "hidden_act", "num_key_value_heads", "rope_theta"),
            CLIP,
            image_token_index=63,
        ),
        {"rope_theta": 500.0},
        {},
    ),
    "llava-next": (
        inside(
            "llava_next",
            "LlavaNextForConditionalGeneration",
            text_of(MISTRAL, "hidden_act", rope_theta=1000000.0),
            CLIP,
            image_token_index=63,
            image_grid_pinpoints=[[4, 4]],
        ),
        {"rope_theta": 10000.0},
        {},
    ),
    "llava-onevision": (
        inside(
            "llava_onevision",
            "LlavaOnevisionForConditionalGeneration",
            text_of(QWEN2, tie_word_embeddings=True),
            SIGLIP,
            image_token_index=62,
            video_token_index=63,
            image_grid_pinpoints=[[4, 4]],
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        ),
        {"rope_theta": 10000.0},
        {},
    ),
}
