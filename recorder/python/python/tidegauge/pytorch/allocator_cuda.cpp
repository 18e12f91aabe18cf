// Records what torch's caching allocator does on CUDA devices: a callback that the allocator calls for each
// entry of its trace.
//
// The callback runs under the lock of its device. It takes neither the interpreter's lock nor device memory,
// and torch has no call to take it away: switched off it is a load and a branch.
//
// What is there when recording begins comes from the allocator's snapshot. Taking it puts an entry SNAPSHOT
// into the trace under the same lock: entries of a device before that are in the snapshot and are dropped,
// later ones wait until the snapshot has been written. So no block is missed or told twice, whatever other
// threads do meanwhile.

#include "allocator_sink.h"

#include <array>
#include <cstdio>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include <c10/cuda/CUDACachingAllocator.h>

// Version of torch, major * 1000 + minor. Its own header for that was moved more than once.
#ifndef TIDEGAUGE_TORCH
#error "TIDEGAUGE_TORCH is not defined"
#endif

namespace tidegauge {
namespace {

namespace caching = c10::cuda::CUDACachingAllocator;
using Backend = caching::CUDAAllocator;

#if TIDEGAUGE_TORCH >= 2002

using Entry = caching::TraceEntry;

// Pool (0, 0) is the default one; others are of CUDA graphs and of torch.cuda.MemPool.
using PoolId = std::pair<unsigned long long, unsigned long long>;

template <typename E>
auto pool_of(const E& entry, int) -> decltype(PoolId(entry.mempool_)) {
  return entry.mempool_;
}

// Before 2.8 entries did not tell.
template <typename E>
PoolId pool_of(const E&, long) {
  return {0, 0};
}

// Without traces, which may have millions of entries, where that can be said.
template <typename A>
auto snapshot_of(A* allocator, int) -> decltype(allocator->snapshot({0, 0}, false)) {
  return allocator->snapshot({0, 0}, false);
}

template <typename A>
auto snapshot_of(A* allocator, long) {
  return allocator->snapshot();
}

struct Record {
  Event kind;
  int16_t device;
  uintptr_t address;
  size_t size_bytes;
  uint64_t stream;
  PoolId pool;
};

Sink sink;

void write(const Record& record) {
  if (record.kind == Event::Oom) {
    sink.oom(record.device, record.size_bytes);
    return;
  }
  char name[56];
  const bool is_private = record.pool != PoolId{0, 0};
  if (is_private) {
    std::snprintf(name, sizeof name, "private:%llu:%llu", record.pool.first, record.pool.second);
  }
  sink.event(record.kind, record.device, reinterpret_cast<const void*>(record.address), record.size_bytes,
             record.stream, is_private ? name : nullptr);
}

enum class State : int {
  Snapshotting,  // what happens is in the snapshot that is still to be taken
  Waiting,       // the snapshot was taken and is not written yet
  Direct,
};

// More than any torch has: device numbers are of eight bits.
constexpr size_t kMaxDevices = 128;

// What is between the callbacks of a device, which come one at a time, and the thread that attaches.
struct Device {
  std::atomic<State> state{State::Direct};
  std::mutex mutex;  // of the following
  std::vector<Record> waiting;
};

// Leaked, since callbacks may come until the process has ended.
std::array<Device, kMaxDevices>& devices() {
  static auto* const all = new std::array<Device, kMaxDevices>;
  return *all;
}

std::atomic<bool> is_recording{false};

// On the thread that takes our snapshot: the device whose snapshot comes next. Elsewhere none. An entry
// SNAPSHOT does not tell its device (it always says 0), but devices are taken in order.
constexpr size_t kNotOurs = SIZE_MAX;
thread_local size_t next_snapshot = kNotOurs;

void deliver(Device& device, const Record& record) {
  if (device.state.load(std::memory_order_acquire) != State::Direct) {
    const std::lock_guard<std::mutex> lock(device.mutex);
    switch (device.state.load(std::memory_order_relaxed)) {
      case State::Snapshotting:
        return;
      case State::Waiting:
        device.waiting.push_back(record);
        return;
      case State::Direct:
        break;
    }
  }
  write(record);
}

void on_entry(const Entry& entry) noexcept {
  if (!is_recording.load(std::memory_order_acquire)) {
    return;
  }
  const auto index = static_cast<size_t>(entry.device_);
  if (index >= kMaxDevices) {
    return;
  }
  // Sizes are what was asked for; of segments, what they have; frees get theirs from their allocation.
  Record record{Event::Alloc,
                static_cast<int16_t>(entry.device_),
                static_cast<uintptr_t>(entry.addr_),
                static_cast<size_t>(entry.size_),
                reinterpret_cast<uintptr_t>(entry.stream_),
                pool_of(entry, 0)};
  switch (entry.action_) {
    case Entry::ALLOC:
      break;
    case Entry::FREE_REQUESTED:
      record.kind = Event::FreeRequested;
      record.size_bytes = 0;
      break;
    case Entry::FREE_COMPLETED:
      record.kind = Event::FreeCompleted;
      record.size_bytes = 0;
      break;
    case Entry::SEGMENT_ALLOC:
      record.kind = Event::SegmentAlloc;
      break;
    case Entry::SEGMENT_FREE:
      record.kind = Event::SegmentFree;
      break;
    case Entry::SEGMENT_MAP:
      record.kind = Event::SegmentMap;
      break;
    case Entry::SEGMENT_UNMAP:
      record.kind = Event::SegmentUnmap;
      break;
    case Entry::OOM:
      // The address is what the device had free, the size the rounded request.
      record.kind = Event::Oom;
      break;
    case Entry::SNAPSHOT:
      if (next_snapshot != kNotOurs) {
        if (next_snapshot < kMaxDevices) {
          Device& device = devices()[next_snapshot++];
          const std::lock_guard<std::mutex> lock(device.mutex);
          device.state.store(State::Waiting, std::memory_order_release);
        }
        return;
      }
      record = Record{Event::Snapshot, record.device, 0, 0, kNoStream, PoolId{0, 0}};
      break;
    default:
      // ANNOTATE and what is to come move no curve.
      return;
  }
  try {
    deliver(devices()[index], record);
  } catch (...) {
    // No memory to keep it while the snapshot is written. Training goes on.
  }
}

template <typename Segments>
void write_segments(const Segments& segments) {
  for (const auto& segment : segments) {
    const auto device = static_cast<int16_t>(segment.device);
    const auto stream = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(segment.stream));
    const PoolId pool = segment.owner_private_pool_id;
    auto address = static_cast<uintptr_t>(segment.address);
    // Each mapped range of an expandable segment is one of these.
    const Event kind = segment.is_expandable ? Event::SegmentMap : Event::SegmentAlloc;
    write({kind, device, address, static_cast<size_t>(segment.total_size), stream, pool});
    for (const auto& block : segment.blocks) {
      // Active and not allocated: the program gave it up, another stream may still use it.
      if (block.allocated || block.active) {
        const auto requested = static_cast<size_t>(block.requested_size);
        write({Event::Baseline, device, address, requested, stream, pool});
        if (!block.allocated) {
          write({Event::FreeRequested, device, address, 0, stream, pool});
        }
      }
      address += static_cast<uintptr_t>(block.size);
    }
  }
}

// Writes what has come to a device since its snapshot, and lets the rest through.
void release(Device& device) {
  std::vector<Record> records;
  while (true) {
    {
      const std::lock_guard<std::mutex> lock(device.mutex);
      records.clear();
      records.swap(device.waiting);
      if (records.empty()) {
        device.state.store(State::Direct, std::memory_order_release);
        return;
      }
    }
    for (const Record& record : records) {
      write(record);
    }
  }
}

void set_state(State state) {
  for (Device& device : devices()) {
    const std::lock_guard<std::mutex> lock(device.mutex);
    device.waiting.clear();
    device.state.store(state, std::memory_order_release);
  }
}

// Takes the snapshot; what it throws leaves nothing switched on.
auto take_snapshot(Backend* backend) {
  struct Reset {
    bool is_taken = false;
    ~Reset() {
      next_snapshot = kNotOurs;
      if (!is_taken) {
        is_recording.store(false, std::memory_order_release);
        set_state(State::Direct);
      }
    }
  } reset;
  set_state(State::Snapshotting);
  next_snapshot = 0;
  is_recording.store(true, std::memory_order_release);
  auto snapshot = snapshot_of(backend, 0);
  reset.is_taken = true;
  return snapshot;
}

// One thread at a time attaches or detaches.
std::mutex attaching;
// The allocators that have our callback. There is one, but for programs that exchange it.
std::vector<Backend*> attached;

Status attach(Backend* backend, const Functions& functions, Message message) {
  const std::lock_guard<std::mutex> lock(attaching);
  if (is_recording.load(std::memory_order_relaxed)) {
    return kAlready;
  }
  if (functions.event == nullptr) {
    return message(kUnsupported, "the recorder has no function for events of devices");
  }
  sink.set(functions);
  if (std::find(attached.begin(), attached.end(), backend) == attached.end()) {
    attached.reserve(attached.size() + 1);
    backend->attachAllocatorTraceTracker(&on_entry);
    attached.push_back(backend);
  }
  write_segments(take_snapshot(backend).segments);
  for (Device& device : devices()) {
    release(device);
  }
  return kDone;
}

#else

std::atomic<bool> is_recording{false};

Status attach(Backend*, const Functions&, Message message) {
  return message(kUnsupported, "torch has told others of its CUDA allocations only since 2.2");
}

#endif

// The allocator, if CUDA is in use: asking before would not initialize CUDA, attaching before would do
// nothing.
Backend* backend_in_use() {
  Backend* const backend = caching::get();
  return backend != nullptr && backend->initialized() ? backend : nullptr;
}

}  // namespace
}  // namespace tidegauge

