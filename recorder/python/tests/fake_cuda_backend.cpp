// A CUDA allocator without CUDA, for tests of what listens to one: two devices of one segment each, cut into
// blocks of 4 KiB, whose trace and snapshot are those of torch's own (c10/cuda/CUDACachingAllocator.cpp,
// torch 2.2 to 2.15): entries come under the device's lock, a snapshot puts an entry SNAPSHOT that says
// device 0, devices are taken one after the other.
//
// And the other end: functions of a recorder that keep what they are told.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <c10/cuda/CUDACachingAllocator.h>

namespace {

namespace caching = c10::cuda::CUDACachingAllocator;
using Entry = caching::TraceEntry;
using c10::DeviceIndex;

constexpr size_t kDevices = 2;
constexpr size_t kBlocks = 64;
constexpr size_t kBlockBytes = 4096;

enum class Use { Free, Allocated, Pending };

struct Block {
  Use use = Use::Free;
  size_t requested = 0;
};

struct Device {
  std::recursive_mutex mutex;
  std::array<Block, kBlocks> blocks;
  std::vector<c10::CachingDeviceAllocator::AllocatorTraceTracker> trackers;
};

struct FakeBackend final : caching::CUDAAllocator {
  std::array<Device, kDevices> devices;
  std::string backend = "native";
  bool is_initialized = false;
  size_t attached = 0;

  static size_t base(size_t device) {
    return (device + 1) << 40;
  }
  static void* stream(size_t device) {
    return reinterpret_cast<void*>(0x100 + device);
  }

  void trace(size_t device, Entry::Action action, size_t address, size_t size, DeviceIndex told,
             c10::MempoolId_t pool) {
    const Entry entry(action, told, address, size, action == Entry::SNAPSHOT ? nullptr : stream(device), pool,
                      {});
    for (const auto& tracker : devices[device].trackers) {
      tracker(entry);
    }
  }
  void trace(size_t device, Entry::Action action, size_t block, size_t size) {
    trace(device, action, base(device) + block * kBlockBytes, size, static_cast<DeviceIndex>(device), {0, 0});
  }

  // Takes, gives up or completes a block, as its use allows.
  void use(size_t device, size_t number, size_t bytes, bool is_deferred) {
    const std::lock_guard<std::recursive_mutex> lock(devices[device].mutex);
    Block& block = devices[device].blocks[number];
    switch (block.use) {
      case Use::Free:
        block = {Use::Allocated, bytes};
        trace(device, Entry::ALLOC, number, bytes);
        break;
      case Use::Allocated:
        trace(device, Entry::FREE_REQUESTED, number, block.requested);
        block.use = Use::Pending;
        if (is_deferred) {
          break;
        }
        [[fallthrough]];
      case Use::Pending:
        trace(device, Entry::FREE_COMPLETED, number, block.requested);
        block = {};
    }
  }

