use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use otlake_base::{Code, Error};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::config::{ERROR_BYTES, MAX_MESSAGE_BYTES};
use crate::message::{Assembler, Piece, error_bytes, error_of, read_error, write_error};

fn wire(messages: &[Vec<u8>]) -> Bytes {
    let mut wire = BytesMut::new();
    for message in messages {
        let mut piece = Piece::message(vec![Bytes::copy_from_slice(message)]).unwrap();
        let bytes = piece.copy_to_bytes(piece.remaining());
        wire.extend_from_slice(&bytes);
    }
    wire.freeze()
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut(
        messages in vec(prop_oneof![vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..9_000)], 0..20),
        cuts in vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let wire = wire(&messages);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let mut assembler = Assembler::default();
        let mut out = Vec::new();
        for cut in cuts.windows(2) {
            assembler.push(wire.slice(cut[0]..cut[1]));
            while let Some(message) = assembler.next(MAX_MESSAGE_BYTES).unwrap() {
                out.push(message.to_vec());
            }
        }
        prop_assert_eq!(out, messages);
        prop_assert!(!assembler.is_within());
    }

    #[test]
    fn a_piece_is_the_same_bytes_however_it_is_read(
        parts in vec(vec(any::<u8>(), 0..12), 0..6),
        steps in vec(1usize..9, 60),
    ) {
        let whole = wire(&[parts.concat()]);
        let parts = parts.into_iter().map(Bytes::from).collect();
        let mut piece = Piece::message(parts).unwrap();
        let mut out = Vec::new();
        for step in steps {
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let count = piece.chunks_vectored(&mut slices);
            let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            prop_assert_eq!(all.len(), piece.remaining());
            prop_assert!(all.starts_with(piece.chunk()));
            prop_assert_eq!(piece.chunk().is_empty(), all.is_empty());
            let step = step.min(all.len());
            out.extend_from_slice(&all[..step]);
            piece.advance(step);
        }
        out.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        prop_assert_eq!(out, whole.to_vec());
    }
}

#[test]
fn a_large_message_in_one_piece_is_not_copied() {
    let wire = wire(&[vec![3; 100_000]]);
    let mut assembler = Assembler::default();
    assembler.push(wire.clone());
    let message = assembler.next(MAX_MESSAGE_BYTES).unwrap().unwrap();
    assert_eq!(message.as_ptr(), wire[4..].as_ptr());
}

#[test]
fn a_message_beyond_the_limit_is_refused_before_it_is_kept() {
    let mut assembler = Assembler::default();
    assembler.push(Bytes::copy_from_slice(&1001u32.to_le_bytes()));
    let refused = assembler.next(1000).unwrap_err();
    assert_eq!(refused.code, Code::PeerTooLarge);
    let large = Bytes::from(vec![0; MAX_MESSAGE_BYTES + 1]);
    assert_eq!(
        Piece::message(vec![large]).unwrap_err().code,
        Code::PeerTooLarge
    );
}

#[test]
fn a_long_error_is_cut_at_a_character_and_a_code_of_tomorrow_keeps_its_kind() {
    let mut headers = HeaderMap::new();
    let long = "é".repeat(ERROR_BYTES);
    write_error(&Error::new(Code::LogFull, &long), &mut headers);
    let read = read_error(&headers).unwrap();
    assert_eq!(read.code, Code::LogFull);
    assert_eq!(read.message, "é".repeat(ERROR_BYTES / 2));

    for (written, code) in [
        ("DISK_TIRED unavailable", Code::PeerUnreachable),
        ("NOT_YOU denied", Code::PeerRefused),
        ("ODD internal", Code::Internal),
        ("ODD", Code::Internal),
    ] {
        headers.insert("otlake-error", written.parse().unwrap());
        assert_eq!(read_error(&headers).unwrap().code, code);
    }
    assert!(read_error(&HeaderMap::new()).is_none());
}

#[test]
fn an_error_within_a_message_comes_back_as_it_was_and_other_bytes_are_one_too() {
    let error = Error::new(Code::ClusterQuorum, "two of three\nnodes: \u{1f980}");
    let read = error_of(&error_bytes(&error));
    assert_eq!((read.code, read.message), (error.code, error.message));
    let long = Error::new(Code::LogFull, "é".repeat(ERROR_BYTES));
    assert_eq!(
        error_of(&error_bytes(&long)).message,
        "é".repeat(ERROR_BYTES / 2)
    );
    let tomorrow = error_of(b"DISK_TIRED unavailable\0so it is");
    assert_eq!(
        (tomorrow.code, &*tomorrow.message),
        (Code::PeerUnreachable, "so it is")
    );
    assert_eq!(error_of(&[0xff, 0, 1]).code, Code::Internal);
    assert_eq!(error_of(b"").code, Code::Internal);
}
