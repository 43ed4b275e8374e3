use async_trait::async_trait;
use bytes::Bytes;
use otlake_base::{Code, Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::port::{Incoming, Outgoing, Wire};
use super::tunnel::tunnel;

struct Out(Sender<Bytes>);
struct In(Receiver<Result<Bytes>>);

#[async_trait]
impl Outgoing for Out {
    async fn send(&mut self, message: Bytes) -> Result<()> {
        let gone = |_| Error::new(Code::PeerUnreachable, "nobody takes it");
        self.0.send(message).await.map_err(gone)
    }
}

#[async_trait]
impl Incoming for In {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.0.recv().await.transpose()
    }
}

fn wire() -> (Wire, Receiver<Bytes>, Sender<Result<Bytes>>) {
    let (out, sent) = channel(2);
    let (coming, incoming) = channel(2);
    let wire = Wire {
        outgoing: Box::new(Out(out)),
        incoming: Box::new(In(incoming)),
    };
    (wire, sent, coming)
}

#[tokio::test]
async fn bytes_come_out_as_they_went_in_and_wait_for_their_reader() {
    let (wire, mut sent, coming) = wire();
    let (mut end, carrying) = tunnel(wire, None);
    let carrying = tokio::spawn(carrying);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let expected = bytes.clone();
    let writing = tokio::spawn(async move {
        end.write_all(&bytes).await.unwrap();
        end
    });
    let mut found = Vec::new();
    while found.len() < expected.len() {
        // Nobody has taken more than a few messages at any time.
        found.extend_from_slice(&sent.recv().await.unwrap());
    }
    assert!(found == expected);
    let mut end = writing.await.unwrap();
    coming.send(Ok(Bytes::from_static(b"back"))).await.unwrap();
    let mut back = [0; 4];
    end.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"back");
    drop(end);
    carrying.await.unwrap();
    assert!(sent.recv().await.is_none());
}

#[tokio::test]
async fn a_break_of_either_direction_is_the_end_of_both() {
    let broken = || Err(Error::new(Code::PeerUnreachable, "it broke"));
    let (wire, _sent, coming) = wire();
    let (mut end, carrying) = tunnel(wire, None);
    tokio::spawn(carrying);
    coming.send(broken()).await.unwrap();
    assert_eq!(end.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(end.write_all(&[0; 1_000_000]).await.is_err());

    let (wire, sent, _coming) = self::wire();
    let (mut end, carrying) = tunnel(wire, None);
    tokio::spawn(carrying);
    drop(sent);
    end.write_all(b"lost").await.unwrap();
    assert_eq!(end.read(&mut [0; 8]).await.unwrap(), 0);
}
