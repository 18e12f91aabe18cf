//! The category of a block, and what that stands on.

use tidegauge_schemas::Category;

/// What a category stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// The framework told it.
    Tagged,
    /// A rule of the user's.
    Rule,
    /// Its life against the phases.
    Inferred,
    /// Nothing.
    Unknown,
}

impl Evidence {
    /// The word in data.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tagged => "tagged",
            Self::Rule => "rule",
            Self::Inferred => "inferred",
            Self::Unknown => "unknown",
        }
    }
}

/// What a block is for: one of PyTorch's words, or of the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A category.
    Category(Category),
    /// The rule of that number.
    Custom(u8),
}

impl Kind {
    /// The word for it; rules of the user's have names of their own, which [`super::Labels::name`] knows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Category(category) => category.as_str(),
            Self::Custom(_) => "custom",
        }
    }
}

/// Category of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// What it is for.
    pub kind: Kind,
    /// What that stands on.
    pub evidence: Evidence,
    /// Whether it is an activation that was made once more within backward.
    pub is_recomputed: bool,
}

impl Label {
    /// Of a block of which nothing is known.
    pub const UNKNOWN: Self =
        Self { kind: Kind::Category(Category::Unknown), evidence: Evidence::Unknown, is_recomputed: false };

    /// As the framework told it.
    #[must_use]
    pub const fn tagged(category: Category) -> Self {
        Self { kind: Kind::Category(category), evidence: Evidence::Tagged, is_recomputed: false }
    }

    /// Whether it is of that category.
    #[must_use]
    pub fn is(self, category: Category) -> bool {
        self.kind == Kind::Category(category)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_may_be_one_for_each_of_ten_million_blocks() {
        assert!(size_of::<Label>() <= 4, "{}", size_of::<Label>());
    }
}
