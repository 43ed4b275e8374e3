//! Rules as they are written.

use otlake_base::Table;

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleConfig {
    /// What errors and counters call it.
    pub name: String,
    /// The tables whose rows it is for.
    pub tables: Vec<Table>,
    /// A boolean SQL expression: the rows that it applies to; without one, all.
    pub when: Option<String>,
    /// What becomes of them.
    pub action: Action,
}

/// What becomes of rows.
#[derive(Clone, Debug)]
pub enum Action {
    /// They are not kept.
    Drop,
    /// They are this tenant's.
    Route(String),
    /// Values of columns and attributes become something that does not tell them.
    Redact {
        /// Columns, `attributes['key']` and their like; `*` in a key is any text.
        targets: Vec<String>,
        /// What they become.
        by: Redaction,
    },
    /// Attributes get another key: `attributes['key']` and the new key.
    Rename(Vec<(String, String)>),
    /// Columns and attributes get the value of an SQL expression, where that is not null.
    Set(Vec<(String, String)>),
}

/// What a redacted value becomes.
#[derive(Clone)]
pub enum Redaction {
    /// This text.
    Text(String),
    /// The SHA-256 of its text, in lower-case hexadecimal.
    Sha256,
    /// The same, keyed (HMAC).
    HmacSha256(Vec<u8>),
    /// Nothing: the attribute is taken out, the column null.
    Remove,
}

/// A key is a secret.
impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Redaction::Text(_) => "Text",
            Redaction::Sha256 => "Sha256",
            Redaction::HmacSha256(_) => "HmacSha256",
            Redaction::Remove => "Remove",
        })
    }
}
