//! The records of rules that rows go through on their way in, and what they become.

use napi_derive::napi;
use otlake_base::{Code, Error, Result, Table};
use otlake_rules::{Action, Redaction, RuleConfig};

/// A rule; TypeScript has seen to its form, and the plan sees to its expressions.
#[napi(object, use_nullable = true)]
pub struct RuleRecord {
    /// What errors and counters call it.
    pub name: String,
    /// Tables by name.
    pub tables: Vec<String>,
    /// A boolean SQL expression; null for all rows.
    pub when: Option<String>,
    /// `drop`, `route`, `redact`, `rename` or `set`.
    pub action: String,
    /// Whose rows they become; null for other actions than `route`.
    pub tenant: Option<String>,
    /// What is changed.
    pub changes: Vec<RuleChangeRecord>,
    /// What redacted values become; null for other actions.
    pub redaction: Option<RedactionRecord>,
}

/// One change of a rule.
#[napi(object, use_nullable = true)]
pub struct RuleChangeRecord {
    /// A column, or `attributes['key']`.
    pub target: String,
    /// The new key, or the SQL expression of the value; null where it is redacted.
    pub to: Option<String>,
}

/// What redacted values become.
#[napi(object, use_nullable = true)]
pub struct RedactionRecord {
    /// `text`, `sha256`, `hmac-sha256` or `remove`.
    pub kind: String,
    /// The text, or the key of the HMAC; null for the others.
    pub value: Option<String>,
}

fn invalid(what: String) -> Error {
    Error::new(Code::ConfigInvalid, format!("`processing.rules`: {what}"))
}

impl RuleRecord {
    /// The rule.
    ///
    /// # Errors
    /// `CONFIG_INVALID` for a table or an action that is not there.
    pub fn rule(&self) -> Result<RuleConfig> {
        let table = |name: &String| {
            Table::from_name(name).ok_or_else(|| invalid(format!("`{name}` is not a table")))
        };
        let pairs = || {
            let changes = self.changes.iter();
            changes
                .map(|change| (change.target.clone(), change.to.clone().unwrap_or_default()))
                .collect()
        };
        let action = match self.action.as_str() {
            "drop" => Action::Drop,
            "route" => Action::Route(self.tenant.clone().unwrap_or_default()),
            "redact" => Action::Redact {
                targets: self
                    .changes
                    .iter()
                    .map(|change| change.target.clone())
                    .collect(),
                by: self.redaction()?,
            },
            "rename" => Action::Rename(pairs()),
            "set" => Action::Set(pairs()),
            other => return Err(invalid(format!("`{other}` is not an action"))),
        };
        Ok(RuleConfig {
            name: self.name.clone(),
            tables: self.tables.iter().map(table).collect::<Result<_>>()?,
            when: self.when.clone(),
            action,
        })
    }

    fn redaction(&self) -> Result<Redaction> {
        let by = self.redaction.as_ref();
        let value = by.and_then(|by| by.value.clone()).unwrap_or_default();
        Ok(match by.map(|by| by.kind.as_str()) {
            Some("text") => Redaction::Text(value),
            Some("sha256") => Redaction::Sha256,
            Some("hmac-sha256") => Redaction::HmacSha256(value.into_bytes()),
            Some("remove") => Redaction::Remove,
            other => {
                let other = other.unwrap_or("nothing");
                return Err(invalid(format!(
                    "`{other}` is nothing that a value becomes"
                )));
            }
        })
    }
}
