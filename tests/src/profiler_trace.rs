//! A trace as PyTorch's profiler writes it, of any length: training steps with operators, Python functions, kernels, calls of
//! the driver, arrows and allocations, in about the proportions of a real recording with stacks.

use std::io::{self, Write};

/// Layers of the network; each has an activation.
const LAYERS: u64 = 50;
const BATCH_BYTES: i64 = 4 << 20;
const PARAMETER_BYTES: i64 = 512 << 20;

/// What the trace should be found to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file.
    pub bytes: u64,
    /// Events.
    pub events: u64,
    /// Allocations and frees.
    pub memory_events: u64,
    /// Training steps.
    pub steps: u64,
    /// Largest Total Allocated.
    pub peak_bytes: i64,
}

struct Trace<W> {
    out: W,
    written: Written,
    /// Thousandths of a microsecond.
    nanos: u64,
    allocated: i64,
}

/// Writes whole steps until the file has `bytes` or more.
///
/// # Errors
/// If writing fails.
pub fn write(out: impl Write, bytes: u64) -> io::Result<Written> {
    let mut trace =
        Trace { out, written: Written::default(), nanos: 2_211_714_153_399_540, allocated: PARAMETER_BYTES };
    trace.put(
        "\n{\n  \"schemaVersion\": 1,\n  \"deviceProperties\": [\n    {\n      \"id\": 0, \"name\": \"NVIDIA A100-PCIE-40GB\", \
         \"totalGlobalMem\": 42346610688\n    }\n  ],\n  \"profile_memory\": 1,\n  \"with_stack\": 1,\n  \"traceEvents\": [",
    )?;
    while trace.written.bytes < bytes {
        trace.step()?;
    }
    trace.put(
        "\n  ],\n  \"traceName\": \"trace.json\",\n  \"baseTimeNanoseconds\": 1751410836000000000\n}\n",
    )?;
    trace.out.flush()?;
    Ok(trace.written)
}

impl<W: Write> Trace<W> {
    fn put(&mut self, text: &str) -> io::Result<()> {
        self.written.bytes += text.len() as u64;
        self.out.write_all(text.as_bytes())
    }

    fn event(&mut self, text: &str) -> io::Result<()> {
        let comma = if self.written.events == 0 { "" } else { "," };
        self.written.events += 1;
        self.put(&format!("{comma}\n  {{\n    {text}\n  }}"))
    }

    fn time(nanos: u64) -> String {
        format!("{}.{:03}", nanos / 1000, nanos % 1000)
    }

    fn call(&mut self, category: &str, name: &str, begin: u64, nanos: u64, args: &str) -> io::Result<()> {
        let (begin, took) = (Self::time(begin), Self::time(nanos));
        self.event(&format!(
            "\"ph\": \"X\", \"cat\": \"{category}\", \"name\": \"{name}\", \"pid\": 14646, \"tid\": 14646,\n    \
             \"ts\": {begin}, \"dur\": {took},\n    \"args\": {{\n      {args}\n    }}"
        ))
    }

    fn memory(&mut self, at: u64, address: u64, bytes: i64) -> io::Result<()> {
        self.allocated += bytes;
        self.written.memory_events += 1;
        self.written.peak_bytes = self.written.peak_bytes.max(self.allocated);
        let (at, allocated, number) = (Self::time(at), self.allocated, self.written.events);
        self.event(&format!(
            "\"ph\": \"i\", \"cat\": \"cpu_instant_event\", \"s\": \"t\", \"name\": \"[memory]\", \"pid\": 14646, \"tid\": 14646,\n    \
             \"ts\": {at},\n    \"args\": {{\n      \"Total Reserved\": 2973761536, \"Total Allocated\": {allocated}, \
             \"Bytes\": {bytes}, \"Device Id\": 0, \"Device Type\": 1, \"Addr\": {address}, \"finished\": true, \
             \"Ev Idx\": {number}\n    }}"
        ))
    }

