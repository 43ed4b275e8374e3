use bytes::Bytes;
use otlake_base::{Code, Signal};
use otlake_receive::Ack;

use crate::parcel::{head, open, read_answer, write_answer};

#[test]
fn a_slice_arrives_with_all_that_belongs_to_it() {
    for signal in Signal::ALL {
        for transport in ["grpc", "http", "library"] {
            let head = head(signal, "tenant-1", transport, u64::MAX - 1);
            let parcel = open(Bytes::from([&head[..], b"body"].concat())).unwrap();
            assert_eq!(parcel.signal, signal);
            assert_eq!(parcel.transport, transport);
            assert_eq!(&*parcel.tenant, "tenant-1");
            assert_eq!(parcel.connection, u64::MAX - 1);
            assert_eq!(parcel.body, "body");
        }
    }
}

#[test]
fn an_answer_arrives_as_it_was_sent() {
    for (session, message) in [
        (None, None),
        (Some("a:1,b:2"), None),
        (Some("s"), Some("m µ")),
    ] {
        let ack = Ack {
            accepted: 7,
            rejected: u64::MAX,
            message: message.map(str::to_owned),
            session: session.map(str::to_owned),
        };
        let read = read_answer(write_answer(&ack)).unwrap();
        assert_eq!((read.accepted, read.rejected), (7, u64::MAX));
        assert_eq!((read.session, read.message), (ack.session, ack.message));
    }
}

#[test]
fn what_is_cut_off_or_unknown_is_refused() {
    let head = head(Signal::Logs, "t", "grpc", 5);
    for length in 0..head.len() {
        let cut = Bytes::copy_from_slice(&head[..length]);
        assert_eq!(open(cut).err().unwrap().code, Code::PeerProtocol);
    }
    for at in [0, 1, 3] {
        let mut odd = head.clone();
        odd[at] = 0xff;
        assert_eq!(open(odd.into()).err().unwrap().code, Code::PeerProtocol);
    }
    let answer = write_answer(&Ack {
        session: Some("s:1".into()),
        ..Ack::default()
    });
    for length in 0..answer.len() {
        assert!(read_answer(answer.slice(..length)).is_err());
    }
}
