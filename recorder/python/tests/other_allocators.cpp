// CPU allocators of somebody else, for tests: one that hands on to the allocator that was there, one that
// makes blocks itself, with or without contexts that are not their addresses.

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <c10/core/Allocator.h>

namespace {

constexpr c10::DeviceType kCpu = c10::DeviceType::CPU;
std::atomic<int64_t> alive{0};

// Counts blocks and has the allocator below make them.
struct Delegating final : c10::Allocator {
  explicit Delegating(c10::Allocator* below) : below(below) {
  }

  c10::DataPtr allocate(size_t bytes) override {
    c10::DataPtr block = below->allocate(bytes);
    alive++;
    auto* const kept = new c10::DataPtr(std::move(block));
    return {kept->get(), kept, &release, c10::Device(kCpu)};
  }
  static void release(void* kept) {
    alive--;
    delete static_cast<c10::DataPtr*>(kept);
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  c10::Allocator* const below;
};

// Makes blocks itself and promises no raw deleter. The context lies before the block by `Offset` bytes.
template <size_t Offset>
struct Own final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) {
      return {nullptr, c10::Device(kCpu)};
    }
    if (bytes > size_t{1} << 40) {
      throw std::bad_alloc();
    }
    alive++;
    char* const context = static_cast<char*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64));
    return {context + Offset, context, &release, c10::Device(kCpu)};
  }
  static void release(void* context) {
    alive--;
    std::free(context);
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

c10::Allocator* former = nullptr;

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int set_delegating(int priority) {
  former = c10::GetAllocator(kCpu);
  auto* const allocator = new Delegating(former);
  c10::SetAllocator(kCpu, allocator, static_cast<uint8_t>(priority));
  return c10::GetAllocator(kCpu) == allocator;
}

template <size_t Offset>
int set_own(int priority) {
  former = c10::GetAllocator(kCpu);
  auto* const allocator = new Own<Offset>;
  c10::SetAllocator(kCpu, allocator, static_cast<uint8_t>(priority));
  return c10::GetAllocator(kCpu) == allocator;
}

EXPORT int set_with_contexts(int priority) {
  return set_own<64>(priority);
}

EXPORT int set_plain(int priority) {
  return set_own<0>(priority);
}

EXPORT int set_former(int priority) {
  c10::SetAllocator(kCpu, former, static_cast<uint8_t>(priority));
  return c10::GetAllocator(kCpu) == former;
}

EXPORT void* present() {
  return c10::GetAllocator(kCpu);
}

EXPORT int64_t blocks_alive() {
  return alive;
}

// Whether an allocator can be set at that priority, that is whether nobody has raised it; leaves all as it
// is.
EXPORT int takes_priority(int priority) {
  c10::Allocator* const there = c10::GetAllocator(kCpu);
  Own<0> other;
  c10::SetAllocator(kCpu, &other, static_cast<uint8_t>(priority));
  const bool is_taken = c10::GetAllocator(kCpu) == &other;
  c10::SetAllocator(kCpu, there, static_cast<uint8_t>(priority));
  return is_taken;
}

// Threads that allocate and free blocks large enough to be mapped anew each time: the kernel gives an address
// that one thread has let go of to the next that asks.
EXPORT void churn(int threads, int count) {
  std::vector<std::thread> all;
  for (int number = 0; number < threads; number++) {
    all.emplace_back([count] {
      c10::Allocator* const allocator = c10::GetAllocator(kCpu);
      for (int turn = 0; turn < count; turn++) {
        const c10::DataPtr block = allocator->allocate(size_t{40} << 20);
      }
    });
  }
  for (std::thread& thread : all) {
    thread.join();
  }
}

// 0 if raw allocation works as the allocator says that it does.
EXPORT int raw() {
  c10::Allocator* const allocator = c10::GetAllocator(kCpu);
  if (allocator->raw_deleter() == nullptr) {
    return 1;
  }
  void* const block = allocator->raw_allocate(777);
  std::memset(block, 1, 777);
  const c10::DataPtr clone = allocator->clone(block, 777);
  if (clone.get() == block || std::memcmp(clone.get(), block, 777) != 0) {
    return 2;
  }
  if (!allocator->is_simple_data_ptr(clone) || clone.get_deleter() != allocator->raw_deleter()) {
    return 3;
  }
  allocator->raw_deallocate(block);
  void* const nothing = allocator->raw_allocate(0);
  if (nothing != nullptr) {
    return 4;
  }
  return 0;
}
