//! What can be wrong with the description of a model.

/// What is wrong, and where: `at` is the path of the layer, `model` for what stands beside the layers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// It is no JSON with comments.
    #[error("not JSON with comments: {reason}")]
    Syntax {
        /// What the parser says, with the place.
        reason: String,
    },

    /// A key that means nothing here.
    #[error("{at}: unknown key `{key}`; known here: {known}")]
    UnknownKey {
        /// Where.
        at: String,
        /// The key.
        key: String,
        /// What is known there.
        known: String,
    },

    /// A name that means nothing.
    #[error("{at}: unknown {what} `{found}`; known: {known}")]
    UnknownWord {
        /// Where.
        at: String,
        /// What it is the name of.
        what: &'static str,
        /// The name.
        found: String,
        /// What is known.
        known: String,
    },

    /// A key that has to be there.
    #[error("{at}: `{key}` is missing; expected {expected}")]
    Missing {
        /// Where.
        at: String,
        /// The key.
        key: String,
        /// What it should be.
        expected: String,
    },

    /// A value of another kind, or one that makes no sense.
    #[error("{at}: expected `{key}` to be {expected}, found {found}")]
    Invalid {
        /// Where.
        at: String,
        /// The key.
        key: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },

    /// A layer cannot take what the one before it gives.
    #[error("{at}: expected {expected}, found {found}")]
    Shape {
        /// The layer.
        at: String,
        /// What it needs.
        expected: String,
        /// What it gets.
        found: String,
    },

    /// A size that no computer has.
    #[error("{at}: sizes beyond 2^63 bytes")]
    TooLarge {
        /// The layer.
        at: String,
    },

    /// More layers than can be meant.
    #[error("{at}: expected at most {most} layers with all copies of repeated ones")]
    TooMany {
        /// The layer.
        at: String,
        /// How many there may be.
        most: usize,
    },
}

/// The words between commas.
pub(super) fn known_words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
