use otlake_base::{Position, ShardSet, Signal, StreamId};

use otlake_processor::Stage;

use crate::claims::{QUESTION_BYTES, question, read};

#[test]
fn a_question_about_a_record_is_read_as_it_was_written() {
    let stream = StreamId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
    let position = Position {
        stream,
        sequence: u64::MAX - 1,
    };
    let shards: ShardSet = [0, 7, 499].into_iter().collect();
    for (signal, stage) in Signal::ALL
        .into_iter()
        .flat_map(|signal| Stage::ALL.map(|stage| (signal, stage)))
    {
        let at = (position, stage);
        let bytes = question(signal, at, 42, &shards);
        assert_eq!(bytes.len(), QUESTION_BYTES);
        assert_eq!(read(&bytes), Some((signal, at, 42, shards)));
        assert_eq!(read(&bytes[1..]), None);
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(read(&longer), None);
        let mut unknown = bytes.to_vec();
        unknown[0] = 200;
        assert_eq!(read(&unknown), None);
        let mut unknown = bytes.to_vec();
        unknown[1] = 4;
        assert_eq!(read(&unknown), None);
    }
}
