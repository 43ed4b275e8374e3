use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::handshake::{Failure, Identity, Refusal, dial, listen, welcome};

fn identity(name: &str, cluster: &str, secret: Option<u8>) -> Identity {
    let secret = secret.map(|byte| [byte; 32]);
    Identity::new(name.into(), cluster.into(), secret).unwrap()
}

/// Lets a dialler and a listener meet; what became of it on both sides.
async fn meet(
    dialler: &Identity,
    listener: &Identity,
    to: &str,
) -> (Result<(), Failure>, Result<String, Failure>) {
    let (mut here, mut there) = duplex(1024);
    let listening = async {
        let from = listen(&mut there, listener).await?;
        welcome(&mut there).await?;
        Ok(from.to_string())
    };
    let dialling = async {
        let dialled = dial(&mut here, dialler, to).await;
        let _ = here.shutdown().await;
        dialled
    };
    tokio::join!(dialling, listening)
}

#[tokio::test]
async fn who_has_the_same_secret_or_none_is_let_in_by_name() {
    for secret in [Some(1), None] {
        let (a, b) = (identity("a", "c", secret), identity("b", "c", secret));
        let (dialled, listened) = meet(&a, &b, "b").await;
        dialled.unwrap();
        assert_eq!(listened.unwrap(), "a");
    }
}

#[tokio::test]
async fn who_does_not_fit_is_refused_on_both_sides_with_the_same_reason() {
    let b = identity("b", "c", Some(1));
    let cases = [
        (identity("a", "c", Some(2)), "b", Refusal::Secret),
        (identity("a", "c", None), "b", Refusal::Secret),
        (identity("a", "other", Some(1)), "b", Refusal::Cluster),
        (identity("a", "c", Some(1)), "z", Refusal::Name),
    ];
    for (a, to, reason) in cases {
        let (dialled, listened) = meet(&a, &b, to).await;
        let said = |failure| match failure {
            Failure::Refused(refusal) | Failure::RefusedThere(refusal) => refusal,
            Failure::Broken(error) => panic!("{error}"),
        };
        assert_eq!(said(dialled.unwrap_err()), reason);
        assert_eq!(said(listened.unwrap_err()), reason);
    }
}

/// Says some bytes to a listener, and takes what it answers.
async fn say(listener: &Identity, said: &[u8]) -> (Result<(), Failure>, Vec<u8>) {
    let (mut here, mut there) = duplex(1024);
    let talking = async {
        here.write_all(said).await.unwrap();
        here.shutdown().await.unwrap();
        let mut answer = Vec::new();
        here.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let listening = async move {
        let heard = listen(&mut there, listener).await;
        drop(there);
        heard.map(|_| ())
    };
    let (answer, heard) = tokio::join!(talking, listening);
    (heard, answer)
}

#[tokio::test]
async fn other_protocols_get_no_answer_and_other_versions_get_a_reason() {
    let b = identity("b", "c", Some(1));
    let (heard, answer) = say(&b, b"GET / HTTP/1.1\r\nhost: b\r\n\r\n").await;
    assert!(matches!(heard, Err(Failure::Refused(Refusal::Protocol))));
    assert_eq!(answer, b"");
    let (heard, answer) = say(&b, b"otlpeer\n\xff\xffwhat comes in a hundred years").await;
    assert!(matches!(heard, Err(Failure::Refused(Refusal::Version))));
    assert_eq!(answer, [Refusal::Version as u8]);
    // A text that is empty, or longer than any name.
    for length in [0, 65, 255] {
        let mut hello = b"otlpeer\n\x01\x00\x01".to_vec();
        hello.extend_from_slice(&[9; 32]);
        hello.push(length);
        hello.extend_from_slice(&[b'a'; 255]);
        let (heard, _) = say(&b, &hello).await;
        assert!(matches!(heard, Err(Failure::Refused(Refusal::Protocol))));
    }
}

/// Passes what is said on, and keeps it.
async fn overhear(mut from: DuplexStream, mut to: DuplexStream) -> Vec<u8> {
    let (mut from_read, mut from_write) = tokio::io::split(&mut from);
    let (mut to_read, mut to_write) = tokio::io::split(&mut to);
    let there = async {
        let mut kept = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = from_read.read(&mut buffer).await {
            kept.extend_from_slice(&buffer[..count]);
            to_write.write_all(&buffer[..count]).await.unwrap();
        }
        to_write.shutdown().await.unwrap();
        kept
    };
    let back = tokio::io::copy(&mut to_read, &mut from_write);
    let (kept, _) = tokio::join!(there, back);
    kept
}

#[tokio::test]
async fn what_was_overheard_proves_nothing_again() {
    let (a, b) = (identity("a", "c", Some(1)), identity("b", "c", Some(1)));
    let (mut here, near) = duplex(1024);
    let (far, mut there) = duplex(1024);
    let dialling = async {
        dial(&mut here, &a, "b").await.unwrap();
        drop(here);
    };
    let listening = async {
        assert_eq!(&*listen(&mut there, &b).await.unwrap(), "a");
        welcome(&mut there).await.unwrap();
        drop(there);
    };
    let ((), (), kept) = tokio::join!(dialling, listening, overhear(near, far));

    let (heard, answer) = say(&b, &kept).await;
    assert!(matches!(heard, Err(Failure::Refused(Refusal::Secret))));
    assert_eq!(answer.last(), Some(&(Refusal::Secret as u8)));
}

#[tokio::test]
async fn a_listener_cannot_be_made_to_prove_who_dials() {
    // Whoever does not have the secret sends the listener's own proof back to it.
    let b = identity("b", "c", Some(1));
    let (mut here, mut there) = duplex(1024);
    let talking = async {
        let mut hello = b"otlpeer\n\x01\x00\x01".to_vec();
        hello.extend_from_slice(&[9; 32]);
        for text in ["c", "a", "b"] {
            hello.push(1);
            hello.extend_from_slice(text.as_bytes());
        }
        here.write_all(&hello).await.unwrap();
        let mut answer = [0; 1 + 32 + 2 + 32];
        here.read_exact(&mut answer).await.unwrap();
        here.write_all(&[0]).await.unwrap();
        here.write_all(&answer[35..]).await.unwrap();
        here.read_u8().await.unwrap()
    };
    let (status, heard) = tokio::join!(talking, listen(&mut there, &b));
    assert_eq!(status, Refusal::Secret as u8);
    assert!(matches!(heard, Err(Failure::Refused(Refusal::Secret))));
}

#[test]
fn names_have_a_length() {
    let long = "n".repeat(65);
    for (name, cluster) in [("", "c"), (&*long, "c"), ("a", ""), ("a", &*long)] {
        assert!(Identity::new(name.into(), cluster.into(), None).is_err());
    }
}
