//! Fuzz targets of what is read back from files, and from other members.

use bolero::check;
use raft_log::codeq::{Decode, Encode};
use testkit::fuzz::{EXECUTIONS, damage};

use crate::log::chunked::Payload;
use crate::log::frame::{Operation, scan};
use crate::record::{Ballot, Kind, Position};
use crate::snapshot::{Reader, SnapshotError, Summary};

/// Damage never adds anything: what is read back is a beginning of what was written, or an error.
#[test]
fn log_frames() {
    let at = |index| Position { term: 1, index };
    let vote = Ballot { term: 1, granted: true, node: 1 };
    let written = [
        Operation::Vote(vote),
        Operation::Append(vec![
            (at(1), Kind::Commands, bytes::Bytes::from_static(b"one")),
            (at(2), Kind::Blank, bytes::Bytes::new()),
        ]),
        Operation::TruncateAfter(Some(at(1))),
        Operation::Purge(at(1), Some(vote)),
    ];
    let file: Vec<u8> = written.iter().zip(7..).flat_map(|(operation, nth)| operation.frame(nth)).collect();
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        if let Ok(found) = scan(&damage(&file, input), 7) {
            assert!(written.starts_with(&found.operations), "{:?}", found.operations);
        }
        if let Ok(found) = scan(input, 7) {
            assert_eq!(found.operations, [], "noise holds no frame");
        }
    });
}

/// An entry whose head is damaged is an error before a byte of its body is believed; one whose body is damaged is as long as it was.
#[test]
fn log_entries() {
    let mut written = Vec::new();
    let body = bytes::Bytes::from_static(b"a batch of commands");
    Payload { kind: Kind::Commands, body: body.clone() }.encode(&mut written).expect("memory takes all");
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        if let Ok(found) = Payload::decode(damage(&written, input).as_slice()) {
            assert_eq!((found.kind, found.body.len()), (Kind::Commands, body.len()));
        }
        drop(Payload::decode(input).map(|found| assert!(found.body.len() <= input.len())));
    });
}

/// Damage of any kind and in any number of places makes a snapshot a refused one; noise is not one either.
#[test]
fn snapshots() {
    let written = crate::snapshot::sample();
    let read = |bytes: &[u8]| -> Result<Summary, SnapshotError> {
        let mut reader = Reader::new();
        for piece in bytes.chunks(100) {
            reader.push(piece, &mut |block| {
                assert!(block.rows().count() > 0, "a frame without rows was never written");
                Ok(())
            })?;
        }
        reader.finish()
    };
    read(&written).expect("whole");
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        let hurt = damage(&written, input);
        assert_eq!(read(&hurt).is_ok(), hurt == written, "{} bytes of {}", hurt.len(), written.len());
        assert!(read(input).is_err());
        // Noise where a frame belongs, behind a beginning that is right.
        assert!(read(&[&written[..12], input].concat()).is_err());
    });
}

/// Whatever became of an audit log, what is kept of it is whole lines from its beginning, none of them of an entry that the tables lack.
#[test]
fn audit_logs() {
    let line = |seq: u64| format!("{{\"seq\":{seq},\"term\":1,\"ts\":\"\"}}\n");
    let written: String = (1..9).map(line).collect();
    check!().with_iterations(EXECUTIONS).for_each(|input: &[u8]| {
        for bytes in [damage(written.as_bytes(), input), input.to_vec()] {
            for applied in [0, 4, 8] {
                let (kept, last) = crate::audit_log::cut(&bytes, applied);
                assert!(bytes.starts_with(&kept) && last <= applied);
                assert!(kept.is_empty() || kept.ends_with(b"\n"));
            }
        }
    });
}
