// Records what torch allocates on the CPU: an allocator that wraps the one that torch uses.
//
// A free is recorded before the inner allocator gets the block back, an allocation after it handed the block
// out, so that no address is alive twice. Allocators are leaked on purpose: every storage keeps a pointer to
// the one that made it, for resize_ and copy-on-write, and every block keeps its deleter, both for longer
// than anything is recorded.
//
// Not seen, because it is not this allocator's: pinned memory, shared memory, files that are mapped, memory
// of NumPy.

#include "allocator_sink.h"

#include <array>
#include <memory>
#include <utility>

#include <c10/core/Allocator.h>
#include <c10/core/StorageImpl.h>

namespace tidegauge {
namespace {

Sink sink;
std::atomic<bool> is_recording{false};

// Allocators of ours that can lie on top of each other, with somebody else's between: see Layer.
constexpr size_t kMaxWrappers = 8;
std::atomic<size_t> wrapper_count{0};

// A call into one of our allocators. If another of them is below it, as it is when somebody's allocator was
// set on ours and we wrapped that in turn, only the outermost records. With one allocator, as nearly always,
// it costs a load and a branch.
class Layer {
 public:
  Layer() : is_counted_(C10_UNLIKELY(wrapper_count.load(std::memory_order_relaxed) > 1)) {
    is_outermost_ = !is_counted_ || depth_++ == 0;
  }
  ~Layer() {
    if (C10_UNLIKELY(is_counted_)) {
      depth_--;
    }
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  bool is_outermost() const {
    return is_outermost_;
  }

 private:
  inline static thread_local uint32_t depth_ = 0;
  const bool is_counted_;
  bool is_outermost_;
};

template <typename A>
auto copy_by(const A& allocator, void* to, const void* from, size_t bytes, int)
    -> decltype(allocator.copy_data(to, from, bytes)) {
  allocator.copy_data(to, from, bytes);
}

// Before 2.2 allocators copied nothing.
template <typename A>
void copy_by(const A&, void* to, const void* from, size_t bytes, long) {
  std::memcpy(to, from, bytes);
}

template <typename A>
auto is_simple_by(const A& allocator, const c10::DataPtr& block, int)
    -> decltype(allocator.is_simple_data_ptr(block)) {
  return allocator.is_simple_data_ptr(block);
}

template <typename A>
bool is_simple_by(const A&, const c10::DataPtr& block, long) {
  return block.get() == block.get_context();
}

// Wraps `inner`. Virtual functions are not marked `override`, and `allocate` is there twice: it was const
// before 2.3, copy_data and is_simple_data_ptr came with 2.2.
class RecordingAllocator final : public c10::Allocator {
 public:
  // `deleter` is a function of this object's own that calls `release`.
  RecordingAllocator(c10::Allocator* inner, c10::DeleterFnPtr deleter)
      : inner_(inner),
        is_raw_(inner->raw_deleter() != nullptr),
        deleter_(deleter),
        inner_deleter_(inner->raw_deleter()) {
  }

  c10::DataPtr allocate(size_t bytes) {
    return take(bytes);
  }

  c10::DataPtr allocate(size_t bytes) const {
    return take(bytes);
  }

  c10::DeleterFnPtr raw_deleter() const {
    return is_raw_ ? deleter_ : nullptr;
  }

  void copy_data(void* to, const void* from, std::size_t bytes) const {
    copy_by(*inner_, to, from, bytes, 0);
  }

  bool is_simple_data_ptr(const c10::DataPtr& block) const {
    // Of a simple one torch takes the context for the address.
    if (block.get_deleter() == &Wrapped::release) {
      return false;
    }
    return is_simple_by(*inner_, block, 0);
  }

  // Gives back a block whose context is its address.
  void release(void* block) const {
    const Layer layer;
    if (layer.is_outermost()) {
      sink.free(kHost, block);
    }
    inner_deleter_.load(std::memory_order_relaxed)(block);
  }

  // Has the free of a block recorded that the inner allocator made before we were there. Returns whether it
  // will be.
  bool adopt(c10::DataPtr& block) const {
    const c10::DeleterFnPtr inner_deleter = inner_deleter_.load(std::memory_order_relaxed);
    return inner_deleter != nullptr && block.get() == block.get_context() &&
           block.compare_exchange_deleter(inner_deleter, deleter_);
  }

  bool has_made(const c10::DataPtr& block) const {
    return block.get_deleter() == deleter_;
  }

