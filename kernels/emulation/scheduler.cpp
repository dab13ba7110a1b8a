// Threads of one block as fibers: each runs until it waits at a barrier or a warp collective, then the next ready one
// runs. Which one that is, is the schedule's choice: threads take turns, or one warp runs ahead.
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>
#include <stdexcept>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include "emulation/cuda_emulation.h"

namespace duo::emulation {

ThreadState *current = nullptr;

namespace {

constexpr size_t STACK_BYTES = 256 << 10;
// Stacks lie whole pages apart, so that without a step between them their ends would share a few lines of the cache.
constexpr size_t STACK_STEP = 448, STACK_STEPS = 32;
constexpr size_t GUARD_BYTES = 64;
constexpr unsigned char GUARD = 0xA5, POISON = 0xFF;  // POISON reads as NaN in fp32 and bf16
constexpr unsigned MAX_THREADS = 1024;

enum class Wait { none, warp, block, count, done };

struct AsyncCopy {
  void *to;
  const void *from;
  int bytes, total;
  bool is_made;
  unsigned char seen[16];  // at `from` when it was asked for
};

struct Fiber {
  ThreadState state;
  Wait wait = Wait::done;
  const char *operation = nullptr;
  void *operand = nullptr;
  const uint64_t *barrier = nullptr;
  unsigned parity = 0;
  std::vector<AsyncCopy> open_copies;
  std::deque<std::vector<AsyncCopy>> groups;
  std::unique_ptr<unsigned char[]> stack;
#if defined(__x86_64__)
  void *saved = nullptr;
#else
  ucontext_t context;
#endif
};

std::vector<Fiber> fibers;
unsigned num_threads = 0;
Fiber *running = nullptr;
const std::function<void()> *body = nullptr;
Schedule order_of_turns = Schedule::forward;
std::string fault;
bool faulted = false;
bool released = false;  // a barrier of several warps was passed since this was last false
int64_t launches = 0;
#if defined(__x86_64__)
void *main_saved = nullptr;
#else
ucontext_t main_context;
#endif

}  // namespace

#if defined(__x86_64__)
// Saves the callee-saved registers of the System V ABI on the stack; swapcontext would cost two system calls a switch.
extern "C" void duo_emulation_switch(void **save, void *load);
asm(R"(
.text
.globl duo_emulation_switch
.hidden duo_emulation_switch
.type duo_emulation_switch, @function
duo_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size duo_emulation_switch, .-duo_emulation_switch
)");
#endif

namespace {

void switch_to_main() {
  Fiber *self = running;
#if defined(__x86_64__)
  duo_emulation_switch(&self->saved, main_saved);
#else
  swapcontext(&self->context, &main_context);
#endif
}

void resume(Fiber &fiber) {
  running = &fiber;
  current = &fiber.state;
#if defined(__x86_64__)
  duo_emulation_switch(&main_saved, fiber.saved);
#else
  swapcontext(&main_context, &fiber.context);
#endif
}

void fiber_main() {
  (*body)();
  running->wait = Wait::done;
  switch_to_main();
  std::abort();  // a finished fiber is never resumed
}

void prepare(Fiber &fiber) {
  if (!fiber.stack) fiber.stack.reset(new unsigned char[STACK_BYTES + STACK_STEP * STACK_STEPS]);
  fiber.wait = Wait::none;
  fiber.open_copies.clear();
  fiber.groups.clear();
#if defined(__x86_64__)
  const size_t step = static_cast<size_t>(&fiber - fibers.data()) % STACK_STEPS * STACK_STEP;
  auto top = reinterpret_cast<uintptr_t>(fiber.stack.get() + STACK_BYTES + step) & ~uintptr_t{15};
  auto *frame = reinterpret_cast<void **>(top);
  *--frame = nullptr;  // the return address of fiber_main, which keeps the stack aligned as after a call
  *--frame = reinterpret_cast<void *>(&fiber_main);
  for (int i = 0; i < 6; i++) *--frame = nullptr;
  fiber.saved = frame;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = STACK_BYTES;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
#endif
}

std::string describe(const Fiber &fiber) {
  const auto &s = fiber.state;
  return "thread " + std::to_string(s.thread.x) + " of block (" + std::to_string(s.block.x) + ", " +
         std::to_string(s.block.y) + ", " + std::to_string(s.block.z) + ")" +
         (fiber.wait == Wait::done ? " has ended"
                                   : std::string(" waits at ") + (fiber.operation ? fiber.operation : "?"));
}

void stop_with(const std::string &text) {
  report_fault(text);
  switch_to_main();
  std::abort();
}

// A counting barrier's word: bit 63 the parity of the round under way, 16 bits each of arrivals still missing and
// arrivals of a round.
bool is_complete(uint64_t word, unsigned parity) { return (word >> 63) != parity; }

bool can_move(Fiber &fiber) {
  if (fiber.wait == Wait::count && is_complete(*fiber.barrier, fiber.parity)) fiber.wait = Wait::none;
  return fiber.wait == Wait::none;
}

bool is_ahead_order() { return order_of_turns == Schedule::first_ahead || order_of_turns == Schedule::last_ahead; }

bool fail_as_stuck() {
  std::string text = "Expected every thread to reach the same barrier:";
  unsigned shown = 0;
  for (unsigned i = 0; i < num_threads && shown < 4; i++) {
    if (i == 0 || fibers[i].wait != fibers[i - 1].wait || fibers[i].operation != fibers[i - 1].operation) {
      text += " " + describe(fibers[i]) + ";";
      shown++;
    }
  }
  report_fault(text);
  return false;
}

// Each thread in turn. True: all have ended.
bool take_turns(std::vector<unsigned> &turns) {
  uint64_t random = 88172645463325252ull;
  for (;;) {
    if (order_of_turns == Schedule::shuffled) {
      for (unsigned i = num_threads - 1; i > 0; i--) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        std::swap(turns[i], turns[random % (i + 1)]);
      }
    }
    bool progressed = false;
    unsigned num_done = 0;
    for (const unsigned i : turns) {
      Fiber &fiber = fibers[i];
      if (can_move(fiber)) {
        resume(fiber);
        if (faulted) return false;
        progressed = true;
      }
      num_done += fiber.wait == Wait::done;
    }
    if (num_done == num_threads) return true;
    if (!progressed) return fail_as_stuck();
  }
}

// The first warp that can move does, until it cannot or a barrier lets one before it move again.
bool run_ahead(const std::vector<unsigned> &turns) {
  for (unsigned first = 0; first < num_threads;) {
    bool progressed = false;
    released = false;
    for (unsigned i = first; i < first + 32 && !released; i++) {
      Fiber &fiber = fibers[turns[i]];
      if (!can_move(fiber)) continue;
      resume(fiber);
      if (faulted) return false;
      progressed = true;
    }
    if (released) {
      first = 0;
    } else if (!progressed) {
      first += 32;
    }
  }
  for (unsigned i = 0; i < num_threads; i++) {
    if (fibers[i].wait != Wait::done) return fail_as_stuck();
  }
  return true;
}

bool run_block() {
  const bool is_reverse = order_of_turns == Schedule::reverse || order_of_turns == Schedule::last_ahead;
  std::vector<unsigned> turns(num_threads);
  for (unsigned i = 0; i < num_threads; i++) turns[i] = is_reverse ? num_threads - 1 - i : i;
  return is_ahead_order() ? run_ahead(turns) : take_turns(turns);
}

}  // namespace

