// Block: one split of the plan, which may lie across several heads. Warps take the split's pieces of ENTRIES entries in
// turn, each with a ring of its own in shared memory that cp.async fills some pieces ahead, so that a warp waits for no
// other until the head's split is done (decode_piece.h). Where a group has more queries than a warp holds, a team of
// warps shares a ring, each with its own queries, so that the cache is read once: all go from piece to piece together. Queries are rotated by each block for itself, and this step's
// entry is written by the warp that reads its piece: a kernel of their own would be one more wait of the whole grid. At
// a head's end the block's warps are combined, and the block that ends last of those that split the head combines their
// results (decode_combine.h).
// Shared memory: per team [stages] of keys, values, scales; then largest and sum [warps, 16], a team's queries [16 or
// more, D + padding], a flag. At a head's end a team's ring holds its warps' outputs; in a combine of splits, the rings hold a
// factor and a sum for each split and row, and as many splits' parts as fit.
#include "cuda/decode_attention.h"

#include <algorithm>

#include "cuda/decode_combine.h"
#include "cuda/decode_piece.h"
#include "cuda/dependent_launch.h"
#include "cuda/hadamard.h"
#include "cuda/head_vector.h"
#include "cuda/instances.h"
#include "cuda/kv_encode.h"

namespace duo::cuda {
namespace {

constexpr int MAX_WARPS = 8, ROWS = 16;
constexpr int64_t RING_BYTES = 64 * 1024;  // of a block, unless a choice of stages asks for more
__host__ __device__ constexpr int query_stride(int head_dim) {
  return head_dim + 8;
}  // elements; neighbours on other banks
// Bytes of shared memory behind the rings: each warp's largest and sum, queries, and whether the block is the last of a
// head.
__host__ __device__ constexpr int tail_bytes(int warps, int rows, int head_dim) {
  return warps * 2 * ROWS * 4 + rows * query_stride(head_dim) * 2 + 16;
}

// Rows of queries that there is room for.
__host__ __device__ constexpr int query_rows(int team, int tiles) {
  return team * tiles * 8 > ROWS ? team * tiles * 8 : ROWS;
}

// Bytes of a piece and of a warp's outputs.
struct PieceSize {
  int piece, outputs;
};
__host__ __device__ constexpr int team_bytes(const DecodeShape &shape, PieceSize size) {
  const int ring = shape.stages * size.piece, outputs = shape.team * size.outputs;
  return (ring > outputs ? ring : outputs) / 16 * 16 + ((ring > outputs ? ring : outputs) % 16 == 0 ? 0 : 16);
}
// Bytes of what holds all teams' rings, or in a combine of splits a factor and a sum for each split and row, at least
// one split's part or a quad per thread, and the rows' outputs where they are rotated.
__host__ __device__ constexpr int ring_bytes(const DecodeShape &shape, PieceSize size, int rows, int head_dim) {
  const int rings = shape.warps / shape.team * team_bytes(shape, size);
  const int combine = shape.blocks * rows * 2 * 4 + (shape.warps * 32 + 1) * 16 + rows * head_dim * 4;
  const int least = (rings > combine ? rings : combine + 15) / 16 * 16;
  return least > shape.room ? least : shape.room / 16 * 16;
}

// Whether this block is the last of `count` to come here: all see what the others wrote before. The count begins at 0
// and is 0 again after the last.
__device__ __forceinline__ bool is_last_of(int32_t *arrived, int count, int32_t *is_last) {
  __syncthreads();
  if (threadIdx.x == 0) {
    // For the whole block: barriers before and after carry what its other threads wrote and will read.
    publish_writes();
    *is_last = count_arrival(arrived) == count - 1;
    publish_writes();
    if (*is_last) *arrived = 0;  // after the fence, which would wait for it; nobody counts here before the next kernel
  }
  __syncthreads();
  return *is_last != 0;
}

// A layer's plan, 32 heads of it in a warp's registers: memory is waited for once, not for each head.
struct PlanWindow {
  const DecodeHead *plan;
  int heads, base;
  DecodeHead mine;