  c10::Allocator* inner() const {
    return inner_;
  }

 private:
  // The context of a block whose inner allocator has contexts of its own.
  struct Wrapped {
    c10::DataPtr block;

    static void release(void* context) {
      const std::unique_ptr<Wrapped> wrapped(static_cast<Wrapped*>(context));
      const Layer layer;
      if (layer.is_outermost()) {
        sink.free(kHost, wrapped->block.get());
      }
      wrapped->block.clear();
    }
  };

  c10::DataPtr take(size_t bytes) const {
    const Layer layer;
    const bool is_recorded = layer.is_outermost() && is_recording.load(std::memory_order_relaxed);
    c10::DataPtr block = take_inner(bytes, is_recorded);
    void* const address = block.get();
    if (!exchange_deleter(block)) {
      // One that breaks its promise of a raw deleter is left alone, and where nothing was allocated there is
      // nothing to do.
      if (is_raw_ || address == nullptr) {
        return block;
      }
      const c10::Device device = block.device();
      auto wrapped = std::make_unique<Wrapped>();
      wrapped->block = std::move(block);
      block = c10::DataPtr(address, wrapped.get(), &Wrapped::release, device);
      wrapped.release();
    }
    // Of nothing there is no address.
    if (address != nullptr && is_recorded) {
      sink.alloc(kHost, address, bytes);
    }
    return block;
  }

  // Puts our deleter in the place of the inner one, if the block's context is its address. An allocator that
  // promises nothing may have one deleter all the same: it is learned from the first block.
  bool exchange_deleter(c10::DataPtr& block) const {
    if (block.get() != block.get_context()) {
      return false;
    }
    c10::DeleterFnPtr known = inner_deleter_.load(std::memory_order_relaxed);
    if (C10_UNLIKELY(known == nullptr)) {
      if (block.get() == nullptr || block.get_deleter() == nullptr) {
        return false;
      }
      inner_deleter_.compare_exchange_strong(known, block.get_deleter());
      known = inner_deleter_.load(std::memory_order_relaxed);
    }
    return block.compare_exchange_deleter(known, deleter_);
  }

  c10::DataPtr take_inner(size_t bytes, bool is_recorded) const {
    try {
      return inner_->allocate(bytes);
    } catch (...) {
      // More than half of the address space is a negative size: the program's mistake, not want of memory.
      if (is_recorded && bytes <= static_cast<size_t>(PTRDIFF_MAX)) {
        sink.oom(kHost, bytes);
      }
      throw;
    }
  }

