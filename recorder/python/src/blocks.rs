//! Blocks by hand, and the addresses of the C functions by which torch's allocators tell of theirs.

use std::collections::BTreeMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tidegauge_recorder as tg;
use tidegauge_recorder::c_api;
use tidegauge_schemas::Category;

fn category(word: Option<&str>) -> PyResult<Option<Category>> {
    let of_word = |word: &str| {
        Category::from_text(word).ok_or_else(|| {
            let all: Vec<_> = Category::ALL.iter().map(|category| category.as_str()).collect();
            PyValueError::new_err(format!("no such category: {word:?}; there are {}", all.join(", ")))
        })
    };
    word.map(of_word).transpose()
}

/// Records a block of `size_bytes` at `address` on `device` (−1 the host, 0… accelerators). Call it after the block was
/// obtained.
#[pyfunction]
pub(crate) fn alloc(device: i16, address: u64, size_bytes: u64) {
    tg::alloc(device, address, size_bytes);
}

/// Records that a block is freed. Call it before it is given back.
#[pyfunction]
pub(crate) fn free(device: i16, address: u64) {
    tg::free(device, address);
}

/// Records a block that was alive before allocations were recorded.
#[pyfunction]
#[pyo3(signature = (device, address, size_bytes, category = None, site = None))]
pub(crate) fn baseline(
    device: i16,
    address: u64,
    size_bytes: u64,
    category: Option<&str>,
    site: Option<&str>,
) -> PyResult<()> {
    tg::baseline(device, address, size_bytes, self::category(category)?, site);
    Ok(())
}

/// Records what a living block is used for: for the whole of its life.
#[pyfunction]
#[pyo3(signature = (device, address, category = None, site = None))]
pub(crate) fn annotate(
    device: i16,
    address: u64,
    category: Option<&str>,
    site: Option<&str>,
) -> PyResult<()> {
    tg::annotate(device, address, self::category(category)?, site);
    Ok(())
}

/// Records that a device could not give so many bytes, and has what a ring keeps written.
#[pyfunction]
pub(crate) fn oom(device: i16, requested_bytes: u64) {
    tg::oom(device, requested_bytes);
}

/// Addresses of C functions, by name: they need no interpreter lock and may be called inside an allocator.
#[pyfunction]
pub(crate) fn functions() -> BTreeMap<&'static str, usize> {
    BTreeMap::from([
        ("tidegauge_alloc", c_api::tidegauge_alloc as *const () as usize),
        ("tidegauge_free", c_api::tidegauge_free as *const () as usize),
        ("tidegauge_event", c_api::tidegauge_event as *const () as usize),
        ("tidegauge_oom", c_api::tidegauge_oom as *const () as usize),
    ])
}
