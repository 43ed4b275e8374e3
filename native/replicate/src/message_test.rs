use bytes::Bytes;
use otlake_base::{Code, Signal};

use crate::message::{Held, Holder, Message, Refusal};
use crate::testing::{STREAM, frame, frame_of};
use crate::{Member, Ranges};

fn every_kind() -> Vec<Message> {
    let ranges: Ranges = [(1, 3), (7, 7), (9, u64::MAX)].into_iter().collect();
    let held = |holder| Held {
        stream: STREAM,
        holder,
        epoch: 3,
        released: [1, 2, u64::MAX],
        ranges: [ranges.clone(), Ranges::default(), Ranges::of(4, 5)],
    };
    let frames = vec![frame(Signal::Traces, 1), frame(Signal::Logs, 2)];
    let mixed = [3_000, 0, 1, 5_000, 4_000].into_iter().zip(1..);
    let mixed = mixed.map(|(bytes, sequence)| frame_of(STREAM, Signal::Logs, sequence, bytes));
    let stream = STREAM;
    vec![
        Message::Hello { stream, epoch: 1 },
        Message::Append {
            stream,
            epoch: 1,
            frames: frames.clone(),
        },
        Message::Append {
            stream,
            epoch: 2,
            frames: mixed.collect(),
        },
        Message::Append {
            stream,
            epoch: 2,
            frames: Vec::new(),
        },
        Message::Beat {
            stream,
            epoch: 1,
            sent: 5,
            released: [1, 2, 3],
            acknowledged: 2,
        },
        Message::Held(held(Holder::Journal(u128::MAX - 5))),
        Message::Held(held(Holder::Owner { whole: true })),
        Message::Held(held(Holder::Owner { whole: false })),
        Message::Durable {
            stream,
            journal: 9,
            ranges: ranges.clone(),
        },
        Message::Refused {
            stream,
            epoch: 2,
            reason: Refusal::Fenced,
        },
        Message::Refused {
            stream,
            epoch: 0,
            reason: Refusal::Busy,
        },
        Message::Refused {
            stream,
            epoch: 0,
            reason: Refusal::Damaged,
        },
        Message::Alive {
            stream,
            journal: 1,
            sent: 5,
            released: [4, 5, 6],
        },
        Message::Fence { stream, epoch: 2 },
        Message::Ask { stream },
        Message::Fetch {
            stream,
            ranges: ranges.clone(),
            max_bytes: 10,
        },
        Message::Frames {
            stream,
            frames,
            gone: ranges,
        },
        Message::Release {
            stream,
            released: [1, 2, 3],
        },
        Message::Forget { stream },
        Message::Done,
    ]
}

#[test]
fn every_message_comes_back_as_it_was() {
    for message in every_kind() {
        assert_eq!(Message::decode(message.encode()).unwrap(), message);
        assert_eq!(message.parts().concat(), message.encode());
    }
}

#[test]
fn what_is_large_in_a_message_is_not_copied() {
    let frames = vec![
        frame_of(STREAM, Signal::Traces, 1, 40_000),
        frame(Signal::Traces, 2),
        frame_of(STREAM, Signal::Traces, 3, 50_000),
    ];
    let large: Vec<*const u8> = [0, 2].map(|at| frames[at].parts()[1].as_ptr()).into();
    let message = Message::Append {
        stream: STREAM,
        epoch: 1,
        frames,
    };
    let parts = message.parts();
    assert_eq!(parts.len(), 4);
    assert_eq!([parts[1].as_ptr(), parts[3].as_ptr()], large[..]);
}

/// Those of which every byte can be tried.
fn short_ones() -> impl Iterator<Item = Message> {
    let short = |message: &Message| message.encode().len() < 2_000;
    every_kind().into_iter().filter(short)
}

#[test]
fn a_message_cut_anywhere_or_of_another_version_is_refused_and_breaks_nothing() {
    for message in short_ones() {
        let bytes = message.encode();
        for end in 0..bytes.len() {
            let error = Message::decode(bytes.slice(..end)).unwrap_err();
            assert_eq!(error.code, Code::ClusterMessage, "{message:?} cut at {end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Message::decode(Bytes::from(longer)).is_err());
        let mut other = bytes.to_vec();
        other[0] += 1;
        let error = Message::decode(Bytes::from(other)).unwrap_err();
        assert!(error.message.contains("version 2"), "{error}");
    }
}

#[test]
fn a_message_with_any_byte_changed_is_read_or_refused() {
    for message in short_ones() {
        let bytes = message.encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                let _ = Message::decode(Bytes::from(changed));
            }
        }
    }
}

#[test]
fn a_member_comes_back_from_its_text() {
    let member = Member {
        name: "node#1".into(),
        journal: 0xABC,
    };
    assert_eq!(member.to_string().parse::<Member>().unwrap(), member);
    for bad in ["", "a", "a#1", "#00000000000000000000000000000001"] {
        assert!(bad.parse::<Member>().is_err(), "{bad}");
    }
}
