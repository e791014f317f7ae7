//! The verb `request`: a signed URL, made right or made wrong in one named way.
//!
//! ```text
//! request PUT note text="hello" expires=-60
//!   -> 401 urlkey: signature expired
//! ```
//!
//! The signature is made here, by the formula that anybody can follow, and not by the client that the other verbs use.

use std::time::Duration;

use client::{Ask, Native};
use domain::urlkey;
use http::Method;

use crate::cluster::{DemoError, Who};
use crate::content::Content;
use crate::environment::url_secret;
use crate::stage::{BUCKET, Stage};
use crate::words::Words;

/// A signature's life, unless the script says otherwise.
const GOOD_FOR_S: i64 = 60;

/// How long a gateway may be silent: longer than any that works is.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a request that must be answered within its second is tried.
const TRIES: usize = 20;

impl Stage {
    /// `request METHOD OBJECT`: the status, and what a refusal says.
    pub(crate) async fn request(&mut self, words: &Words) -> Result<String, DemoError> {
        for _ in 0..TRIES {
            let begun = self.now_s();
            let answer = self.request_once(words, begun).await?;
            // A signature that is good through this very second proves something only if the answer came in it.
            if words.get("expires") != Some("0") || self.now_s() == begun {
                return Ok(answer);
            }
        }
        Err(DemoError::deviation(format!("none of {TRIES} requests was answered in the second in which it was sent")))
    }

    /// `accepted OBJECT key=KID`: 1 if a gateway lets a request through that is signed with that key, else 0.
    pub(crate) async fn accepted(&mut self, words: &Words) -> Result<u64, DemoError> {
        let mut line = words.clone();
        line.plain = vec!["request".into(), "GET".into(), words.word(1)?.into()];
        let answer = self.request_once(&line, self.now_s()).await?;
        Ok(u64::from(!answer.starts_with("401")))
    }

    async fn request_once(&mut self, words: &Words, now_s: i64) -> Result<String, DemoError> {
        let method: Method =
            words.word(1)?.parse().map_err(|_| DemoError::usage(format!("`{}` is no method", words.plain[1])))?;
        let object = words.word(2)?;
        let text = words.get("text").map(str::to_string);
        let target = url(words, now_s)?;
        let ask = Ask::new(method.clone(), target).body(text.clone().unwrap_or_default());
        let gateway = words.get("through").map_or(Ok(Who::GATEWAY), str::parse)?;
        let address = self.cluster.address(gateway)?;
        let reply = self.cluster.http().send(&address, &ask.patience(PATIENCE)).await?;
        if reply.status.is_success() {
            if method == Method::PUT {
                let content = Content::Text(text.unwrap_or_default());
                let answer = serde_json::from_slice(&reply.body)
                    .map_err(|error| DemoError::deviation(format!("the gateway's answer is none: {error}")))?;
                self.acknowledged(object, content.clone(), content.sha256(0..content.size()), answer)?;
            } else if method == Method::DELETE {
                self.deleted(object)?;
            }
            return Ok(reply.status.as_u16().to_string());
        }
        let said: Option<serde_json::Value> = serde_json::from_slice(&reply.body).ok();
        let said = said.and_then(|json| json["error"].as_str().map(str::to_string)).unwrap_or_default();
        Ok(format!("{} {said}", reply.status.as_u16()).trim_end().to_string())
    }

    fn now_s(&self) -> i64 {
        (self.clock.wall_ms() / 1000) as i64
    }
}

/// The path and query that `words` ask for.
fn url(words: &Words, now_s: i64) -> Result<String, DemoError> {
    let seconds = |name: &str, default: i64| match words.get(name) {
        Some(text) => text.parse().map_err(|_| DemoError::usage(format!("`{name}={text}` is no number of seconds"))),
        None => Ok(default),
    };
    let lives = seconds("expires", GOOD_FOR_S)?;
    let signed_until = now_s + seconds("for-expires", lives)?;
    let (method, object) = (words.word(1)?, words.word(2)?);
    let signed_path = format!("{}{BUCKET}/{}", api::routes::OBJECT_PREFIX, words.get("for-object").unwrap_or(object));
    let signed_method = words.get("for-method").unwrap_or(method);
    let key = words.get("key").unwrap_or("v1");
    let sig = urlkey::sign(url_secret(key).as_bytes(), signed_method, signed_path.as_bytes(), signed_until);
    let sig = match words.get("sig") {
        None => Some(sig),
        Some("none") => None,
        Some("upper") => Some(sig.to_uppercase()),
        Some("changed") => Some(format!("{}{}", if sig.starts_with('0') { '1' } else { '0' }, &sig[1..])),
        Some(other) => return Err(DemoError::usage(format!("found `sig={other}`, expected none, upper or changed"))),
    };
    let or = |name: &str, value: String| match words.get(name) {
        Some("none") => None,
        Some(other) => Some(other.to_string()),
        None => Some(value),
    };
    let pairs = [("kid", or("kid", key.into())), ("sig", sig), ("exp", or("exp", (now_s + lives).to_string()))];
    let query = pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    let query = query.collect::<Vec<_>>().join("&");
    Ok(format!("{}?{query}", Native::object_path(BUCKET, object.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_made_right_and_wrong() {
        let url = |line: &str| url(&Words::parse(line).unwrap(), 1_000).unwrap();
        let sign =
            |method: &str, path: &str, exp| urlkey::sign(url_secret("v1").as_bytes(), method, path.as_bytes(), exp);
        let path = "/v1/o/demo/a";
        let right = sign("GET", path, 1_060);
        // (line, expected query)
        let table = [
            ("request GET a", format!("kid=v1&sig={right}&exp=1060")),
            ("request GET a expires=-60", format!("kid=v1&sig={}&exp=940", sign("GET", path, 940))),
            ("request GET a sig=none", "kid=v1&exp=1060".into()),
            ("request GET a exp=none kid=none", format!("sig={right}")),
            ("request GET a exp=soon", format!("kid=v1&sig={right}&exp=soon")),
            ("request GET a for-method=PUT", format!("kid=v1&sig={}&exp=1060", sign("PUT", path, 1_060))),
            ("request GET a for-object=b", format!("kid=v1&sig={}&exp=1060", sign("GET", "/v1/o/demo/b", 1_060))),
            ("request GET a expires=600 for-expires=60", format!("kid=v1&sig={right}&exp=1600")),
            ("request GET a sig=upper", format!("kid=v1&sig={}&exp=1060", right.to_uppercase())),
        ];
        for (line, query) in table {
            assert_eq!(url(line), format!("{path}?{query}"), "{line}");
        }
        let changed = url("request GET a sig=changed");
        assert!(!changed.contains(&right) && changed.contains(&right[1..]), "{changed}");
    }
}
