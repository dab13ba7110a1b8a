// Device listing and measurement of duo.h.
#include <cstdio>
#include <cstring>

#include "core/abi.h"

namespace duo {
namespace {

std::string quote_json(const std::string &text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + "\"";
}

std::string write_device(const DeviceInfo &info) {
  std::string features;
  for (const auto &feature : info.features) features += (features.empty() ? "" : ", ") + quote_json(feature);
  return "{\"name\": " + quote_json(info.name) + ", \"description\": " + quote_json(info.description) +
         ", \"memoryBytes\": " + std::to_string(info.memory_bytes) +
         ", \"available\": " + (info.available ? "true" : "false") + ", \"reason\": " + quote_json(info.reason) +
         ", \"features\": [" + features + "]}";
}

}  // namespace

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> devices{describe_cpu()};
#ifdef DUO_WITH_CUDA
  for (auto &device : describe_cuda_devices()) devices.push_back(std::move(device));
#else
  devices.push_back(
      {"cuda:0", "", "the library was built without CUDA: nvcc was not found or not asked for", 0, false, {}});
#endif
  return devices;
}

}  // namespace duo

using namespace duo;

int32_t duo_device_count(int32_t *num_devices) {
  return guard([&] { *require(num_devices, "num_devices") = static_cast<int32_t>(list_devices().size()); });
}

int32_t duo_device_describe(int32_t device_index, char *json, int64_t json_bytes) {
  return guard([&] {
    const auto devices = list_devices();
    require_range("device_index", device_index, 0, static_cast<int64_t>(devices.size()) - 1);
    const std::string text = write_device(devices[static_cast<size_t>(device_index)]);
    if (json_bytes <= static_cast<int64_t>(text.size())) {
      fail(DUO_STATUS_SHAPE, "Expected `json_bytes` above %zu, got `%lld`", text.size(),
           static_cast<long long>(json_bytes));
    }
    copy_text(text, json, json_bytes);
  });
}

int32_t duo_device_measure(const char *device, int32_t num_threads, int32_t measure, duo_task_t *task, double *rate) {
  return guard_task(task, [&](Task &running) {
    bool is_cuda;
    const OpenOptions options = parse_device(device, num_threads, DUO_DTYPE_STORED, DUO_COMPUTE_ACCURATE, &is_cuda);
    require_range("measure", measure, DUO_MEASURE_READ_BANDWIDTH, DUO_MEASURE_UPLOAD_BANDWIDTH);
    require(rate, "rate");
#ifdef DUO_WITH_CUDA
    if (is_cuda) {
      *rate = measure_cuda(options, measure, running);
      return;
    }
#endif
    if (is_cuda)
      fail(DUO_STATUS_UNSUPPORTED, "Expected device `%s` to be usable, but the library was built without CUDA", device);
    if (measure == DUO_MEASURE_FREE_MEMORY)
      fail(DUO_STATUS_UNSUPPORTED, "Expected a CUDA device to report its free memory, got `%s`", device);
    if (measure == DUO_MEASURE_UPLOAD_BANDWIDTH)
      fail(DUO_STATUS_UNSUPPORTED, "Expected a CUDA device to copy to, got `%s`", device);
    *rate = measure_cpu(options, measure, running);
  });
}
