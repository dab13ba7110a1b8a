// Usage: test_cuda_ops [--brief] [group | launch] …   (default all). Groups: layer, product, attention, decode,
//   reduction. --brief: small shapes, for slow
// tools. With no names it also requires that every launch declared in kernels/cuda/*.h has a test (DUO_CUDA_HEADERS,
//   the folder), and that the launch table of docs/kernels.md names the instances (DUO_KERNELS_DOC).
#include <dirent.h>
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "cuda/instances.h"
#include "op_test.h"

using namespace duo;
using namespace duo::cuda;
using namespace duo::test;

namespace {

// launch_dependent is how a kernel is launched, no op.
void require_all_tested(const std::string &folder) {
  DIR *directory = opendir(folder.c_str());
  if (directory == nullptr) {
    std::printf("skipped: `%s` was not found, so that launches without a test are not seen\n", folder.c_str());
    return;
  }
  std::set<std::string> declared, tested;
  for (const OpTest &test : op_tests()) tested.insert(test.launch);
  const std::regex launch("cudaError_t (launch_[a-z0-9_]+)\\(");
  while (const dirent *entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name.size() < 2 || name.substr(name.size() - 2) != ".h") continue;
    std::ifstream file(folder + "/" + name);
    std::stringstream text;
    text << file.rdbuf();
    const std::string all = text.str();
    for (std::sregex_iterator at(all.begin(), all.end(), launch), end; at != end; ++at) {
      if ((*at)[1] != "launch_dependent") declared.insert((*at)[1]);
    }
  }
  closedir(directory);
  expect(declared.size() > 40, "the headers declare their launches");
  for (const std::string &name : declared)
    expect(tested.count(name) > 0, name + " is declared in kernels/cuda and has no op test");
  for (const std::string &name : tested)
    expect(declared.count(name) > 0, name + " is tested and not declared in kernels/cuda");
}

// The launch table of docs/kernels.md names the instances that there are.
void require_documented(const std::string &path) {
  std::ifstream file(path);
  if (!file) {
    std::printf("skipped: `%s` was not found, so that its launch table is not read\n", path.c_str());
    return;
  }
  const auto count = [](int number, const char *what) { return std::to_string(number) + " " + what; };
  const std::string dims = "D " + HeadDims::list(), hopper_dims = "D " + HopperHeadDims::list();
  std::map<std::string, std::vector<std::string>> expected{
      {"launch_attention_forward_plain", {dims + " × {full, streaming, both} × {bf16, f16}"}},
      {"launch_attention_forward_hopper", {hopper_dims + " × the same"}},
      {"launch_attention_backward_plain", {dims + "; " + hopper_dims}},
      {"launch_decode_plan", {dims + " × ", count(DecodeFormats::COUNT, "cache formats")}}};
  for (std::string line; std::getline(file, line);) {
    const size_t begin = line.find("`launch_"), end = line.find('`', begin + 1);
    if (line.rfind("| `launch_", 0) != 0 || expected.count(line.substr(begin + 1, end - begin - 1)) == 0) continue;
    const std::string launch = line.substr(begin + 1, end - begin - 1);
    for (const std::string &text : expected[launch])
      expect(line.find(text) != std::string::npos, "docs/kernels.md: the row of " + launch + " says `" + text + "`");
    expected.erase(launch);
  }
  for (const auto &row : expected) expect(false, "docs/kernels.md has no row of " + row.first);
}

// Each `NAME = value` of the table of tuned numbers is so in the file that its row names.
void require_tuned_numbers(const std::string &path, const std::string &sources) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line) && line != "## Numbers that were tuned") {}
  if (!file) return;
  int found = 0;
  const std::regex row("\\| (.*) \\| `([a-z0-9_.]+)` \\|.*"), number("`([A-Z_]+ = [^`]+)`");
  while (std::getline(file, line) && line.rfind("## ", 0) != 0) {
    std::smatch parts;
    if (!std::regex_match(line, parts, row)) continue;
    std::ifstream source(sources + "/" + parts[2].str());
    std::stringstream text;
    text << source.rdbuf();
    const std::string all = text.str(), numbers = parts[1];
    expect(!all.empty(), "docs/kernels.md names a file of numbers, " + parts[2].str());
    for (std::sregex_iterator at(numbers.begin(), numbers.end(), number), end; at != end; ++at, found++) {
      const std::string says = (*at)[1];
      const size_t place = all.find(says);
      const bool is_whole = place != std::string::npos && std::string(",; ").find(all[place + says.size()]) < 3;
      expect(is_whole, "docs/kernels.md: `" + says + "` is in " + parts[2].str());
    }
  }
  expect(found > 15, "docs/kernels.md has a table of tuned numbers");
}

}  // namespace

int main(int count, char **values) {
  std::set<std::string> wanted(values + 1, values + count);
  is_brief = wanted.erase("--brief") > 0;
  if (wanted.empty()) require_all_tested(DUO_CUDA_HEADERS), require_documented(DUO_KERNELS_DOC);
  if (wanted.empty()) require_tuned_numbers(DUO_KERNELS_DOC, DUO_CUDA_HEADERS);
  std::set<std::string> unknown = wanted;
  for (const OpTest &test : op_tests()) {
    unknown.erase(test.group), unknown.erase(test.launch);
    if (wanted.empty() || wanted.count(test.group) || wanted.count(test.launch)) test.run();
  }
  for (const std::string &name : unknown)
    expect(false, "Expected a group (layer, product, attention, decode, reduction) or a launch, got `" + name + "`");
  return finish("test_cuda_ops");
}
