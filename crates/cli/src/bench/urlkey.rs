//! `kvfs bench urlkey`: signing URLs and checking them.

use std::hint::black_box;
use std::io::Write;

use anyhow::Result;
use domain::urlkey::{Presented, UrlKey, sign, verify};
use serde::Serialize;

use super::{Effort, Task, per_second, table};
use crate::output::Output;

const PATH: &[u8] = b"/v1/o/photos/2026/11/cat.jpg";
const EXPIRY: i64 = 4_102_444_800;

#[derive(Debug, Serialize)]
struct Row {
    op: &'static str,
    per_second: f64,
}

/// Measures signing, and checking with the key that is named.
pub fn run(effort: Effort, output: Output, out: &mut dyn Write) -> Result<()> {
    let key = UrlKey { kid: "v1".into(), secret: vec![7; 32], primary: true, created_ms: 0 };
    let signature = sign(&key.secret, "GET", PATH, EXPIRY);
    let mut tasks = [Signing { key: &key, check: None }, Signing { key: &key, check: Some(&signature) }];
    let speeds = per_second(&mut tasks, effort);
    let rows: Vec<_> =
        ["sign", "verify"].into_iter().zip(speeds).map(|(op, speed)| Row { op, per_second: speed.round() }).collect();
    output.write(out, &rows, |out, rows| {
        let head = ["op", "a second"].map(String::from).to_vec();
        let line = |row: &Row| vec![row.op.to_string(), format!("{:.0}", row.per_second)];
        table(out, &std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>())
    })?;
    Ok(())
}

struct Signing<'a> {
    key: &'a UrlKey,
    check: Option<&'a str>,
}

impl Task for Signing<'_> {
    fn step(&mut self) -> u64 {
        let (key, path) = (black_box(self.key), black_box(PATH));
        match self.check {
            None => u64::from(!black_box(sign(&key.secret, "GET", path, EXPIRY)).is_empty()),
            Some(signature) => {
                let exp = EXPIRY.to_string();
                let presented = Presented { sig: Some(signature), exp: Some(&exp), kid: Some(&key.kid) };
                u64::from(verify(std::slice::from_ref(key), "GET", path, &presented, 0).is_ok())
            }
        }
    }
}
