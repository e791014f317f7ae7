//! A bucket's policy as operators write and read it.

use domain::Scheme;
use domain::policy::{BucketPolicy, Keep};
use serde::{Deserialize, Serialize};

/// The JSON of a policy. What is absent is not said: the gateway's configuration decides. An empty object takes a policy away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyJson {
    /// Stripes of K data shards and M that may be lost, as in `4+2`; not together with `copies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec: Option<String>,
    /// Whole copies of each chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<u8>,
    /// W.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_quorum: Option<u8>,
    /// R.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_quorum: Option<u8>,
}

impl From<BucketPolicy> for PolicyJson {
    fn from(BucketPolicy { keep, write_quorum, read_quorum }: BucketPolicy) -> Self {
        let (ec, copies) = match keep {
            Keep::AsConfigured => (None, None),
            Keep::Copies(copies) => (None, Some(copies)),
            Keep::Stripes(scheme) => (Some(scheme.to_string()), None),
        };
        Self { ec, copies, write_quorum, read_quorum }
    }
}

impl PolicyJson {
    /// The policy, or what is wrong with it.
    pub fn policy(&self) -> Result<BucketPolicy, String> {
        let keep = match (&self.ec, self.copies) {
            (Some(_), Some(_)) => return Err("stripes and copies exclude each other: name one of them".into()),
            (Some(scheme), None) => Keep::Stripes(scheme.parse::<Scheme>().map_err(|error| error.to_string())?),
            (None, Some(copies)) => Keep::Copies(copies),
            (None, None) => Keep::AsConfigured,
        };
        let policy = BucketPolicy { keep, write_quorum: self.write_quorum, read_quorum: self.read_quorum };
        policy.problem().map_or(Ok(policy), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_policies() {
        let table = [
            ("{}", Ok("{}")),
            (r#"{"ec":" 4+2 ","write_quorum":2}"#, Ok(r#"{"ec":"4+2","write_quorum":2}"#)),
            (r#"{"copies":2,"read_quorum":2}"#, Ok(r#"{"copies":2,"read_quorum":2}"#)),
            (r#"{"copies":2,"ec":"4+2"}"#, Err("exclude each other")),
            (r#"{"ec":"4"}"#, Err("not of the form K+M")),
            (r#"{"copies":2,"write_quorum":3}"#, Err("W=3; expected 1 to 2")),
        ];
        for (text, expected) in table {
            let json: PolicyJson = serde_json::from_str(text).unwrap();
            let found = json.policy().map(|policy| serde_json::to_string(&PolicyJson::from(policy)).unwrap());
            match expected {
                Ok(expected) => assert_eq!(found.as_deref(), Ok(expected), "{text}"),
                Err(why) => assert!(found.as_ref().is_err_and(|error| error.contains(why)), "{text}: {found:?}"),
            }
        }
        assert!(serde_json::from_str::<PolicyJson>(r#"{"quorum":1}"#).is_err(), "a typing error is no policy");
    }
}
