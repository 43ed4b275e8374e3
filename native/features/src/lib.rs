//! Holds no code: its manifest gives every build of the workspace one feature set.
