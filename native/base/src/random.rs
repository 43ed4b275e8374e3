//! The only place that draws what nobody may guess.

use uuid::Uuid;

/// 32 bytes, 244 bits of them from the system's cryptographic generator: for nonces, which must be
/// new each time and not to be foreseen.
pub fn nonce() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(Uuid::new_v4().as_bytes());
    bytes
}
