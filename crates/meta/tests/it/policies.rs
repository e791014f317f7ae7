//! Policies of buckets.

use domain::change::Change;
use domain::policy::{BucketPolicy, Keep, MAX_POLICIES};
use domain::{BucketName, Scheme};
use meta::{Command, Reply, audit, query};

use crate::state_machine::Cluster;

fn bucket(name: &str) -> BucketName {
    BucketName::parse(name).unwrap()
}

fn set(name: &str, policy: BucketPolicy) -> Command {
    Command::SetBucketPolicy { bucket: bucket(name), policy }
}

#[test]
fn a_policy_is_set_changed_and_taken_away() {
    let mut cluster = Cluster::new();
    let scheme: Scheme = "4+2".parse().unwrap();
    let stripes = BucketPolicy { keep: Keep::Stripes(scheme), ..BucketPolicy::default() };
    assert!(matches!(cluster.run(set("b", stripes)), Reply::NoSuch(_)));
    for name in ["b", "c"] {
        cluster.change(Change::CreateBucket { bucket: bucket(name) }).unwrap();
    }
    let policies = |cluster: &Cluster| query::policies(&cluster.tables).unwrap();
    assert_eq!(cluster.run(set("b", stripes)), Reply::Done);
    let copies = BucketPolicy { keep: Keep::Copies(2), write_quorum: Some(1), read_quorum: Some(2) };
    assert_eq!(cluster.run(set("c", stripes)), Reply::Done);
    assert_eq!(cluster.run(set("c", copies)), Reply::Done);
    assert_eq!(policies(&cluster), [(bucket("b"), stripes), (bucket("c"), copies)]);
    let wrong = BucketPolicy { write_quorum: Some(3), ..copies };
    assert!(matches!(cluster.run(set("c", wrong)), Reply::Refused(why) if why.contains("W=3")));
    assert_eq!(cluster.run(set("b", BucketPolicy::default())), Reply::Done);
    assert_eq!(policies(&cluster), [(bucket("c"), copies)]);
    cluster.change(Change::DeleteBucket { bucket: bucket("c") }).unwrap();
    cluster.change(Change::CreateBucket { bucket: bucket("c") }).unwrap();
    assert_eq!(policies(&cluster), [], "it went with its bucket");
    assert_eq!(audit::audit(&cluster.tables).unwrap(), Vec::<String>::new());
}

#[test]
fn there_are_only_so_many() {
    let mut cluster = Cluster::new();
    let policy = BucketPolicy { write_quorum: Some(1), ..BucketPolicy::default() };
    for number in 0..=MAX_POLICIES {
        let name = format!("b{number}");
        cluster.change(Change::CreateBucket { bucket: bucket(&name) }).unwrap();
        match (cluster.run(set(&name, policy)), number < MAX_POLICIES) {
            (Reply::Done, true) | (Reply::Refused(_), false) => {}
            (other, _) => panic!("policy {number}: {other:?}"),
        }
    }
    let other = BucketPolicy { write_quorum: Some(2), ..policy };
    assert_eq!(cluster.run(set("b7", other)), Reply::Done, "a known one may change");
    assert_eq!(query::policies(&cluster.tables).unwrap().len(), MAX_POLICIES);
}
