//! The rows of sorted runs, one by one in the order of all.

use super::MergeFailure;
use super::cursor::Cursor;
use super::window::Window;
use otlake_base::{Result, Table};

/// Rows that go to the sink at once.
pub(super) const WINDOW_ROWS: usize = 8_192;

/// What takes the rows.
pub(super) trait Sink {
    /// Takes the row that the cursor stands on.
    fn row(&mut self, cursor: &Cursor, window: &mut Window);

    /// Takes the window's rows, `taken` in all since the last time; lets go of batches by
    /// `Window::compact`.
    ///
    /// # Errors
    /// What ends the merge.
    fn part(&mut self, taken: u64, window: &mut Window, cursors: &mut [Cursor]) -> Result<()>;
}

/// Hands every row to the sink.
pub(super) fn each_row(
    table: Table,
    cursors: &mut [Cursor],
    sink: &mut impl Sink,
) -> Result<(), MergeFailure> {
    let mut window = Window::new(table);
    for cursor in cursors.iter_mut() {
        cursor.fill(&mut window)?;
    }
    // Cursors by their current row, the least one last.
    let mut order: Vec<usize> = (0..cursors.len())
        .filter(|number| !cursors[*number].done())
        .collect();
    order.sort_by(|a, b| cursors[*b].compare(&cursors[*a]));
    let mut taken: u64 = 0;
    while let Some(least) = order.pop() {
        // The same run is often the least for many rows: it goes on until another is.
        loop {
            let cursor = &mut cursors[least];
            sink.row(cursor, &mut window);
            taken += 1;
            cursor.advance(&mut window)?;
            if taken.is_multiple_of(WINDOW_ROWS as u64) {
                sink.part(WINDOW_ROWS as u64, &mut window, cursors)?;
            }
            let cursor = &cursors[least];
            if cursor.done() {
                break;
            }
            let next = order.last().map(|next| cursor.compare(&cursors[*next]));
            if next.is_some_and(|ordering| ordering.is_gt()) {
                let at = order.partition_point(|other| cursors[*other].compare(cursor).is_gt());
                order.insert(at, least);
                break;
            }
        }
    }
    sink.part(taken % WINDOW_ROWS as u64, &mut window, cursors)?;
    Ok(())
}