  c10::Allocator* const inner_;
  const bool is_raw_;
  const c10::DeleterFnPtr deleter_;
  // Of blocks whose context is their address; null until it is known, the same from then on.
  mutable std::atomic<c10::DeleterFnPtr> inner_deleter_;
};

// A raw deleter gets an address and nothing else, so each allocator has a deleter of its own, which knows it
// by number.
std::array<RecordingAllocator*, kMaxWrappers> wrappers{};

template <size_t Number>
void release_of(void* block) {
  wrappers[Number]->release(block);
}

template <size_t... Numbers>
constexpr std::array<c10::DeleterFnPtr, kMaxWrappers> make_deleters(std::index_sequence<Numbers...>) {
  return {&release_of<Numbers>...};
}

constexpr std::array<c10::DeleterFnPtr, kMaxWrappers> deleters =
    make_deleters(std::make_index_sequence<kMaxWrappers>{});

// Ours among the allocators, or null.
RecordingAllocator* ours(const c10::Allocator* allocator) {
  for (size_t number = 0; number < wrapper_count.load(std::memory_order_relaxed); number++) {
    if (wrappers[number] == allocator) {
      return wrappers[number];
    }
  }
  return nullptr;
}

// The allocator that wraps the present one, or is it; null when there are too many.
RecordingAllocator* wrapper_of(c10::Allocator* present) {
  if (RecordingAllocator* const wrapper = ours(present)) {
    return wrapper;
  }
  const size_t number = wrapper_count.load(std::memory_order_relaxed);
  for (size_t known = 0; known < number; known++) {
    if (wrappers[known]->inner() == present) {
      return wrappers[known];
    }
  }
  if (number == kMaxWrappers) {
    return nullptr;
  }
  // Leaked: see the top of this file.
  wrappers[number] = new RecordingAllocator(present, deleters[number]);
  wrapper_count.store(number + 1, std::memory_order_release);
  return wrappers[number];
}

// SetAllocator ignores a priority below that of the allocator that is there, says nothing, and keeps what it
// got: so the lowest that works, which leaves it as it is.
bool set_allocator(c10::Allocator* allocator) {
  for (int priority = 0; priority <= UINT8_MAX; priority++) {
    c10::SetAllocator(c10::DeviceType::CPU, allocator, static_cast<uint8_t>(priority));
    if (c10::GetAllocator(c10::DeviceType::CPU) == allocator) {
      return true;
    }
  }
  return false;
}

}  // namespace
}  // namespace tidegauge

using namespace tidegauge;

// All of these are called with the interpreter lock held, one at a time.

// Readies the wrapper of the present allocator, without setting it: tidegauge_torch_adopt_cpu works from here
// on.
TIDEGAUGE_EXPORT int32_t tidegauge_torch_prepare_cpu(const Functions* functions, char* buffer,
                                                     size_t length) {
  const Message message{buffer, length};
  return guarded(message, [&] {
    if (wrapper_of(c10::GetAllocator(c10::DeviceType::CPU)) == nullptr) {
      return message(kUnsupported, "more different CPU allocators were set than can be followed");
    }
    sink.set(*functions);
    return kDone;
  });
}

// Has every allocation from here on go through us and be recorded.
TIDEGAUGE_EXPORT int32_t tidegauge_torch_install_cpu(const Functions* functions, char* buffer,
                                                     size_t length) {
  const Message message{buffer, length};
  return guarded(message, [&] {
    c10::Allocator* const present = c10::GetAllocator(c10::DeviceType::CPU);
    RecordingAllocator* const wrapper = wrapper_of(present);
    if (wrapper == nullptr) {
      return message(kUnsupported, "more different CPU allocators were set than can be followed");
    }
    sink.set(*functions);
    if (wrapper != present && !set_allocator(wrapper)) {
      return message(kFailed, "torch did not take another CPU allocator");
    }
    return is_recording.exchange(true) && wrapper == present ? kAlready : kDone;
  });
}

// Ends recording of allocations and sets the former allocator again, unless somebody has set theirs on top of
// ours. Frees of blocks that came through us go through us until the last.
TIDEGAUGE_EXPORT int32_t tidegauge_torch_uninstall_cpu(char* buffer, size_t length) {
  const Message message{buffer, length};
  return guarded(message, [&] {
    const bool was_recording = is_recording.exchange(false);
    RecordingAllocator* const wrapper = ours(c10::GetAllocator(c10::DeviceType::CPU));
    if (wrapper == nullptr) {
      return was_recording
                 ? message(kCovered,
                           "another CPU allocator was set on top of Tidegauge's, which stays below it")
                 : kNotInstalled;
    }
    return set_allocator(wrapper->inner())
               ? kDone
               : message(kFailed, "torch did not take its own CPU allocator back");
  });
}

// What became of a storage's block: see tidegauge_torch_adopt_cpu.
struct Adopted {
  const void* address;
  uint64_t size_bytes;
};

// Has the free of a storage's block recorded, whether it was allocated before us or by us. kDone: it was
// allocated before us; kAlready: through us; kUnsupported: its free cannot be seen. `storage` is a
// c10::StorageImpl that stays alive.
TIDEGAUGE_EXPORT int32_t tidegauge_torch_adopt_cpu(void* storage, Adopted* adopted, char* buffer,
                                                   size_t length) {
  const Message message{buffer, length};
  return guarded(message, [&] {
    auto* const impl = static_cast<c10::StorageImpl*>(storage);
    if (impl == nullptr || impl->device_type() != c10::DeviceType::CPU) {
      return kUnsupported;
    }
    // The mutable accessor would make a lazy clone's copy.
    auto& block = const_cast<c10::DataPtr&>(static_cast<const c10::StorageImpl*>(impl)->data_ptr());
    if (block.get() == nullptr) {
      return kUnsupported;
    }
    *adopted = Adopted{block.get(), impl->nbytes()};
    const size_t count = wrapper_count.load(std::memory_order_relaxed);
    for (size_t number = 0; number < count; number++) {
      if (wrappers[number]->has_made(block)) {
        return kAlready;
      }
    }
    for (size_t number = 0; number < count; number++) {
      if (wrappers[number]->adopt(block)) {
        return kDone;
      }
    }
    return kUnsupported;
  });
}
