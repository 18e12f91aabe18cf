// What allocator_cpu.cpp and allocator_cuda.cpp share: where events go, what a call returns, how it says why
// it failed.
//
// Both are plain C functions for ctypes, compiled against the installed torch: no pybind11, which takes ten
// times as long to compile. The recorder is not linked: its functions come as addresses, so that one library
// in the cache serves every build of the recorder.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>

#include <c10/util/Exception.h>

#if defined(__GNUC__)
#define TIDEGAUGE_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define TIDEGAUGE_EXPORT extern "C"
#endif

namespace tidegauge {

// Codes of tidegauge_event: TIDEGAUGE_EVENT_… in tidegauge.h, and of the journal.
enum class Event : int32_t {
  Alloc = 1,
  Free = 2,
  FreeRequested = 3,
  FreeCompleted = 4,
  SegmentAlloc = 5,
  SegmentFree = 6,
  SegmentMap = 7,
  SegmentUnmap = 8,
  Oom = 9,
  Annotate = 10,
  Snapshot = 11,
  Baseline = 12,
};

constexpr int16_t kHost = -1;
constexpr uint64_t kNoStream = ~uint64_t{0};

// Codes of extension.py's Status.
enum Status : int32_t {
  kDone = 0,
  kAlready = 1,         // it was so before
  kCovered = 2,         // somebody has set another allocator on top of ours; it was left
  kNotInstalled = 3,    // there is nothing to take away
  kNotInitialized = 4,  // CUDA has not been used yet
  kUnsupported = 5,     // this allocator or version of torch cannot do it
  kFailed = 6,          // torch threw
};

using AllocFunction = void (*)(int16_t device, const void* address, size_t size_bytes);
using FreeFunction = void (*)(int16_t device, const void* address);
using OomFunction = void (*)(int16_t device, uint64_t requested_bytes);
using EventFunction = void (*)(int32_t kind, int16_t device, const void* address, size_t size_bytes,
                               uint64_t stream, const char* pool);

// Functions of the recorder, each safe in any thread, inside an allocator and without the interpreter lock,
// and a load and a branch when nothing records. Any may be null. They stay valid until the process ends.
struct Functions {
  AllocFunction alloc;
  FreeFunction free;
  OomFunction oom;
  EventFunction event;
};

// The functions as allocator calls of all threads read them, while a second recording may bring others.
class Sink {
 public:
  void set(const Functions& functions) {
    alloc_.store(functions.alloc, std::memory_order_release);
    free_.store(functions.free, std::memory_order_release);
    oom_.store(functions.oom, std::memory_order_release);
    event_.store(functions.event, std::memory_order_release);
  }

  void alloc(int16_t device, const void* address, size_t size_bytes) const {
    if (auto call = alloc_.load(std::memory_order_acquire)) {
      call(device, address, size_bytes);
    }
  }

  void free(int16_t device, const void* address) const {
    if (auto call = free_.load(std::memory_order_acquire)) {
      call(device, address);
    }
  }

  void oom(int16_t device, uint64_t requested_bytes) const {
    if (auto call = oom_.load(std::memory_order_acquire)) {
      call(device, requested_bytes);
    }
  }

  void event(Event kind, int16_t device, const void* address, size_t size_bytes, uint64_t stream,
             const char* pool) const {
    if (auto call = event_.load(std::memory_order_acquire)) {
      call(static_cast<int32_t>(kind), device, address, size_bytes, stream, pool);
    }
  }

 private:
  std::atomic<AllocFunction> alloc_{nullptr};
  std::atomic<FreeFunction> free_{nullptr};
  std::atomic<OomFunction> oom_{nullptr};
  std::atomic<EventFunction> event_{nullptr};
};

// Where a caller wants to read why a call failed: one line, cut at `length`.
struct Message {
  char* buffer;
  size_t length;

  Status operator()(Status status, const char* text) const {
    if (buffer != nullptr && length > 0) {
      const size_t bytes = std::min(std::strcspn(text, "\n"), length - 1);
      std::memcpy(buffer, text, bytes);
      buffer[bytes] = '\0';
    }
    return status;
  }
};

// Runs `body`; what it throws becomes a status and a message, since an exception must not leave an extern "C"
// function.
template <typename Body>
int32_t guarded(Message message, Body&& body) noexcept {
  try {
    return body();
  } catch (const c10::Error& error) {
    return message(kFailed, error.what_without_backtrace());
  } catch (const std::exception& error) {
    return message(kFailed, error.what());
  } catch (...) {
    return message(kFailed, "torch threw something that is no exception");
  }
}

}  // namespace tidegauge
