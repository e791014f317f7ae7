//! How many answers suffice.
//!
//! A chunk is wanted on R nodes. A write is *written* once W of them hold it durably; a read is satisfied by one
//! verified copy, and `X-KVFS-R` = n asks that n copies be read and agree. Chunks are immutable and the
//! version to read is chosen by one linearizable lookup, so W + R > N adds no freshness here: W says how many
//! disks may die right after the answer (W − 1), R how much one wants to see with one's own eyes.

/// A wish for a quorum that cannot be met by `replicas` copies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// Not a positive whole number.
    #[error("{header}: not an integer: {found:?}; expected a whole number from 1 to {replicas}")]
    NotANumber {
        /// The header it came in.
        header: &'static str,
        /// What stood there.
        found: String,
        /// The highest sensible value.
        replicas: u8,
    },
    /// Below 1.
    #[error("{header}={found}: must be ≥ 1")]
    TooSmall {
        /// The header it came in.
        header: &'static str,
        /// What stood there.
        found: i64,
    },
    /// More copies than there are.
    #[error("{header}={found}: exceeds available replicas {replicas}")]
    TooLarge {
        /// The header it came in.
        header: &'static str,
        /// What stood there.
        found: i64,
        /// How many there are.
        replicas: u8,
    },
}

/// The write quorum nobody asked for by name: ⌊R/2⌋ + 1, more than half.
pub fn default_write(replicas: u8) -> u8 {
    replicas / 2 + 1
}

/// The quorum that header `header` asks for, given `replicas` copies; `default` where it is blank.
pub fn parse(header: &'static str, text: &str, replicas: u8, default: u8) -> Result<u8, QuorumError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(default);
    }
    let not_a_number = || QuorumError::NotANumber { header, found: text.chars().take(40).collect(), replicas };
    let found: i64 = text.parse().map_err(|_| not_a_number())?;
    match found {
        ..1 => Err(QuorumError::TooSmall { header, found }),
        _ if found > i64::from(replicas) => Err(QuorumError::TooLarge { header, found, replicas }),
        _ => Ok(found as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers() {
        let table = [
            ("", Ok(2)),
            ("  ", Ok(2)),
            ("1", Ok(1)),
            (" 3 ", Ok(3)),
            ("0", Err("X-KVFS-W=0: must be ≥ 1")),
            ("-1", Err("X-KVFS-W=-1: must be ≥ 1")),
            ("9", Err("X-KVFS-W=9: exceeds available replicas 3")),
            ("two", Err("X-KVFS-W: not an integer: \"two\"; expected a whole number from 1 to 3")),
            ("1.5", Err("X-KVFS-W: not an integer: \"1.5\"; expected a whole number from 1 to 3")),
        ];
        for (text, expected) in table {
            let found = parse("X-KVFS-W", text, 3, 2).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_string), "{text:?}");
        }
    }

    proptest! {
        /// Any two default quorums share a node, and a default quorum survives the loss of any minority.
        #[test]
        fn defaults_overlap_and_tolerate(replicas in 1u8..=255) {
            let w = u16::from(default_write(replicas));
            prop_assert!(2 * w > u16::from(replicas));
            prop_assert!(w <= u16::from(replicas));
            prop_assert!(u16::from(replicas) - w >= (u16::from(replicas) - 1) / 2);
        }
    }
}
