// Command line of the pretrainer: `train`, `evaluate` and `check-gradients`; scripts/train-demo.ts prepares its files
// and reads its output. Files are raw little-endian: weights are float32 in checkpoint order; a batch is int32
// sequences, int32 length, then uint16 tokens, uint16 positions and float32 loss weights, each [sequences, length].
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>

#include "trainer.h"

using namespace pretrain;

namespace {

using Arguments = std::map<std::string, std::string>;

struct File {
  std::FILE *handle;
  File(const std::string &path, const char *mode) : handle(std::fopen(path.c_str(), mode)) {
    if (!handle) throw std::runtime_error("Cannot open " + path);
  }
  ~File() { std::fclose(handle); }
};

const std::string &need(const Arguments &arguments, const std::string &name) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) throw std::runtime_error("Expected --" + name);
  return found->second;
}

double number(const Arguments &arguments, const std::string &name, double otherwise) {
  const auto found = arguments.find(name);
  return found == arguments.end() ? otherwise : std::atof(found->second.c_str());
}

Shape read_shape(const Arguments &a) {
  const auto whole = [&](const char *name) { return static_cast<int64_t>(std::atoll(need(a, name).c_str())); };
  return {whole("layers"),
          whole("hidden"),
          whole("intermediate"),
          whole("heads"),
          whole("kv-heads"),
          whole("head-dim"),
          whole("vocab"),
          static_cast<float>(number(a, "rope-theta", 1e6)),
          static_cast<float>(number(a, "norm-epsilon", 1e-5))};
}

std::vector<float> read_weights(const std::string &path, int64_t size) {
  File file(path, "rb");
  std::vector<float> values(size);
  if (std::fread(values.data(), sizeof(float), values.size(), file.handle) != values.size() ||
      std::fgetc(file.handle) != EOF) {
    throw std::runtime_error("Expected " + path + " to hold " + std::to_string(size) + " floats");
  }
  return values;
}

bool read_batch(std::FILE *file, Batch &batch) {
  int32_t sizes[2];
  if (std::fread(sizes, sizeof(int32_t), 2, file) != 2) return false;
  batch.sequences = sizes[0];
  batch.length = sizes[1];
  const size_t count = static_cast<size_t>(batch.sequences * batch.length);
  batch.tokens.resize(count);
  batch.positions.resize(count);
  batch.weights.resize(count);
  if (std::fread(batch.tokens.data(), 2, count, file) != count ||
      std::fread(batch.positions.data(), 2, count, file) != count ||
      std::fread(batch.weights.data(), 4, count, file) != count) {
    throw std::runtime_error("A batch ends early");
  }
  return true;
}

void run_train(const Arguments &a) {
  const Shape shape = read_shape(a);
  std::vector<float> parameters = read_weights(need(a, "weights"), make_layout(shape).size);
  TrainOptions options;
  options.learning_rate = static_cast<float>(number(a, "lr", options.learning_rate));
  options.warmup_steps = static_cast<int64_t>(number(a, "warmup", static_cast<double>(options.warmup_steps)));
  options.threads = static_cast<int>(number(a, "threads", 1));
  File batches(need(a, "batches"), "rb");
  const auto start = std::chrono::steady_clock::now();
  int64_t tokens = 0;
  train(
      shape, parameters, static_cast<int64_t>(number(a, "steps", 0)), options,
      [&](Batch &batch) { return read_batch(batches.handle, batch); },
      [&](const StepReport &r) {
        tokens += r.tokens;
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        std::printf(
            "{\"step\": %ld, \"loss\": %.5f, \"accuracy\": %.4f, \"gradientNorm\": %.3f, \"lr\": %.6f, \"tokens\": "
            "%ld, \"seconds\": %.1f}\n",
            static_cast<long>(r.step), r.loss, r.accuracy, r.gradient_norm, r.learning_rate, static_cast<long>(tokens),
            seconds);
        std::fflush(stdout);
      });
  File out(need(a, "out"), "wb");
  if (std::fwrite(parameters.data(), sizeof(float), parameters.size(), out.handle) != parameters.size())
    throw std::runtime_error("Cannot write weights");
}

/* One line for each mask of `--streams` (comma-separated rows of 0 and 1, 1 = the head streams) and each batch of the file. */
void run_evaluate(const Arguments &a) {
  const Shape shape = read_shape(a);
  const std::vector<float> parameters = read_weights(need(a, "weights"), make_layout(shape).size);
  const std::string masks = a.count("streams") ? need(a, "streams") : std::string();
  size_t at = 0;
  for (int64_t index = 0; at <= masks.size(); index++) {
    const size_t end = std::min(masks.find(',', at), masks.size());
    Streaming streaming;
    for (size_t i = at; i < end; i++) streaming.streams.push_back(masks[i] == '1');
    if (!streaming.streams.empty() && streaming.streams.size() != static_cast<size_t>(shape.layers * shape.kv_heads)) {
      throw std::runtime_error("Expected --streams to hold layers times kv-heads digits");
    }
    streaming.sink = static_cast<int64_t>(number(a, "sink", 4));
    streaming.recent = static_cast<int64_t>(number(a, "recent", 32));
    File batches(need(a, "batches"), "rb");
    Batch batch;
    for (int64_t record = 0; read_batch(batches.handle, batch); record++) {
      Score score;
      Activations kept;
      for (int64_t i = 0; i < batch.sequences; i++)
        run_forward(shape, parameters.data(), batch, i, i + 1, streaming, 0.0f, kept, score);
      std::printf("{\"mask\": %ld, \"batch\": %ld, \"right\": %ld, \"total\": %ld, \"logProb\": %.6f}\n",
                  static_cast<long>(index), static_cast<long>(record), static_cast<long>(score.right),
                  static_cast<long>(score.total), score.log_probability / static_cast<double>(score.total));
      std::fflush(stdout);
    }
    at = end + 1;
  }
}

}  // namespace

int main(int count, char **values) {
  try {
    const std::string command = count > 1 ? values[1] : "";
    Arguments arguments;
    for (int i = 2; i + 1 < count; i += 2) arguments[values[i] + 2] = values[i + 1];
    if (command == "train") {
      run_train(arguments);
    } else if (command == "evaluate") {
      run_evaluate(arguments);
    } else if (command == "check-gradients") {
      const double worst = check_gradients(read_shape(arguments), stdout);
      std::printf("worst %.3e\n", worst);
      return worst < 1e-2 ? 0 : 1;
    } else {
      throw std::runtime_error("Expected train, evaluate or check-gradients");
    }
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
