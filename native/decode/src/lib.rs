pub mod encode;
pub mod json;
pub mod schema;
