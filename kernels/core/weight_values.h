// Refuses weights that are not numbers. A NaN in one query row would otherwise disappear in a softmax and give a mask
// that looks correct.
#pragma once
#include <string>

#include "core/task.h"
#include "core/weight_map.h"

namespace duo {

// Throws Error NUMERIC that names the tensor and its first NaN or infinity. Reads the whole tensor once; ABORTED
// between blocks.
void check_finite_values(const std::string &name, const Tensor &tensor, Task &task);

}  // namespace duo