  __device__ __forceinline__ PlanWindow(const DecodeHead *layer_plan, int num_heads)
      : plan(layer_plan), heads(num_heads) {
    load(0);
  }
  __device__ __forceinline__ void load(int first) {
    const int at = first + static_cast<int>(threadIdx.x) % 32;
    base = first, mine = plan[at < heads ? at : heads];
  }
  // The first head that has a tile at or after `tile`.
  __device__ __forceinline__ int find(int tile) {
    for (int before = 0;;) {
      const int lane = threadIdx.x % 32;
      int is_before = base + lane < heads && mine.first_tile + count_tiles(mine.entries) <= tile;
      for (int lanes = 16; lanes > 0; lanes /= 2) is_before += __shfl_xor_sync(ALL_LANES, is_before, lanes);
      before += is_before;
      if (is_before < 32 || base + 32 >= heads) return before;
      load(base + 32);
    }
  }
  __device__ __forceinline__ DecodeHead get(int index) {
    if (index >= base + 32) load(index);
    const int lane = index - base;
    const auto pointer = [&](const void *of) {
      return __shfl_sync(ALL_LANES, reinterpret_cast<unsigned long long>(of), lane);
    };
    DecodeHead head;
    head.key = reinterpret_cast<uint8_t *>(pointer(mine.key)),
    head.value = reinterpret_cast<uint8_t *>(pointer(mine.value));
    head.key_scale = reinterpret_cast<uint32_t *>(pointer(mine.key_scale)),
    head.value_scale = reinterpret_cast<uint32_t *>(pointer(mine.value_scale));
    head.pages = reinterpret_cast<uint8_t *const *>(pointer(mine.pages)),
    head.page_stride = __shfl_sync(ALL_LANES, mine.page_stride, lane);
    head.entries = __shfl_sync(ALL_LANES, mine.entries, lane), head.fresh = __shfl_sync(ALL_LANES, mine.fresh, lane);
    head.first_tile = __shfl_sync(ALL_LANES, mine.first_tile, lane);
    return head;
  }
};

// Where a head's entries lie: in pages, the addresses of 32 in a row are in a warp's registers, so that memory is
// waited for once in 8192 entries.
template <int D, Dtype DTYPE>
struct PageRows {
  const DecodeHead &head;
  int base = 0;
  uint8_t *mine = nullptr;

