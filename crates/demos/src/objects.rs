//! The verbs about objects: what a client does, and what it can say of the answer.

use std::sync::{Arc, Mutex};

use client::native::PutAnswer;
use client::{Native, NativeError};
use futures_util::future::join_all;
use futures_util::stream;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

use crate::cluster::{Condition, DemoError, Who};
use crate::content::Content;
use crate::stage::{BUCKET, Stage};
use crate::words::Words;

/// A body on its way to the gateway.
struct Upload {
    object: String,
    content: Content,
    headers: HeaderMap,
    /// Breaks off after so many bytes.
    cut: Option<u64>,
}

/// How an upload ended.
struct Uploaded {
    upload: Upload,
    sha256: [u8; 32],
    answer: Result<PutAnswer, NativeError>,
}

/// How a download ended.
struct Downloaded {
    bytes: u64,
    sha256: [u8; 32],
    /// Why it ended before its end.
    broken: Option<NativeError>,
}

impl Stage {
    /// `put OBJECT`: `201`, or the status of a refusal.
    pub(crate) async fn put(&mut self, words: &Words) -> Result<String, DemoError> {
        let uploaded = send(self.native(words)?, upload(words)?).await;
        self.uploaded(uploaded)
    }

    /// `parallel N put OBJECT`: all at once, each in a task of its own.
    pub(crate) async fn put_all(&mut self, all: &[Words]) -> Result<Vec<String>, DemoError> {
        let mut tasks = Vec::new();
        for words in all {
            tasks.push(tokio::spawn(send(self.native(words)?, upload(words)?)));
        }
        let ended = join_all(tasks).await;
        ended.into_iter().map(|uploaded| self.uploaded(uploaded.map_err(joined)?)).collect()
    }

    fn uploaded(&mut self, uploaded: Uploaded) -> Result<String, DemoError> {
        let Uploaded { upload, sha256, answer } = uploaded;
        match answer {
            Ok(answer) => {
                self.acknowledged(&upload.object, upload.content, sha256, answer)?;
                Ok("201".into())
            }
            Err(error) => {
                self.not_acknowledged(&upload.content)?;
                self.refused(error)
            }
        }
    }

    /// `cut-put OBJECT after=N`: the connection breaks in the middle of the body.
    pub(crate) async fn cut_put(&mut self, words: &Words) -> Result<String, DemoError> {
        let mut upload = upload(words)?;
        let after = words.number("after", upload.content.size() / 2)?;
        upload.cut = Some(after);
        let uploaded = send(self.native(words)?, upload).await;
        match uploaded.answer {
            Err(NativeError::Unreachable { reason, .. }) => {
                self.note(reason);
                self.not_acknowledged(&uploaded.upload.content)?;
                Ok(format!("broken off after {after} bytes"))
            }
            _ => self.uploaded(uploaded),
        }
    }

    /// `get OBJECT`: `200, 100 bytes, equal`, or how it differs.
    pub(crate) async fn get(&mut self, words: &Words) -> Result<String, DemoError> {
        let object = words.word(1)?;
        match fetch(self.native(words)?, object.to_string(), agreeing(words)?).await {
            Ok(downloaded) => self.downloaded(object, downloaded),
            Err(error) => self.refused(error),
        }
    }

    /// `parallel N get OBJECT`.
    pub(crate) async fn get_all(&mut self, all: &[Words]) -> Result<Vec<String>, DemoError> {
        let mut tasks = Vec::new();
        for words in all {
            let object = words.word(1)?.to_string();
            tasks.push((object.clone(), tokio::spawn(fetch(self.native(words)?, object, agreeing(words)?))));
        }
        let mut answers = Vec::new();
        for (object, task) in tasks {
            answers.push(match task.await.map_err(joined)? {
                Ok(downloaded) => self.downloaded(&object, downloaded)?,
                Err(error) => self.refused(error)?,
            });
        }
        Ok(answers)
    }

    fn downloaded(&mut self, object: &str, downloaded: Downloaded) -> Result<String, DemoError> {
        let Downloaded { bytes, sha256, broken } = downloaded;
        if let Some(error) = broken {
            self.note(error.to_string());
            return Ok(format!("200, broken off after {bytes} bytes"));
        }
        let Some(stored) = self.objects.get(object) else {
            return Ok(format!("200, {bytes} bytes, of an object that nobody acknowledged"));
        };
        let equal = stored.content.size() == bytes && stored.sha256 == sha256;
        Ok(format!("200, {bytes} bytes, {}", if equal { "equal" } else { "DIFFERENT" }))
    }

    /// `head OBJECT`: `200, 100 bytes`.
    pub(crate) async fn head(&mut self, words: &Words) -> Result<String, DemoError> {
        match self.native(words)?.head(BUCKET, words.word(1)?.as_bytes()).await {
            Ok(headers) => {
                let length = headers.get("content-length").and_then(|value| value.to_str().ok());
                Ok(format!("200, {} bytes", length.unwrap_or("an unknown number of")))
            }
            Err(error) => self.refused(error),
        }
    }

    /// `delete OBJECT`: `204`.
    pub(crate) async fn delete(&mut self, words: &Words) -> Result<String, DemoError> {
        let object = words.word(1)?;
        match self.native(words)?.delete(BUCKET, object.as_bytes()).await {
            Ok(()) => {
                self.deleted(object)?;
                Ok("204".into())
            }
            Err(error) => self.refused(error),
        }
    }

