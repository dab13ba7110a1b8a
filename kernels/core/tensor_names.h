// Names of tensors in safetensors files as a bare checkpoint has them; wrappers and saving programs put prefixes before
// them.
#pragma once
#include <string>

namespace duo {

// "model.language_model.layers.0.mlp.up_proj.weight" → "model.layers.0.mlp.up_proj.weight"; "" for a tensor that the
// computation does not read, such as a vision tower's. The rule is that of src/model/tensor-names.ts.
std::string find_plain_name(const std::string &stored);

}  // namespace duo