  // Entries from `first` on are asked for.
  __device__ __forceinline__ PageRows(const DecodeHead &of, int first) : head(of) {
    if (head.pages != nullptr) load(first / PAGE_ENTRIES);
  }
  __device__ __forceinline__ void load(int first) {
    const int page = first + static_cast<int>(threadIdx.x) % 32, last = (head.entries - 1) / PAGE_ENTRIES;
    base = first, mine = head.pages[static_cast<int64_t>(page < last ? page : last) * head.page_stride];
  }
  // By all lanes, of entries that ascend from call to call.
  __device__ __forceinline__ CacheRows find(int entry) {
    if (head.pages == nullptr)
      return CacheRows::in_piece(head.key, head.value, head.key_scale, head.value_scale, entry, DTYPE, D);
    const int page = entry / PAGE_ENTRIES;
    if (page >= base + 32) load(page);
    auto *at =
        reinterpret_cast<uint8_t *>(__shfl_sync(ALL_LANES, reinterpret_cast<unsigned long long>(mine), page - base));
    return CacheRows::in_page(at, entry % PAGE_ENTRIES, DTYPE, D);
  }
};

// This step's own entry of a KV head into its cache, by one warp, which may copy it from there after. staging [D]
// floats of shared memory that are the warp's. Where a group takes two passes, both write the same bytes.
template <int D, Dtype DTYPE>
__device__ __forceinline__ void write_entry(const DecodeAttention &a, const DecodeHead &head, int index,
                                            float *staging) {
  const DecodeProjections &p = a.projections;
  const int member = index / a.kv_heads;
  const bf16 *key_in =
      p.qkv + (static_cast<int64_t>(member) * (a.heads + 2 * a.kv_heads) + a.heads + index % a.kv_heads) * D;
  HeadVector key = load_vector(key_in, D);
  HeadVector value = load_vector(key_in + a.kv_heads * D, D);
  if (p.key_norm != nullptr) normalize_vector(key, p.key_norm, D, p.eps);
  rotate_vector(key, p.cosine + member * (D / 2), p.sine + member * (D / 2), D, 1.0f);
  constexpr bool HAS_SCALE = kv_scale_bytes(DTYPE) > 0;
  if (HAS_SCALE && a.rotates) transform_vector<D>(key), transform_vector<D>(value);
  const auto write = [&](const HeadVector &vector, Dtype stored, uint8_t *row, uint32_t *scale) {
    spread_vector(vector, staging, D);
    __syncwarp();
    encode_vector(stored, staging, D, row, scale);
    __syncwarp();
  };
  const CacheRows to = PageRows<D, DTYPE>(head, head.fresh).find(head.fresh);
  write(key, key_dtype(DTYPE), to.key, to.key_scale);
  write(value, value_dtype(DTYPE), to.value, to.value_scale);
}

// Queries first … first + rows of a group, to shared memory [rows, query_stride(D)], by the block's warps.
template <int D>
__device__ __forceinline__ void make_queries(const DecodeAttention &a, int member, int first, int rows, bool rotates,
                                             bf16 *queries) {
  const DecodeProjections &p = a.projections;
  for (int row = static_cast<int>(threadIdx.x) / 32; row < rows; row += a.shape.warps) {
    HeadVector v =
        load_vector(p.qkv + (static_cast<int64_t>(member) * (a.heads + 2 * a.kv_heads) + first + row) * D, D);
    if (p.query_norm != nullptr) normalize_vector(v, p.query_norm, D, p.eps);
    rotate_vector(v, p.cosine + member * (D / 2), p.sine + member * (D / 2), D, 1.0f);
    if (rotates) transform_vector<D>(v);
    store_vector(v, queries + row * query_stride(D), D);
  }
}

template <int D, Dtype DTYPE, int QUERY_TILES>
__global__ void __launch_bounds__(MAX_WARPS * 32, 1) decode_attention_kernel(const DecodeAttention a) {
  using Piece = Attend<D, DTYPE, QUERY_TILES>;
  constexpr int ENTRIES = Piece::ENTRIES;
  constexpr int WARP_ROWS = QUERY_TILES * 8;
  constexpr PieceSize SIZE{Piece::PIECE_BYTES, Piece::OUT_BYTES};
  const bool rotates = Piece::HAS_SCALE && a.rotates;
  griddepcontrol_launch_dependents();
  const int warps = a.shape.warps, stages = a.shape.stages, warp = threadIdx.x / 32;
  // Where one tile is all that a group has, a warp is a team.
  constexpr bool HAS_TEAMS = decode_query_tiles(D, WARP_ROWS + 1) == QUERY_TILES;
  const int team = HAS_TEAMS ? a.shape.team : 1, teams = HAS_TEAMS ? warps / team : warps,
            crew = HAS_TEAMS ? warp / team : warp, mate = HAS_TEAMS ? warp % team : 0;
  const int group = a.heads / a.kv_heads, first_row = blockIdx.y * team * WARP_ROWS;
  const int rows = group - first_row < team * WARP_ROWS ? group - first_row : team * WARP_ROWS;
  const int rings = ring_bytes(a.shape, SIZE, team * WARP_ROWS, D), crew_bytes = team_bytes(a.shape, SIZE);
  uint8_t *ring = shared_memory() + crew * crew_bytes;
  float *tops = reinterpret_cast<float *>(shared_memory() + rings), *sums = tops + warps * ROWS;
  auto *queries = reinterpret_cast<bf16 *>(sums + warps * ROWS);
  auto *is_last = reinterpret_cast<int32_t *>(queries + query_rows(team, QUERY_TILES) * query_stride(D));
  const int num_heads = a.batch * a.kv_heads;
  PlanWindow plan(a.plan, num_heads);
  const int split = tiles_a_block(a.plan[num_heads], a.shape.blocks);
  const int begin_tile = blockIdx.x * split, end_tile = begin_tile + split;

  for (int index = plan.find(begin_tile); index < num_heads; index++) {
    const DecodeHead head = plan.get(index);
    if (head.first_tile >= end_tile) break;
    const int begin = (begin_tile > head.first_tile ? begin_tile - head.first_tile : 0) * DECODE_TILE;
    const int up_to = (end_tile - head.first_tile) * DECODE_TILE, end = up_to < head.entries ? up_to : head.entries;
    if (begin >= end) continue;
    const int count = (end - begin + ENTRIES - 1) / ENTRIES, mine = (count - crew + teams - 1) / teams;
    // Mates wait for each other by the block's barrier, so that all crews take the same number of turns.
    const int turns = team > 1 ? (count + teams - 1) / teams : mine;
    PageRows<D, DTYPE> pages(head, begin);
    const auto entry_of = [&](int turn) { return begin + (turn * teams + crew) * ENTRIES; };
    const auto start_copy = [&](int turn, int stage) {
      if (turn < mine && turn % team == mate)
        Piece::copy(ring + stage * Piece::PIECE_BYTES, pages.find(entry_of(turn)), end - entry_of(turn));
      cp_async_commit_group();  // an empty group too, so that counting groups is counting turns
    };
    // Pieces before the one with this step's own entry are asked for ahead of the wait.
    const int fresh_piece = head.fresh >= begin && head.fresh < end ? (head.fresh - begin) / ENTRIES : -1;
    const bool has_fresh = fresh_piece >= 0 && fresh_piece % teams == crew;
    const int early = has_fresh && fresh_piece / teams < stages - 1 ? fresh_piece / teams : stages - 1;
    for (int turn = 0; turn < early; turn++) start_copy(turn, turn);
    griddepcontrol_wait();  // projections or queries, and partial results that an earlier layer's combine read
    const int member = index / a.kv_heads, first_head = index % a.kv_heads * group + first_row;
    const int64_t first_vector = (static_cast<int64_t>(member) * a.heads + first_head) * D;
    if (a.query == nullptr) {
      make_queries<D>(a, member, first_head, rows, rotates, queries);
      if (has_fresh && mate == 0)
        write_entry<D, DTYPE>(a, head, index, reinterpret_cast<float *>(ring + (stages - 1) * Piece::PIECE_BYTES));
      __syncthreads();
    }
    for (int turn = early; turn < stages - 1; turn++) start_copy(turn, turn);
    Piece work;
    const int stride = a.query != nullptr ? D : query_stride(D), left_rows = rows - mate * WARP_ROWS,
              own_rows = left_rows < WARP_ROWS ? left_rows : WARP_ROWS;
    work.begin((a.query != nullptr ? a.query + first_vector : queries) + mate * WARP_ROWS * stride, stride, own_rows);
    const auto meet = [&] { team > 1 ? __syncthreads() : __syncwarp(); };
    for (int turn = 0, stage = 0; turn < turns; turn++) {
      wait_copies_left(stages - 2);
      meet();  // all copies have landed, and all lanes and mates have left the stage that is filled next
      start_copy(turn + stages - 1, stage == 0 ? stages - 1 : stage - 1);
      if (turn < mine) work.add(ring + stage * Piece::PIECE_BYTES, entry_of(turn), end);
      stage = stage + 1 == stages ? 0 : stage + 1;
    }
    cp_async_wait_group<0>();
    meet();
    work.store(reinterpret_cast<float *>(ring + mate * Piece::OUT_BYTES), tops + warp * ROWS, sums + warp * ROWS,
               own_rows);
    __syncthreads();
    // Combine the warps: outputs brought to the block's largest score, summed in warp order.
    const int first_split = head.first_tile / split,
              splits = (head.first_tile + count_tiles(head.entries) - 1) / split - first_split + 1;
    const int64_t slot = static_cast<int64_t>(blockIdx.x + index) * group + first_row;
    bf16 *out = a.out + first_vector;
    // A row's output of a crew: of the first, overwritten by the thread that alone reads it.
    const auto outs_of = [&](int c, int row) {
      return reinterpret_cast<float *>(shared_memory() + c * crew_bytes + row / WARP_ROWS * Piece::OUT_BYTES);
    };
    for (int i = static_cast<int>(threadIdx.x); i < rows * (D / 2); i += warps * 32) {
      const int row = i / (D / 2), element = i % (D / 2) * 2, at = Piece::out_place(row % WARP_ROWS, element);
      const int number = row / WARP_ROWS * ROWS + row % WARP_ROWS, step = team * ROWS;  // in tops and sums, by crew
      float top = tops[number];
      for (int c = 1; c < teams; c++) top = fmaxf(top, tops[c * step + number]);
      float2 value = make_float2(0.0f, 0.0f);
      float total = 0.0f;
      for (int c = 0; c < teams; c++) {
        const float factor = exp2_of(tops[c * step + number] - top);  // 0 of a crew without entries; crew 0 has some
        const float2 two = *reinterpret_cast<const float2 *>(outs_of(c, row) + at);
        value.x += factor * two.x, value.y += factor * two.y;
        total += factor * sums[c * step + number];
      }
      if (splits == 1 && rotates) {
        *reinterpret_cast<float2 *>(outs_of(0, row) + at) = make_float2(value.x / total, value.y / total);
      } else if (splits == 1) {
        *reinterpret_cast<uint32_t *>(out + row * D + element) = pack_bf16(value.x / total, value.y / total);
      } else {
        *reinterpret_cast<float2 *>(a.partial + (slot + row) * D + element) = value;
        if (element == 0) *reinterpret_cast<float2 *>(a.partial_scale + 2 * (slot + row)) = make_float2(top, total);
      }
    }
    if (splits == 1 && rotates) {
      __syncthreads();
      for (int row = warp; row < rows; row += warps) {
        const float *whole = outs_of(0, row);
        HeadVector v = gather_vector(D, [&](int i) { return whole[Piece::out_place(row % WARP_ROWS, i)]; });
        transform_vector<D>(v);
        store_vector(v, out + row * D, D);
      }
    }
    if (splits > 1 && is_last_of(a.arrived + index * gridDim.y + blockIdx.y, splits, is_last)) {
      combine_splits<D>(a, static_cast<int64_t>(first_split + index) * group + first_row, splits, rows, out,
                        shared_memory(), rings, tops, rotates);
    }
    __syncthreads();
  }
  griddepcontrol_wait();  // a block without entries must not end before the kernels that it overlaps
}

// Warps of a team, at most those of a block.
int choose_team(int head_dim, int group) {
  return static_cast<int>(std::min<int64_t>(MAX_WARPS, ceil_divide(group, 8 * decode_query_tiles(head_dim, group))));
}

// As Attend has them: rows of a piece with their padding.
PieceSize size_of_piece(Dtype dtype, int head_dim, int group) {
  const int width = row_width(value_dtype(dtype), head_dim);
  return {piece_bytes(dtype, head_dim), decode_query_tiles(head_dim, group) * 8 * output_stride(width) * 4};
}

template <int D, Dtype DTYPE, int QUERY_TILES>
cudaError_t launch_tiles(const DecodeAttention &a, cudaStream_t stream) {
  static_assert(piece_bytes(DTYPE, D) >= D * static_cast<int>(sizeof(float)),
                "a stage holds an entry's vector before it is encoded");
  if constexpr (QUERY_TILES > decode_query_tiles(D, 9)) {  // no group has so many
    return cudaErrorInvalidValue;
  } else {
    const int group = a.heads / a.kv_heads;
    const auto shared = static_cast<size_t>(decode_shared_bytes(DTYPE, D, group, a.shape));
    const auto passes = static_cast<unsigned>(ceil_divide(group, a.shape.team * QUERY_TILES * 8));
    return launch_dependent({dim3(static_cast<unsigned>(a.shape.blocks), passes), a.shape.warps * 32, shared}, stream,
                            decode_attention_kernel<D, DTYPE, QUERY_TILES>, a);
  }
}

}  // namespace

int64_t decode_shared_bytes(Dtype dtype, int head_dim, int group, const DecodeShape &shape) {
  const int tiles = decode_query_tiles(head_dim, group);
  return ring_bytes(shape, size_of_piece(dtype, head_dim, group), shape.team * tiles * 8, head_dim) +
         tail_bytes(shape.warps, query_rows(shape.team, tiles), head_dim);
}

// One block per multiprocessor: where two fit, blocks that start early (dependent_launch.h) gather on the multiprocessors
// that come free first, and the rest wait for those. Rings of 64 KiB are enough, larger ones were slower by 2 to 5 % at
// head size 128 in 4 and 8 bits (bench/results/2026-11-27-nvidia-h100/kv-storage/decode-shapes.txt); a combine of
// splits may use more. A quarter is left for the blocks of the kernel before, or this one's would have to wait for
// their end.
DecodeShape choose_decode_shape(Dtype dtype, int head_dim, int group, int multiprocessors, int64_t shared_bytes,
                                DecodeShape request) {
  DecodeShape shape = request;
  shape.team = choose_team(head_dim, group);
  const PieceSize size = size_of_piece(dtype, head_dim, group);
  const int64_t piece = size.piece,
                spare = tail_bytes(MAX_WARPS, query_rows(shape.team, decode_query_tiles(head_dim, group)), head_dim);
  const int64_t room = std::max<int64_t>(1, (shared_bytes - spare) / piece);  // pieces
  int32_t teams = std::max(1, (shape.warps < 1 ? MAX_WARPS : std::min(shape.warps, MAX_WARPS)) / shape.team);
  // Two stages per team, and its outputs.
  const int64_t least = std::max<int64_t>(2 * piece, shape.team * size.outputs);
  while (request.warps < 1 && teams > 1 && teams * least > shared_bytes - spare) teams /= 2;
  shape.warps = teams * shape.team;
  if (shape.stages < 1)
    shape.stages =
        static_cast<int32_t>(std::max<int64_t>(2, ceil_divide(std::min(shared_bytes / 2, RING_BYTES), teams * piece)));
  shape.stages =
      static_cast<int32_t>(std::max<int64_t>(2, std::min<int64_t>({shape.stages, MAX_STAGES, room / teams})));
  if (shape.blocks < 1) shape.blocks = multiprocessors;
  if (shape.room < 1)
    shape.room = static_cast<int32_t>(std::max<int64_t>(0, std::min(shared_bytes / 4 * 3, shared_bytes - spare)));
  // The combine of a large group's splits: fewer blocks where it would not fit.
  while (request.blocks < 1 && shape.blocks > 1 && decode_shared_bytes(dtype, head_dim, group, shape) > shared_bytes)
    shape.blocks--;
  return shape;
}

cudaError_t launch_decode_attention(const DecodeAttention &a, cudaStream_t stream) {
  return HeadDims::choose(a.head_dim, [&](auto dim) {
    return DecodeFormats::choose(a.dtype, [&](auto dtype) {
      return DecodeQueryTiles::choose(decode_query_tiles(a.head_dim, a.heads / a.kv_heads), [&](auto tiles) {
        return launch_tiles<decltype(dim)::value, decltype(dtype)::value, decltype(tiles)::value>(a, stream);
      });
    });
  });
}

}  // namespace duo::cuda
