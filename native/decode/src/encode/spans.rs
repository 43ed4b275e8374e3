//! A span's row back to its `Span` message.

use arrow::array::{Int64Array, RecordBatch};
use otlake_base::Result;

use super::attributes::write_attributes;
use super::columns::{Columns, Ids, Lists, Texts};
use super::corrupt;
use super::groups::{Groups, Origin, ScopeCursor};
use super::wire_writer::WireWriter;

/// `ScopeSpans.spans`.
const SPANS: u32 = 2;

/// Writes each row of a batch of `spans` into its group.
pub(super) fn encode(batch: &RecordBatch, groups: &mut Groups) -> Result<()> {
    let columns = Columns::of(batch);
    let trace_id = columns.ids("trace_id")?;
    let span_id = columns.ids("span_id")?;
    let parent_span_id = columns.ids("parent_span_id")?;
    let trace_state = columns.texts("trace_state")?;
    let flags = columns.longs("flags")?;
    let name = columns.texts("name")?;
    let kind = columns.ints("kind")?;
    let start = columns.longs("start_time_unix_nano")?;
    let duration = columns.longs("duration_ns")?;
    let status_code = columns.ints("status_code")?;
    let status_message = columns.texts("status_message")?;
    let attributes = columns.texts("attributes")?;
    let dropped_attributes = columns.longs("dropped_attributes_count")?;
    let event_lists = columns.lists("events")?;
    let events = Events::of(&event_lists)?;
    let dropped_events = columns.longs("dropped_events_count")?;
    let link_lists = columns.lists("links")?;
    let links = Links::of(&link_lists)?;
    let dropped_links = columns.longs("dropped_links_count")?;
    let origin = Origin::of(batch)?;

    let mut cursor = ScopeCursor::new(&origin);
    for row in 0..batch.num_rows() {
        let scope = cursor.scope(row, groups)?;
        let wire = groups.records(scope);
        let mark = wire.begin(SPANS);
        wire.bytes_unless_empty(1, trace_id.value(row));
        wire.bytes_unless_empty(2, span_id.value(row));
        wire.bytes_unless_empty(3, trace_state.value(row).as_bytes());
        wire.bytes_unless_empty(4, parent_span_id.value(row));
        wire.bytes_unless_empty(5, name.value(row).as_bytes());
        wire.varint_unless_zero(6, kind.value(row) as u64);
        wire.fixed64_unless_zero(7, start.value(row) as u64);
        wire.fixed64_unless_zero(8, start.value(row).wrapping_add(duration.value(row)) as u64);
        write_attributes(attributes.value(row), 9, wire)
            .map_err(|fault| corrupt("attributes", fault))?;
        wire.varint_unless_zero(10, dropped_attributes.value(row) as u64);
        for event in event_lists.range(row).unwrap_or_default() {
            events.write(event, wire)?;
        }
        wire.varint_unless_zero(12, dropped_events.value(row) as u64);
        for link in link_lists.range(row).unwrap_or_default() {
            links.write(link, wire)?;
        }
        wire.varint_unless_zero(14, dropped_links.value(row) as u64);
        if status_code.value(row) != 0 || status_message.get(row).is_some() {
            let status = wire.begin(15);
            wire.bytes_unless_empty(2, status_message.value(row).as_bytes());
            wire.varint_unless_zero(3, status_code.value(row) as u64);
            wire.end(status);
        }
        wire.fixed32_unless_zero(16, flags.value(row) as u32);
        wire.end(mark);
    }
    Ok(())
}

struct Events {
    time: Int64Array,
    name: Texts,
    attributes: Texts,
    dropped: Int64Array,
}

impl Events {
    fn of(lists: &Lists) -> Result<Events> {
        let columns = lists.structs("events")?;
        Ok(Events {
            time: columns.longs("time_unix_nano")?,
            name: columns.texts("name")?,
            attributes: columns.texts("attributes")?,
            dropped: columns.longs("dropped_attributes_count")?,
        })
    }

    fn write(&self, at: usize, wire: &mut WireWriter) -> Result<()> {
        let mark = wire.begin(11);
        wire.fixed64_unless_zero(1, self.time.value(at) as u64);
        wire.bytes_unless_empty(2, self.name.value(at).as_bytes());
        write_attributes(self.attributes.value(at), 3, wire)
            .map_err(|fault| corrupt("events.attributes", fault))?;
        wire.varint_unless_zero(4, self.dropped.value(at) as u64);
        wire.end(mark);
        Ok(())
    }
}

struct Links {
    trace_id: Ids,
    span_id: Ids,
    trace_state: Texts,
    attributes: Texts,
    dropped: Int64Array,
    flags: Int64Array,
}

impl Links {
    fn of(lists: &Lists) -> Result<Links> {
        let columns = lists.structs("links")?;
        Ok(Links {
            trace_id: columns.ids("trace_id")?,
            span_id: columns.ids("span_id")?,
            trace_state: columns.texts("trace_state")?,
            attributes: columns.texts("attributes")?,
            dropped: columns.longs("dropped_attributes_count")?,
            flags: columns.longs("flags")?,
        })
    }

    fn write(&self, at: usize, wire: &mut WireWriter) -> Result<()> {
        let mark = wire.begin(13);
        wire.bytes_unless_empty(1, self.trace_id.value(at));
        wire.bytes_unless_empty(2, self.span_id.value(at));
        wire.bytes_unless_empty(3, self.trace_state.value(at).as_bytes());
        write_attributes(self.attributes.value(at), 4, wire)
            .map_err(|fault| corrupt("links.attributes", fault))?;
        wire.varint_unless_zero(5, self.dropped.value(at) as u64);
        wire.fixed32_unless_zero(6, self.flags.value(at) as u32);
        wire.end(mark);
        Ok(())
    }
}
