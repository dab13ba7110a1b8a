// Times one operation of a device, after it was held to its reference.
//   duo_bench op name=number … [--device cpu|cuda:0] [--threads n] [--repeats n] [--limit error]   prints {"seconds": [...], "relativeError": ...}
//   duo_bench --list   the operations and what they take
// Exit code 1 where the error is above --limit (default 2e-2).
#include <cstdio>
#include <cstdlib>
#include <map>

#include "core/error.h"
#include "core/packed_weights.h"
#include "ops.h"

using namespace duo;
using namespace duo::bench;

namespace {

const std::map<std::string, int64_t> DTYPES{{"f32", DUO_DTYPE_F32}, {"bf16", DUO_DTYPE_BF16}, {"int8", DUO_DTYPE_INT8},
                                            {"fp8", DUO_DTYPE_FP8}, {"int4", DUO_DTYPE_INT4}, {"k8v4", DUO_DTYPE_K8V4}};

const std::map<std::string, int64_t> WEIGHTS{{"bf16", static_cast<int64_t>(WeightFormat::bf16)},
                                             {"int8", static_cast<int64_t>(WeightFormat::int8)},
                                             {"int4", static_cast<int64_t>(WeightFormat::int4)},
                                             {"scaled8", static_cast<int64_t>(WeightFormat::scaled8)},
                                             {"affine8", static_cast<int64_t>(WeightFormat::affine8)}};

int64_t parse_number(const std::string &name, const std::string &text) {
  if (name == "dtype" && DTYPES.count(text) > 0) return DTYPES.at(text);
  if (name == "weights") {
    if (WEIGHTS.count(text) > 0) return WEIGHTS.at(text);
    fail(DUO_STATUS_ARGUMENT, "Expected `weights` to be bf16, int8, int4, scaled8 or affine8, got `%s`", text.c_str());
  }
  char *end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 0 || value > int64_t{1} << 32)
    fail(DUO_STATUS_ARGUMENT, "Expected `%s` to be a number of 0 to 2^32, got `%s`", name.c_str(), text.c_str());
  return value;
}

void list() {
  for (const Op &op : list_ops()) {
    std::printf("%s (%s):", op.name, op.is_cuda ? "cuda" : "cpu");
    for (const char *size : op.sizes) std::printf(" %s", size);
    for (const char *size : op.optional) std::printf(" [%s]", size);
    std::printf("\n");
  }
}

void run(int count, char **arguments) {
  std::string name, device = "cpu";
  std::map<std::string, int64_t> given;
  int64_t threads = 0, repeats = 20;
  double limit = 2e-2;  // 2^-9 of outputs and softmax weights in bf16, with room
  for (int i = 1; i < count; i++) {
    const std::string argument = arguments[i];
    if (argument.rfind("--", 0) == 0) {
      if (i + 1 == count) fail(DUO_STATUS_ARGUMENT, "Expected a value after `%s`", argument.c_str());
      const std::string value = arguments[++i];
      if (argument == "--device") {
        device = value;
      } else if (argument == "--threads") {
        threads = parse_number(argument, value);
      } else if (argument == "--repeats") {
        repeats = parse_number(argument, value);
      } else if (argument == "--limit") {
        limit = std::atof(value.c_str());
      } else {
        fail(DUO_STATUS_ARGUMENT, "Expected --device, --threads, --repeats, --limit or --list, got `%s`",
             argument.c_str());
      }
    } else if (const size_t equals = argument.find('='); equals != std::string::npos) {
      given[argument.substr(0, equals)] = parse_number(argument.substr(0, equals), argument.substr(equals + 1));
    } else {
      name = argument;
    }
  }
  if (repeats < 1 || repeats > 100000)
    fail(DUO_STATUS_ARGUMENT, "Expected --repeats of 1 to 100000, got `%lld`", static_cast<long long>(repeats));
  const bool is_cuda = device.rfind("cuda:", 0) == 0;
  if (!is_cuda && device != "cpu")
    fail(DUO_STATUS_ARGUMENT, "Expected --device cpu or cuda:0, got `%s`", device.c_str());
  for (const Op &op : list_ops()) {
    if (op.name != name || op.is_cuda != is_cuda) continue;
    std::vector<int64_t> sizes;
    for (const char *size : op.sizes) {
      if (given.count(size) == 0) fail(DUO_STATUS_ARGUMENT, "Expected `%s=` for op `%s`", size, op.name);
      sizes.push_back(given[size]), given.erase(size);
    }
    for (const char *size : op.optional) sizes.push_back(given[size]), given.erase(size);
    if (!given.empty()) fail(DUO_STATUS_ARGUMENT, "Op `%s` takes no `%s`", op.name, given.begin()->first.c_str());
    OpenOptions options{is_cuda ? static_cast<int32_t>(std::atoi(device.c_str() + 5)) : 0, "",
                        static_cast<int32_t>(threads), Dtype::stored, DUO_COMPUTE_ACCURATE};
    std::vector<double> seconds(static_cast<size_t>(repeats));
    double relative_error = 0;
    (is_cuda ? run_cuda_op : run_cpu_op)(options, name, sizes, static_cast<int32_t>(repeats), seconds.data(),
                                         &relative_error);
    std::printf("{\"seconds\": [");
    for (size_t i = 0; i < seconds.size(); i++) std::printf("%s%.9g", i == 0 ? "" : ", ", seconds[i]);
    std::printf("], \"relativeError\": %.6g}\n", relative_error);
    if (!(relative_error <= limit))
      fail(DUO_STATUS_NUMERIC, "Expected an error of at most %g against the reference, got %g", limit, relative_error);
    return;
  }
  fail(DUO_STATUS_UNSUPPORTED, "Expected an op that device `%s` has (duo_bench --list), got `%s`", device.c_str(),
       name.c_str());
}

}  // namespace

int main(int count, char **arguments) {
  try {
    if (count == 2 && std::string(arguments[1]) == "--list") {
      list();
    } else {
      run(count, arguments);
    }
    return 0;
  } catch (const Error &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.status() == DUO_STATUS_ARGUMENT || error.status() == DUO_STATUS_UNSUPPORTED ? 2 : 1;
  }
}

#ifndef DUO_WITH_CUDA
void duo::bench::run_cuda_op(const OpenOptions &, const std::string &, const std::vector<int64_t> &, int32_t, double *,
                             double *) {
  fail(DUO_STATUS_UNSUPPORTED, "Expected device cpu: this duo_bench was built without CUDA");
}
#endif