using namespace tidegauge;

// Has everything that the allocator does on any device from here on recorded, after the segments and blocks
// that it has.
TIDEGAUGE_EXPORT int32_t tidegauge_torch_attach_cuda(const Functions* functions, char* buffer,
                                                     size_t length) {
  const Message message{buffer, length};
  return guarded(message, [&] {
    Backend* const backend = backend_in_use();
    if (backend == nullptr) {
      return message(kNotInitialized, "CUDA has not been initialized yet");
    }
    try {
      return attach(backend, *functions, message);
    } catch (const c10::Error& error) {
      // Only the native backend has a trace.
      return backend->name() == "native" ? message(kFailed, error.what_without_backtrace())
                                         : message(kUnsupported, error.what_without_backtrace());
    }
  });
}

// Ends recording. The callback stays and does nothing.
TIDEGAUGE_EXPORT int32_t tidegauge_torch_detach_cuda() {
  return is_recording.exchange(false, std::memory_order_acq_rel) ? kDone : kNotInstalled;
}

// The allocator's counters of a device, in bytes as it rounds them, but for what was requested.
struct CudaCounters {
  int64_t allocated_bytes;
  int64_t allocated_peak_bytes;
  int64_t active_bytes;
  int64_t active_peak_bytes;
  int64_t reserved_bytes;
  int64_t reserved_peak_bytes;
  int64_t requested_bytes;
  int64_t requested_peak_bytes;
  int64_t retries;
  int64_t ooms;
};

// Reads the counters of a device. Takes the device's lock for a moment and not the interpreter's: for
// samplers.
TIDEGAUGE_EXPORT int32_t tidegauge_torch_cuda_counters(int32_t device, CudaCounters* counters, char* buffer,
                                                       size_t length) {
  const Message message{buffer, length};
  return guarded(message, [&] {
    Backend* const backend = backend_in_use();
    if (backend == nullptr) {
      return message(kNotInitialized, "CUDA has not been initialized yet");
    }
    const auto stats = backend->getDeviceStats(static_cast<c10::DeviceIndex>(device));
    // The first of each array is the sum over small and large blocks.
    *counters = CudaCounters{stats.allocated_bytes[0].current, stats.allocated_bytes[0].peak,
                             stats.active_bytes[0].current,    stats.active_bytes[0].peak,
                             stats.reserved_bytes[0].current,  stats.reserved_bytes[0].peak,
                             stats.requested_bytes[0].current, stats.requested_bytes[0].peak,
                             stats.num_alloc_retries,          stats.num_ooms};
    return kDone;
  });
}
