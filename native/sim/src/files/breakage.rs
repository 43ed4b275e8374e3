//! What is broken on purpose: outside the product, where it meets the simulation.

/// A broken protocol, which the checkers must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilesBreakage {
    /// Nothing.
    #[default]
    None,
    /// Other nodes are taken to have a copy as soon as they are asked to take one.
    DoneAfterOneCopy,
    /// Who asks for a commit's name has it, whatever the group says later.
    NameWithoutGroup,
    /// A flipped bit gets the checksum that fits, as if whoever serves a copy did not look at it.
    ServeUnchecked,
    /// Files that vacuum deletes stay on the other nodes, and nobody remembers.
    DeleteOnOneNode,
}

impl FilesBreakage {
    /// All that break something.
    pub const ALL: [FilesBreakage; 4] = [
        FilesBreakage::DoneAfterOneCopy,
        FilesBreakage::NameWithoutGroup,
        FilesBreakage::ServeUnchecked,
        FilesBreakage::DeleteOnOneNode,
    ];
}
