//! Numbers of 128 and 64 bits as hexadecimal text: JSON has no integers of that size that every
//! reader takes.

use serde::{Deserialize, Deserializer, Serializer, de};

pub fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{value:032x}"))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    let text = String::deserialize(deserializer)?;
    u128::from_str_radix(&text, 16).map_err(|_| de::Error::custom("not a hexadecimal number"))
}

/// The same for a stream's id.
pub mod stream {
    use otlake_base::StreamId;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &StreamId, serializer: S) -> Result<S::Ok, S::Error> {
        super::serialize(&value.0, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StreamId, D::Error> {
        super::deserialize(deserializer).map(StreamId)
    }
}