void report_fault(const std::string &text) {
  if (!faulted) fault = text;
  faulted = true;
}

const std::string &last_fault() { return fault; }
int64_t count_launches() { return launches; }
void set_schedule(Schedule schedule) { order_of_turns = schedule; }

namespace {

// Whether `count` fibers from `first` on wait alike. Asked at every arrival, so the ends come first: one of them is the
// last to arrive where threads take turns in order.
bool all_wait(unsigned first, unsigned count, Wait wait) {
  if (fibers[first + count - 1].wait != wait) return false;
  for (unsigned i = first; i < first + count; i++) {
    if (fibers[i].wait != wait) return false;
  }
  return true;
}

bool is_same(const char *a, const char *b) { return a == b || std::strcmp(a, b) == 0; }

}  // namespace

void run_warp_collective(const char *operation, void *operand, void (*execute)(void **operands)) {
  Fiber *self = running;
  self->operation = operation;
  self->operand = operand;
  self->wait = Wait::warp;
  const unsigned first = static_cast<unsigned>(self - fibers.data()) / 32 * 32;
  if (!all_wait(first, 32, Wait::warp)) {
    switch_to_main();
    return;
  }
  for (unsigned i = first; i < first + 32; i++) {
    if (!is_same(fibers[i].operation, operation))
      stop_with("Expected one collective in a warp: " + describe(*self) + ", " + describe(fibers[i]));
  }
  void *operands[32];
  for (unsigned i = 0; i < 32; i++) operands[i] = fibers[first + i].operand;
  execute(operands);
  for (unsigned i = first; i < first + 32; i++) fibers[i].wait = Wait::none;
}

// Warps may come at different times, so other operations under way are no fault here; one that never comes ends as a
// deadlock.
void run_warpgroup_collective(const char *operation, void *operand, void (*execute)(void **operands)) {
  constexpr unsigned SIZE = 128;
  Fiber *self = running;
  self->operation = operation;
  self->operand = operand;
  self->wait = Wait::warp;
  const unsigned first = static_cast<unsigned>(self - fibers.data()) / SIZE * SIZE;
  if (first + SIZE > num_threads) stop_with("Expected whole warpgroups of 128 threads: " + describe(*self));
  bool have_all_come = all_wait(first, SIZE, Wait::warp);
  for (unsigned i = first; have_all_come && i < first + SIZE; i++)
    have_all_come = is_same(fibers[i].operation, operation);
  if (!have_all_come) {
    switch_to_main();
    return;
  }
  void *operands[SIZE];
  for (unsigned i = 0; i < SIZE; i++) operands[i] = fibers[first + i].operand;
  execute(operands);
  for (unsigned i = first; i < first + SIZE; i++) fibers[i].wait = Wait::none;
  released = true;
}

