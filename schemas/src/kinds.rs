//! The closed vocabularies of the format: event kinds, checkpoint kinds and categories.
//!
//! In files they are text; in the journal and in memory they are one-byte codes. A text that this version does
//! not know is for the reader to count, never an error.

/// Defines an enum with a stable code, a text and a line of documentation for each variant.
macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $code:literal, $text:literal, $doc:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum $name { $(#[doc = $doc] $variant = $code,)+ }

        impl $name {
            /// Every member, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The text that stands in files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// What it means, one line.
            #[must_use]
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$variant => $doc,)+ }
            }

            /// The member of that text, if this version knows it.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }

            /// The member of that journal code, if this version knows it.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

vocabulary! {
    /// What an allocation event did. Names follow PyTorch's allocator trace.
    EventKind {
        Alloc = 1, "alloc", "a block was handed out; raises allocated and active";
        Free = 2, "free", "a block was requested back and returned at once (CPU, Rust); lowers allocated and active";
        FreeRequested = 3, "free_requested", "the program gave the block up, a stream may still use it; lowers allocated";
        FreeCompleted = 4, "free_completed", "no stream uses the block any more; lowers active";
        SegmentAlloc = 5, "segment_alloc", "memory was taken from the device; raises reserved";
        SegmentFree = 6, "segment_free", "memory was returned to the device; lowers reserved";
        SegmentMap = 7, "segment_map", "pages of an expandable segment were mapped; raises reserved";
        SegmentUnmap = 8, "segment_unmap", "pages of an expandable segment were unmapped; lowers reserved";
        Oom = 9, "oom", "an allocation failed; `size_bytes` is what was asked for; moves no curve";
        Annotate = 10, "annotate", "tells the category or site of a block that is alive; applies to its whole life; moves no curve";
        Snapshot = 11, "snapshot", "a snapshot was taken here; moves no curve";
        Baseline = 12, "baseline", "a block that was alive when a recorded window opened; bears the `seq` and time of its allocation; raises allocated and active; without an address, the sum of blocks that are not known one by one, or what keeps the books balanced, which is no event of the device and may be negative";
        SegmentBaseline = 13, "segment_baseline", "memory that was held from the device when a recorded window opened; raises reserved; without an address, by how much reserved changed as far as only its total is known, and may be negative";
        BaselinePending = 14, "baseline_pending", "a block that was freed and still used by a stream when a recorded window opened; raises active";
    }
}

vocabulary! {
    /// What a checkpoint marks.
    CheckpointKind {
        Mark = 32, "mark", "a moment; ends the phase that bears its name";
        SpanBegin = 33, "span_begin", "a named phase begins on this thread";
        SpanEnd = 34, "span_end", "the innermost open phase of that name on this thread ends";
        StepBegin = 35, "step_begin", "a training step begins";
        StepEnd = 36, "step_end", "a training step ends; `value` is its loss where known";
        EpochBegin = 37, "epoch_begin", "an epoch begins";
        EpochEnd = 38, "epoch_end", "an epoch ends";
        LossEvaluation = 39, "loss_evaluation", "a black-box optimizer evaluated the loss; `value` is the loss";
        Alert = 40, "alert", "a threshold was crossed; `name` is the rule, `value` the metric's value";
        Oom = 41, "oom", "the framework raised out-of-memory";
        Config = 42, "config", "a configuration value changed; `name` is the key, `value` its number";
    }
}

vocabulary! {
    /// What a block is for, in the words of PyTorch's memory timeline.
    Category {
        Parameter = 1, "parameter", "weights";
        OptimizerState = 2, "optimizer_state", "moments and other state that the optimizer keeps between steps";
        Input = 3, "input", "data of the batch";
        Temporary = 4, "temporary", "allocated and freed within one phase";
        Activation = 5, "activation", "made in the forward pass, kept for the backward pass";
        Gradient = 6, "gradient", "gradients of parameters";
        AutogradDetail = 7, "autograd_detail", "allocated by the backward engine for its own use";
        Unknown = 8, "unknown", "none of these could be told";
    }
}

/// Journal code of a sample (a counter's value); samples have no kind of their own.
pub const SAMPLE_CODE: u8 = 64;
/// Journal code of a sample of a device or of the node.
pub const NODE_SAMPLE_CODE: u8 = 65;
/// Journal code of a slot that holds nothing: it fills a chunk that is to be sealed before it is full.
pub const FILLER_CODE: u8 = 66;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_code_lead_back_to_the_member() {
        for &kind in EventKind::ALL {
            assert_eq!(EventKind::from_text(kind.as_str()), Some(kind));
            assert_eq!(EventKind::from_code(kind as u8), Some(kind));
            assert_eq!(CheckpointKind::from_code(kind as u8), None, "codes of the two kinds are disjoint");
        }
        for &kind in CheckpointKind::ALL {
            assert_eq!(CheckpointKind::from_text(kind.as_str()), Some(kind));
            assert_eq!(CheckpointKind::from_code(kind as u8), Some(kind));
        }
        for &category in Category::ALL {
            assert_eq!(Category::from_text(category.as_str()), Some(category));
            assert_eq!(Category::from_code(category as u8), Some(category));
        }
        assert_eq!(EventKind::from_text("teleport"), None);
    }
}
