//! Protected headers, read strictly.

/// Why a protected header was refused: one variant a fact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not a JSON object of the members' types.
    #[error("the protected header is not a JSON object with members of the right types")]
    Malformed,
}
