//! How many records a request has, when that is all that is still to be told of it.

use otlake_base::Signal;

use crate::wire::{Cursor, Malformed};

/// `Metric`'s fields that hold points: gauge, sum, histogram, exponential histogram, summary.
const POINTS: [u32; 5] = [5, 7, 9, 10, 11];

/// Spans, log records or data points of a request, as far as it can be read.
pub fn records(signal: Signal, body: &[u8]) -> u64 {
    let mut count = 0;
    // What cannot be read ends the count, and is in none of its records.
    let _ = each(body, 1, &mut |resource| {
        each(resource, 2, &mut |scope| {
            each(scope, 2, &mut |record| {
                count += match signal {
                    Signal::Traces | Signal::Logs => 1,
                    Signal::Metrics => points(record).unwrap_or(1),
                };
                Ok(())
            })
        })
    });
    count
}

fn points(metric: &[u8]) -> Result<u64, Malformed> {
    let mut count = 0;
    for data in POINTS {
        each(metric, data, &mut |data| {
            each(data, 1, &mut |_| {
                count += 1;
                Ok(())
            })
        })?;
    }
    Ok(count)
}

fn each<'a>(
    message: &'a [u8],
    number: u32,
    visit: &mut dyn FnMut(&'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut fields = Cursor::new(message);
    while let Some(field) = fields.field()? {
        if let Some(inner) = field.message(number) {
            visit(inner)?;
        }
    }
    Ok(())
}
