// One warp per layer; a lane takes every 32nd head, and a running sum over lanes places them.
#include "cuda/decode_plan.h"

namespace duo::cuda {
namespace {

__global__ void decode_plan_kernel(const DecodeMember *members, int32_t batch, int32_t kv_heads, DecodeHead *heads) {
  const int lane = threadIdx.x, count = batch * kv_heads, layer = blockIdx.x;
  DecodeHead *to = heads + static_cast<int64_t>(layer) * (count + 1);
  int32_t placed = 0;
  for (int base = 0; base <= count; base += 32) {
    const int index = base + lane;
    DecodeHead head{};
    int32_t tiles = 0;
    if (index < count) {
      const DecodeMember member = members[index / kv_heads];
      const HeadCache cache = member.caches[layer * kv_heads + index % kv_heads];
      const int64_t length = member.length, seen = length + 1 < cache.slots ? length + 1 : cache.slots;
      head.key = cache.key, head.value = cache.value;
      head.key_scale = cache.key_scale, head.value_scale = cache.value_scale;
      head.pages = cache.pages, head.page_stride = static_cast<int32_t>(cache.page_stride);
      head.entries = static_cast<int32_t>(seen);
      head.fresh = static_cast<int32_t>(cache_slot(cache, length));
      tiles = count_tiles(head.entries);
    }
    const int32_t cost = index <= count ? tiles + DECODE_HEAD_TILES : 0;
    int32_t end = cost;
    for (int step = 1; step < 32; step *= 2) {
      const int32_t before = __shfl_sync(ALL_LANES, end, lane - step);
      if (lane >= step) end += before;
    }
    head.first_tile = placed + end - tiles;
    if (index <= count) to[index] = head;
    placed += __shfl_sync(ALL_LANES, end, 31);
  }
}

}  // namespace

cudaError_t launch_decode_plan(const DecodeMember *members, int32_t batch, int32_t layers, int32_t kv_heads,
                               DecodeHead *heads, cudaStream_t stream) {
  return launch({dim3(static_cast<unsigned>(layers)), 32}, stream, decode_plan_kernel, members, batch, kv_heads, heads);
}

}  // namespace duo::cuda