void open_counting_barrier(uint64_t *barrier, unsigned arrivals) {
  *barrier = static_cast<uint64_t>(arrivals) << 16 | arrivals;
}

void arrive_at_counting_barrier(uint64_t *barrier) {
  if ((*barrier & 0xffff) == 0) stop_with("Expected a barrier that was opened: " + describe(*running));
  if ((--*barrier & 0xffff) == 0) {
    *barrier = (*barrier ^ uint64_t{1} << 63) | (*barrier >> 16 & 0xffff);
    released = true;
  }
}

void wait_for_counting_barrier(uint64_t *barrier, unsigned parity) {
  Fiber *self = running;
  if (is_complete(*barrier, parity)) return;
  self->operation = "a counting barrier";
  self->barrier = barrier;
  self->parity = parity;
  self->wait = Wait::count;
  switch_to_main();
}

void run_block_barrier(const char *operation) {
  Fiber *self = running;
  self->operation = operation;
  self->wait = Wait::block;
  if (!all_wait(0, num_threads, Wait::block)) {
    switch_to_main();
    return;
  }
  for (unsigned i = 0; i < num_threads; i++) fibers[i].wait = Wait::none;
  released = true;
}

namespace {

void make(const AsyncCopy &copy) {
  if (copy.bytes > 0) std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
  std::memset(static_cast<unsigned char *>(copy.to) + copy.bytes, 0, static_cast<size_t>(copy.total - copy.bytes));
}

}  // namespace

void queue_async_copy(void *to, const void *from, int bytes, int total) {
  if (reinterpret_cast<uintptr_t>(to) % static_cast<uintptr_t>(total) != 0 ||
      (bytes > 0 && reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(total) != 0)) {
    stop_with("Expected cp.async addresses aligned to " + std::to_string(total) + " bytes: " + describe(*running));
  }
  const auto thread = static_cast<unsigned>(running - fibers.data());
  const unsigned place = order_of_turns == Schedule::last_ahead ? num_threads - 1 - thread : thread;
  AsyncCopy copy{to, from, bytes, total, is_ahead_order() && place < num_threads / 2, {}};
  if (bytes > 0) std::memcpy(copy.seen, from, static_cast<size_t>(bytes));
  if (copy.is_made) make(copy);
  running->open_copies.push_back(copy);
}

void commit_async_copies() {
  running->groups.push_back(std::move(running->open_copies));
  running->open_copies.clear();
}

void wait_async_copies(int groups_left) {
  while (static_cast<int>(running->groups.size()) > groups_left) {
    for (const AsyncCopy &copy : running->groups.front()) {
      if (copy.bytes > 0 && std::memcmp(copy.seen, copy.from, static_cast<size_t>(copy.bytes)) != 0) {
        stop_with("Expected what cp.async copies to stay as it is until waited for: " + describe(*running));
      }
      if (!copy.is_made) make(copy);
    }
    running->groups.pop_front();
  }
}

bool run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &kernel) {
  launches++;
  faulted = false;
  num_threads = block.x * block.y * block.z;
  if (num_threads == 0 || num_threads > MAX_THREADS || num_threads % 32 != 0 || block.y != 1 || block.z != 1) {
    report_fault("Expected a block of 32 to 1024 threads along x, in whole warps, got " + std::to_string(num_threads));
    return false;
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) {
    report_fault("Expected a grid of at least 1 and at most 65535 blocks along y and z, got (" +
                 std::to_string(grid.x) + ", " + std::to_string(grid.y) + ", " + std::to_string(grid.z) + ")");
    return false;
  }
  if (fibers.size() < num_threads) fibers.resize(num_threads);
  std::vector<unsigned char> memory(shared_bytes + 2 * GUARD_BYTES + 128);
  auto *shared = memory.data() + GUARD_BYTES;
  shared += (128 - reinterpret_cast<uintptr_t>(shared) % 128) % 128;
  std::memset(memory.data(), GUARD, memory.size());
  body = &kernel;
  for (unsigned z = 0; z < grid.z; z++) {
    for (unsigned y = 0; y < grid.y; y++) {
      for (unsigned x = 0; x < grid.x; x++) {
        std::memset(shared, POISON, shared_bytes);
        for (unsigned i = 0; i < num_threads; i++) {
          fibers[i].state = {dim3(i, 0, 0), dim3(x, y, z), block, grid, shared};
          prepare(fibers[i]);
        }
        forget_warpgroup_products();
        const bool ok = run_block();
        current = nullptr;
        if (!ok) return false;
        for (size_t i = 0; i < GUARD_BYTES; i++) {
          if (shared[shared_bytes + i] != GUARD || shared[-1 - static_cast<ptrdiff_t>(i)] != GUARD) {
            report_fault("Expected writes inside " + std::to_string(shared_bytes) + " bytes of shared memory, block (" +
                         std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) +
                         ") wrote beside them");
            return false;
          }
        }
      }
    }
  }
  return true;
}

}  // namespace duo::emulation