    /// `read-some OBJECT bytes=N as=READER`: reads so much, then stands still with the connection open.
    pub(crate) async fn read_some(&mut self, words: &Words) -> Result<String, DemoError> {
        let wanted = words.number("bytes", 1)?;
        let name = words.get("as").ok_or_else(|| DemoError::usage("`read-some` misses `as=`"))?;
        let mut download = self.native(words)?.get(BUCKET, words.word(1)?.as_bytes(), HeaderMap::new()).await?;
        let mut read = 0;
        while read < wanted {
            match download.next().await? {
                Some(piece) => read += piece.len() as u64,
                None => return Ok(format!("all of it: {read} bytes")),
            }
        }
        self.note(format!("{read} bytes read"));
        self.readers.insert(name.to_string(), download);
        Ok("stands still".into())
    }

    /// `close READER`.
    pub(crate) fn close(&mut self, words: &Words) -> Result<String, DemoError> {
        let name = words.word(1)?;
        let open = self.readers.remove(name);
        open.map(|_| "closed".to_string()).ok_or_else(|| DemoError::usage(format!("no reader `{name}` is open")))
    }

    /// The status of a refusal; what was said is for the watcher.
    fn refused(&mut self, error: NativeError) -> Result<String, DemoError> {
        self.note(error.to_string());
        Ok(match error {
            NativeError::Refused { status, .. } => status.as_u16().to_string(),
            NativeError::Unreachable { .. } => "no answer".into(),
            NativeError::Broken { .. } => "a broken answer".into(),
        })
    }

    /// A client of the gateway that the line names.
    fn native(&self, words: &Words) -> Result<Native, DemoError> {
        let gateway = words.get("through").map_or(Ok(Who::GATEWAY), str::parse)?;
        self.cluster.native(gateway, &self.kid)
    }

    /// Reads every acknowledged object back, through each gateway that runs; returns those that differ, and why.
    pub(crate) async fn read_all_back(&mut self) -> Result<Vec<String>, DemoError> {
        let mut wrong = Vec::new();
        let names: Vec<String> = self.objects.keys().cloned().collect();
        let running = self.cluster.processes().into_iter().filter(|(_, condition)| *condition == Condition::Running);
        let gateways: Vec<_> = running.map(|(who, _)| who).filter(|who| matches!(who, Who::Gateway(_))).collect();
        for (gateway, name) in gateways.iter().flat_map(|gateway| names.iter().map(move |name| (*gateway, name))) {
            let native = self.cluster.native(gateway, &self.kid)?;
            let answer = match fetch(native, name.clone(), HeaderMap::new()).await {
                Ok(downloaded) => self.downloaded(name, downloaded)?,
                Err(error) => self.refused(error)?,
            };
            if !answer.ends_with("equal") {
                wrong.push(format!("{name} through {gateway}: {answer}"));
            }
        }
        Ok(wrong)
    }
}

fn upload(words: &Words) -> Result<Upload, DemoError> {
    let mut headers = HeaderMap::new();
    if let Some(w) = words.get("w") {
        let value = HeaderValue::from_str(w).map_err(|_| DemoError::usage(format!("`w={w}` is no number")))?;
        headers.insert(api::routes::HEADER_W, value);
    }
    if let Some(scheme) = words.get("ec") {
        let value = HeaderValue::from_str(scheme).map_err(|_| DemoError::usage(format!("`ec={scheme}` is no word")))?;
        headers.insert(api::routes::HEADER_EC, value);
    }
    if let Some(mode) = words.get("cut") {
        let value = HeaderValue::from_str(mode).map_err(|_| DemoError::usage(format!("`cut={mode}` is no word")))?;
        headers.insert(api::routes::HEADER_CHUNK_MODE, value);
    }
    Ok(Upload { object: words.word(1)?.to_string(), content: Content::of(words)?, headers, cut: None })
}

async fn send(native: Native, upload: Upload) -> Uploaded {
    let sha = Arc::new(Mutex::new(Sha256::new()));
    let hashing = sha.clone();
    let pieces = upload.content.pieces(upload.cut.unwrap_or(u64::MAX)).map(move |piece| {
        if let Ok(mut sha) = hashing.lock() {
            sha.update(&piece);
        }
        Ok(piece)
    });
    let cut = upload.cut.map(|_| Err(std::io::Error::other("the client broke off, as it was told")));
    let body = stream::iter(pieces.chain(cut));
    let length = Some(upload.content.size());
    let answer = native.put(BUCKET, upload.object.as_bytes(), length, upload.headers.clone(), body).await;
    let sha256 = sha.lock().map(|sha| sha.clone().finalize().into()).unwrap_or_default();
    Uploaded { upload, sha256, answer }
}

/// The header that `r=` asks for: that many copies must agree.
fn agreeing(words: &Words) -> Result<HeaderMap, DemoError> {
    let mut headers = HeaderMap::new();
    if let Some(r) = words.get("r") {
        let value = HeaderValue::from_str(r).map_err(|_| DemoError::usage(format!("`r={r}` is no number")))?;
        headers.insert(api::routes::HEADER_R, value);
    }
    Ok(headers)
}

async fn fetch(native: Native, object: String, headers: HeaderMap) -> Result<Downloaded, NativeError> {
    let mut download = native.get(BUCKET, object.as_bytes(), headers).await?;
    let (mut bytes, mut sha, mut broken) = (0, Sha256::new(), None);
    loop {
        match download.next().await {
            Ok(Some(piece)) => {
                bytes += piece.len() as u64;
                sha.update(&piece);
            }
            Ok(None) => break,
            Err(error) => {
                broken = Some(error);
                break;
            }
        }
    }
    Ok(Downloaded { bytes, sha256: sha.finalize().into(), broken })
}

fn joined(error: tokio::task::JoinError) -> DemoError {
    DemoError::deviation(format!("a request was cut short: {error}"))
}
