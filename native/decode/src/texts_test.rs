//! The views of text are those that Arrow makes.

use arrow::array::builder::make_view;

use crate::texts::view;

#[test]
fn views_are_those_of_arrow() {
    let text: Vec<u8> = (0..40).map(|at| b'a' + at % 26).collect();
    for length in 0..text.len() {
        let text = &text[..length];
        assert_eq!(view(text, 77), make_view(text, 0, 77), "{length}");
    }
}
