//! What is broken on purpose: outside the product, where it meets the simulation.

/// A broken protocol, which the checkers must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breakage {
    /// Nothing.
    #[default]
    None,
    /// Success is sent at the owner's own fsync.
    AcknowledgeAtOne,
    /// Success is sent to every tenant with as few fsyncs as the one asks for that asks for the fewest.
    AcknowledgeByFewest,
    /// Members tell what they hold and go on taking the old epoch.
    SkipFencing,
    /// A commit has its rows and not its watermark.
    ForgetWatermark,
    /// A follower confirms before its fsync.
    ConfirmBeforeSync,
    /// A recovery is content with one answer.
    AcceptTooFew,
    /// A node does not remember what it has stored.
    ForgetRequests,
    /// A node that comes back without its disk has the journal that it had.
    KeepIdentity,
    /// A new ensemble counts from its proposal on, and the old one does not.
    TrustProposal,
    /// Tables take commits of an earlier epoch.
    LeaveTablesOpen,
}

impl Breakage {
    /// All that break something.
    pub const ALL: [Breakage; 10] = [
        Breakage::AcknowledgeAtOne,
        Breakage::AcknowledgeByFewest,
        Breakage::SkipFencing,
        Breakage::ForgetWatermark,
        Breakage::ConfirmBeforeSync,
        Breakage::AcceptTooFew,
        Breakage::ForgetRequests,
        Breakage::KeepIdentity,
        Breakage::TrustProposal,
        Breakage::LeaveTablesOpen,
    ];
}
