//! Faults planted in the cluster itself, to see that the run finds them.

/// A wrong turn that somebody might take in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The data nodes' syncs do nothing: a missing `fsync` in the chunk store.
    NodesForgetSyncs,
    /// The coordinator's syncs do nothing: a missing `fsync` in the log.
    CoordinatorForgetsSyncs,
    /// A put of a chunk is answered before it is carried out.
    EarlyAnswers,
    /// A delete names whatever token the chunk has just then.
    DeletesIgnoreTokens,
    /// The gateway's lease says that it relies on nothing old, whatever it is doing.
    FloorsRunAhead,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::NodesForgetSyncs,
        Self::CoordinatorForgetsSyncs,
        Self::EarlyAnswers,
        Self::DeletesIgnoreTokens,
        Self::FloorsRunAhead,
    ];
}