  caching::SnapshotInfo snapshot(c10::MempoolId_t, bool) override {
    caching::SnapshotInfo result;
    for (size_t device = 0; device < kDevices; device++) {
      {
        const std::lock_guard<std::recursive_mutex> lock(devices[device].mutex);
        auto& segment = result.segments.emplace_back();
        segment.device = static_cast<DeviceIndex>(device);
        segment.address = base(device);
        segment.total_size = kBlocks * kBlockBytes;
        segment.stream = static_cast<decltype(segment.stream)>(stream(device));
        segment.is_expandable = device == 1;
        segment.owner_private_pool_id = {0, device};
        for (const Block& block : devices[device].blocks) {
          auto& info = segment.blocks.emplace_back();
          info.size = kBlockBytes;
          info.requested_size = block.requested;
          info.allocated = block.use == Use::Allocated;
          info.active = block.use != Use::Free;
        }
        trace(device, Entry::SNAPSHOT, 0, 0, 0, {0, 0});
      }
      // Time for others between two devices, and between the last and the writing.
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
    return result;
  }

  void attachAllocatorTraceTracker(c10::CachingDeviceAllocator::AllocatorTraceTracker tracker) override {
    TORCH_CHECK(backend == "native", backend, " does not support attachAllocatorTraceTracker");
    attached++;
    for (Device& device : devices) {
      const std::lock_guard<std::recursive_mutex> lock(device.mutex);
      device.trackers.push_back(tracker);
    }
  }

  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(DeviceIndex device) override {
    TORCH_CHECK(static_cast<size_t>(device) < kDevices, "Invalid device argument ", static_cast<int>(device));
    c10::CachingDeviceAllocator::DeviceStats stats;
    int64_t value = 0;
    for (auto* bytes :
         {&stats.allocated_bytes, &stats.active_bytes, &stats.reserved_bytes, &stats.requested_bytes}) {
      (*bytes)[0].current = ++value;
      (*bytes)[0].peak = ++value;
    }
    stats.num_alloc_retries = ++value;
    stats.num_ooms = ++value;
    return stats;
  }

  bool initialized() override {
    return is_initialized;
  }
  std::string name() override {
    return backend;
  }

  // What no test asks for.
  c10::DataPtr allocate(size_t) override {
    return {};
  }
  void copy_data(void*, const void*, std::size_t) const override {
  }
  void* raw_alloc(size_t) override {
    return nullptr;
  }
  void* raw_alloc_with_stream(size_t, cudaStream_t) override {
    return nullptr;
  }
  void raw_delete(void*) override {
  }
  void init(int) override {
  }
  double getMemoryFraction(DeviceIndex) override {
    return 1;
  }
  void setMemoryFraction(double, DeviceIndex) override {
  }
  std::vector<caching::StreamSegmentSize> getExpandableSegmentSizes(DeviceIndex) override {
    return {};
  }
  void enable(bool) override {
  }
  bool isEnabled() const override {
    return true;
  }
  void emptyCache(c10::MempoolId_t) override {
  }
  void cacheInfo(DeviceIndex, size_t*) override {
  }
  void* getBaseAllocation(void*, size_t*) override {
    return nullptr;
  }
  void recordStream(const c10::DataPtr&, c10::cuda::CUDAStream) override {
  }
  void beginAllocateToPool(DeviceIndex, c10::MempoolId_t, std::function<bool(cudaStream_t)>) override {
  }
  void endAllocateToPool(DeviceIndex, c10::MempoolId_t) override {
  }
  void releasePool(DeviceIndex, c10::MempoolId_t) override {
  }
  caching::ShareableHandle shareIpcHandle(void*) override {
    return {};
  }
  std::shared_ptr<void> getIpcDevPtr(std::string) override {
    return nullptr;
  }
  void recordHistory(bool, c10::CachingDeviceAllocator::CreateContextFn, size_t,
                     c10::CachingDeviceAllocator::RecordContext, bool,
                     const std::vector<std::string>&) override {
  }
  void attachOutOfMemoryObserver(caching::OutOfMemoryObserver) override {
  }
  void attachOomRejectionObserver(caching::OomRejectionObserver) override {
  }
  void enablePeerAccess(DeviceIndex, DeviceIndex) override {
  }
  cudaError_t memcpyAsync(void*, int, const void*, int, size_t, cudaStream_t, bool) override {
    return cudaSuccess;
  }
  std::shared_ptr<caching::AllocatorState> getCheckpointState(DeviceIndex, c10::MempoolId_t) override {
    return nullptr;
  }
  caching::CheckpointDelta setCheckpointPoolState(DeviceIndex,
                                                  std::shared_ptr<caching::AllocatorState>) override {
    return {};
  }
  void resetAccumulatedStats(DeviceIndex) override {
  }
  void resetPeakStats(DeviceIndex) override {
  }
};

FakeBackend& backend() {
  static auto* const fake = new FakeBackend;
  return *fake;
}

// What the recorder was told.
struct Told {
  int32_t kind;
  int16_t device;
  uint64_t address;
  uint64_t size_bytes;
  uint64_t stream;
  char pool[48];
};

std::mutex told_mutex;
std::vector<Told> all_told;

void tell(const Told& told) {
  const std::lock_guard<std::mutex> lock(told_mutex);
  all_told.push_back(told);
}

std::vector<std::thread> threads;
std::atomic<bool> is_running{false};
std::atomic<uint64_t> operations{0};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void fake_event(int32_t kind, int16_t device, const void* address, size_t size_bytes, uint64_t stream,
                       const char* pool) {
  Told told{kind, device, reinterpret_cast<uintptr_t>(address), size_bytes, stream, {}};
  std::snprintf(told.pool, sizeof told.pool, "%s", pool == nullptr ? "" : pool);
  tell(told);
}

EXPORT void fake_oom(int16_t device, uint64_t requested_bytes) {
  tell({-1, device, 0, requested_bytes, 0, {}});
}

// Puts the backend in the place of torch's.
EXPORT void fake_set(const char* name, int is_initialized) {
  backend().backend = name;
  backend().is_initialized = is_initialized != 0;
  caching::allocator.store(&backend());
}

EXPORT void fake_use(size_t device, size_t block, size_t bytes, int is_deferred) {
  backend().use(device, block, bytes, is_deferred != 0);
}

EXPORT void fake_trace(size_t device, int action, size_t address, size_t size, uint64_t pool) {
  const std::lock_guard<std::recursive_mutex> lock(backend().devices[device].mutex);
  backend().trace(device, static_cast<Entry::Action>(action), address, size, static_cast<DeviceIndex>(device),
                  {0, pool});
}

EXPORT void fake_snapshot() {
  backend().snapshot({0, 0}, true);
}

EXPORT size_t fake_attached() {
  return backend().attached;
}

// 0 free, 1 allocated, 2 given up and still in use.
EXPORT int fake_state(size_t device, size_t block) {
  return static_cast<int>(backend().devices[device].blocks[block].use);
}

EXPORT void fake_start(size_t count) {
  is_running = true;
  for (size_t number = 0; number < count; number++) {
    threads.emplace_back([number] {
      std::mt19937 random(static_cast<uint32_t>(number + operations));
      while (is_running) {
        const uint32_t chance = random();
        backend().use(chance % kDevices, (chance >> 8) % kBlocks, 1 + (chance >> 16) % kBlockBytes,
                      chance >> 31);
        if (++operations % 64 == 0) {
          std::this_thread::yield();
        }
      }
    });
  }
}

EXPORT void fake_stop() {
  is_running = false;
  for (std::thread& thread : threads) {
    thread.join();
  }
  threads.clear();
}

EXPORT uint64_t fake_operations() {
  return operations;
}

EXPORT size_t fake_told(Told* told, size_t count) {
  const std::lock_guard<std::mutex> lock(told_mutex);
  std::copy_n(all_told.begin(), std::min(count, all_told.size()), told);
  return all_told.size();
}

EXPORT void fake_forget() {
  const std::lock_guard<std::mutex> lock(told_mutex);
  all_told.clear();
}
