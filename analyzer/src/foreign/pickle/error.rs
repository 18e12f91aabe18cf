//! What is wrong with a pickle, and at which byte.

/// Why a pickle is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PickleError {
    /// It ends before its own end.
    #[error(
        "it ends in the middle, after {offset} bytes: it was not written to its end, or not copied to it"
    )]
    Truncated {
        /// Length of the content.
        offset: u64,
    },
    /// It would run code.
    #[error(
        "opcode {opcode} at byte {offset} would run code of the file's choice: a memory snapshot has no need of it, and \
         it is not done"
    )]
    RunsCode {
        /// Its name.
        opcode: &'static str,
        /// Where it is.
        offset: u64,
    },
    /// It refers to something outside of the file.
    #[error("opcode {opcode} at byte {offset} refers to something that is not in the file")]
    Elsewhere {
        /// Its name.
        opcode: &'static str,
        /// Where it is.
        offset: u64,
    },
    /// A byte that is no opcode.
    #[error("byte {code:#04x} at byte {offset} is no opcode of a pickle: the file is damaged")]
    UnknownOpcode {
        /// The byte.
        code: u8,
        /// Where it is.
        offset: u64,
    },
    /// A protocol that came after this program.
    #[error("pickle protocol {protocol} is not known, only those up to 5")]
    UnknownProtocol {
        /// Its number.
        protocol: u8,
    },
    /// An operation on what is not there, or of another kind.
    #[error(
        "opcode {opcode} at byte {offset} does not fit what comes before it ({expected} expected): the file is damaged"
    )]
    Misplaced {
        /// Its name.
        opcode: &'static str,
        /// What it needs.
        expected: &'static str,
        /// Where it is.
        offset: u64,
    },
    /// Something that was used already is changed.
    #[error(
        "the object that the opcode at byte {offset} adds to was complete already: no snapshot is written so"
    )]
    ChangedLater {
        /// Where it is.
        offset: u64,
    },
    /// A name that was never given.
    #[error("memo {index} that is used at byte {offset} was never stored: the file is damaged")]
    UnknownMemo {
        /// Its number.
        index: u64,
        /// Where it is used.
        offset: u64,
    },
    /// A length that cannot be.
    #[error(
        "{what} at byte {offset} claims {claimed} bytes, of which there are {available} at most: the file is damaged or hostile"
    )]
    TooLong {
        /// What has the length.
        what: &'static str,
        /// What it says.
        claimed: u64,
        /// What there can be.
        available: u64,
        /// Where it is.
        offset: u64,
    },
    /// Containers within containers.
    #[error("containers are nested more than {limit} deep at byte {offset}: no snapshot is")]
    TooDeep {
        /// How deep is allowed.
        limit: usize,
        /// Where it is.
        offset: u64,
    },
    /// It grows beyond what a file of its size needs.
    #[error(
        "it would take more than {limit_bytes} bytes of memory, which no snapshot of its size does (at byte {offset})"
    )]
    TooMuchMemory {
        /// How much is allowed.
        limit_bytes: u64,
        /// Where it is.
        offset: u64,
    },
    /// A number written as text that is none.
    #[error("the number at byte {offset} is none: the file is damaged")]
    NoNumber {
        /// Where it is.
        offset: u64,
    },
    /// The operating system.
    #[error("reading failed at byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// Its reason.
        #[source]
        source: std::io::Error,
    },
}

/// Result of reading a pickle.
pub(crate) type Result<T> = std::result::Result<T, PickleError>;
