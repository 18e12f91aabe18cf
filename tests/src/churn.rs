//! A deterministic program of allocations: what is alive after any number of its events is known without a recorder.

use std::collections::BTreeMap;

/// How long blocks that come and go are alive unless said otherwise, in events.
pub const LIFE: u64 = 2000;

/// An event of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Churn {
    /// Allocates.
    Alloc {
        /// Never used twice.
        address: u64,
        /// Bytes.
        size_bytes: u64,
    },
    /// Frees.
    Free {
        /// Of a block that is alive.
        address: u64,
    },
}

impl Churn {
    /// Event `number`, from 0: even ones allocate, odd ones free what was allocated `life` events ago, an even number; while there is
    /// nothing so old, they allocate too, for good.
    #[must_use]
    pub const fn event(number: u64, life: u64) -> Self {
        let is_free = number % 2 == 1 && number > life;
        if is_free {
            return Self::Free { address: number - 1 - life };
        }
        Self::Alloc { address: number, size_bytes: size_bytes(number) }
    }

    /// The number of the event that does this to that address.
    #[must_use]
    pub const fn number(is_free: bool, address: u64, life: u64) -> u64 {
        if is_free { address + 1 + life } else { address }
    }
}

/// Size of the block at an address.
#[must_use]
pub const fn size_bytes(address: u64) -> u64 {
    16 + 8 * (address % 1009)
}

/// What is alive, told in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alive {
    blocks: BTreeMap<u64, u64>,
    /// Sum of sizes.
    pub bytes: u64,
}

impl Alive {
    /// How many blocks.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// A block came.
    pub fn alloc(&mut self, address: u64, size_bytes: u64) {
        assert!(self.blocks.insert(address, size_bytes).is_none(), "{address} is alive already");
        self.bytes += size_bytes;
    }

    /// A block went.
    pub fn free(&mut self, address: u64) {
        self.bytes -= self.blocks.remove(&address).unwrap_or_else(|| panic!("{address} is not alive"));
    }

    /// Takes in an event of the program.
    pub fn apply(&mut self, event: Churn) {
        match event {
            Churn::Alloc { address, size_bytes } => self.alloc(address, size_bytes),
            Churn::Free { address } => self.free(address),
        }
    }
}