    /// An operator with what surrounds it in a trace.
    fn operator(&mut self, name: &str, inner: &str, layer: u64, memory: &[(u64, i64)]) -> io::Result<()> {
        let begin = self.nanos;
        let id = self.written.events;
        for (depth, function) in ["forward", "_wrapped_call_impl", "_call_impl", "linear"].iter().enumerate()
        {
            let (offset, line) = (depth as u64 * 100, 100 + layer);
            self.call(
                "python_function",
                &format!("torch/nn/modules/module.py({line}): {function}"),
                begin + offset,
                20_000 - 2 * offset,
                &format!(
                    "\"Python parent id\": {id}, \"Python id\": {}, \"finished\": true, \"Ev Idx\": {id}",
                    id + 1
                ),
            )?;
        }
        let args = format!(
            "\"External id\": {id}, \"Record function id\": 0, \"Concrete Inputs\": [\"\", \"11\", \"False\", \"False\", \"\"], \
             \"Input type\": [\"float\", \"Scalar\", \"Scalar\", \"Scalar\", \"\"], \"Input Strides\": [[128, 128, 1], [], [], [], \
             []], \"Input Dims\": [[64, 1, 128], [], [], [], []], \"Ev Idx\": {id}"
        );
        self.call("cpu_op", name, begin + 500, 18_000, &args)?;
        self.call("cpu_op", inner, begin + 1000, 16_000, &args)?;
        for (number, (address, bytes)) in memory.iter().enumerate() {
            self.memory(begin + 2000 + number as u64 * 10, *address, *bytes)?;
        }
        self.call(
            "cuda_runtime",
            "cudaLaunchKernel",
            begin + 5000,
            4000,
            &format!("\"External id\": {id}, \"cbid\": 211, \"correlation\": {id}"),
        )?;
        let at = Self::time(begin + 5000);
        self.event(&format!(
            "\"ph\": \"s\", \"id\": {id}, \"pid\": 14646, \"tid\": 14646, \"ts\": {at}, \"cat\": \"ac2g\", \"name\": \"ac2g\""
        ))?;
        let (start, took) = (Self::time(begin + 9000), Self::time(3000));
        self.event(&format!(
            "\"ph\": \"X\", \"cat\": \"kernel\", \"name\": \"void at::native::unrolled_elementwise_kernel<at::native::\
             direct_copy_kernel_cuda(at::TensorIteratorBase&)::{{lambda()#3}}, at::detail::Array<char*, 2> >(int)\", \"pid\": 0, \
             \"tid\": 7, \"ts\": {start}, \"dur\": {took},\n    \"args\": {{\"External id\": {id}, \"queued\": 0, \"device\": 0, \
             \"context\": 1, \"stream\": 7, \"correlation\": {id}, \"registers per thread\": 16, \"shared memory\": 0, \
             \"blocks per SM\": 0.3, \"warps per SM\": inf, \"grid\": [24, 1, 1], \"block\": [128, 1, 1]}}"
        ))?;
        self.nanos += 21_000;
        Ok(())
    }

    fn step(&mut self) -> io::Result<()> {
        let begin = self.nanos;
        let number = self.written.steps;
        let address = |layer: u64| 140_000_000_000_000 + layer * (BATCH_BYTES as u64);
        self.nanos += 1000;
        for layer in 0..LAYERS {
            self.operator("aten::linear", "aten::addmm", layer, &[(address(layer), BATCH_BYTES)])?;
        }
        let workspace = address(LAYERS);
        for layer in (0..LAYERS).rev() {
            let memory =
                [(workspace, BATCH_BYTES), (workspace, -BATCH_BYTES), (address(layer), -BATCH_BYTES)];
            self.operator("autograd::engine::evaluate_function: AddmmBackward0", "aten::mm", layer, &memory)?;
        }
        self.operator("Optimizer.step#SGD.step", "aten::add_", 0, &[])?;
        let took = self.nanos - begin;
        self.call("user_annotation", &format!("ProfilerStep#{number}"), begin, took, "\"External id\": 1")?;
        self.written.steps += 1;
        self.nanos += 1000;
        Ok(())
    }
}
