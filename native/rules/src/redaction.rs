//! What a value becomes.

use std::borrow::Cow;

use otlake_query::attribute;
use otlake_query::to_hex;
use ring::{digest, hmac};

use crate::config::Redaction;

/// A redaction, ready for many values.
pub enum Redactor {
    Text(String),
    Sha256,
    HmacSha256(hmac::Key),
    Remove,
}

impl Redactor {
    pub fn new(redaction: &Redaction) -> Redactor {
        match redaction {
            Redaction::Text(text) => Redactor::Text(text.clone()),
            Redaction::Sha256 => Redactor::Sha256,
            Redaction::HmacSha256(key) => {
                Redactor::HmacSha256(hmac::Key::new(hmac::HMAC_SHA256, key))
            }
            Redaction::Remove => Redactor::Remove,
        }
    }

    /// What text becomes; none where it is taken out.
    pub fn text(&self, text: &str) -> Option<Cow<'_, str>> {
        Some(match self {
            Redactor::Text(text) => Cow::Borrowed(&**text),
            Redactor::Sha256 => Cow::Owned(to_hex(
                digest::digest(&digest::SHA256, text.as_bytes()).as_ref(),
            )),
            Redactor::HmacSha256(key) => {
                Cow::Owned(to_hex(hmac::sign(key, text.as_bytes()).as_ref()))
            }
            Redactor::Remove => return None,
        })
    }

    /// What an attribute's value becomes, of which the JSON text is given: a text's content counts, of
    /// any other value the JSON text.
    pub fn value(&self, json: &str) -> Option<Cow<'_, str>> {
        match self {
            Redactor::Text(_) | Redactor::Remove => self.text(""),
            _ if json.starts_with('"') => {
                let text = attribute::text(json).unwrap_or_default();
                self.text(&text)
            }
            _ => self.text(json),
        }
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}
