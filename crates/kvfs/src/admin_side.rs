//! The operator's verbs: find the admin API, do the thing, say how it went.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use api::Clock;
use api::bucket_policy::PolicyJson;
use api::keys::Rotation;
use bootstrap::{Secret, SystemClock, SystemEntropy, secrets};
use cli::client_file::secret_text;
use cli::{ClientFile, Output, Target};
use domain::id::hex;
use domain::record::ObjectName;
use domain::registry::NodeLabels;
use domain::{BucketName, ObjectKey};

use crate::args::{BucketVerb, CoordVerb, DnsVerb, MembersVerb, NodeVerb, Reach, UrlkeyVerb, Verb};
use crate::client_side::{admin, client_path};
use crate::meta_args::MetaVerb;
use crate::meta_verbs;

/// Carries an operator's verb out.
pub async fn run(verb: Verb, reach: &Reach, output: Output, out: &mut dyn Write) -> Result<()> {
    let to = &admin(reach)?;
    match verb {
        Verb::Node { verb } => node(verb, to, output, out).await,
        Verb::Dns { verb } => dns(verb, to, output, out).await,
        Verb::Urlkey { verb: UrlkeyVerb::List } => cli::keys::list(to, output, out).await,
        Verb::Urlkey { verb: UrlkeyVerb::Remove { kid, kid_flag } } => {
            cli::keys::remove(to, &kid.or(kid_flag).unwrap_or_default(), output, out).await
        }
        Verb::Urlkey { verb: UrlkeyVerb::Rotate { kid, secret_file, secret_hex, primary } } => {
            let new = NewKey { kid, secret_file, secret_hex, primary };
            rotate(new, reach, to, output, out).await
        }
        Verb::Bucket { verb: BucketVerb::Policy { bucket, ec, copies, write_quorum, read_quorum, reset } } => {
            let wish = PolicyJson { ec, copies, write_quorum, read_quorum };
            let wish = (reset || wish != PolicyJson::default()).then_some(wish);
            cli::buckets::policy(to, &bucket, wish.as_ref(), output, out).await
        }
        Verb::Heartbeat => cli::insight::heartbeat(to, output, out).await,
        Verb::Role => cli::insight::role(to, output, out).await,
        Verb::Inspect { object, object_flag } => {
            let target = Target::object(&object.or(object_flag).unwrap_or_default())?;
            let name = ObjectName { bucket: BucketName::parse(&target.bucket)?, key: ObjectKey::parse(&target.key)? };
            cli::insight::inspect(to, &name, output, out).await
        }
        Verb::Coord { verb: Some(CoordVerb::Members { verb }), .. } => members(verb, to, output, out).await,
        Verb::Meta { verb: MetaVerb::Backup { out: file } } => {
            meta_verbs::backup(to, file.as_deref(), output, out).await
        }
        Verb::Meta { verb: MetaVerb::Hash { .. } } => cli::meta::hash(to, output, out).await,
        Verb::Meta { verb: MetaVerb::ReleaseHold { force } } => cli::meta::release_hold(to, force, output, out).await,
        Verb::Meta { verb: MetaVerb::History } => cli::meta::history(to, output, out).await,
        Verb::Meta { verb: MetaVerb::Info } => cli::admin::meta_info(to, output, out).await,
        Verb::Status => cli::admin::status(to, output, out).await,
        Verb::Stat { object: None } => cli::admin::totals(to, output, out).await,
        _ => bail!("this verb is not an operator's"),
    }
}

async fn members(verb: MembersVerb, to: &dyn api::Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    match verb {
        MembersVerb::List => cli::members::list(to, output, out).await,
        MembersVerb::Add { addr, promote } => cli::members::add(to, &addr, promote, output, out).await,
        MembersVerb::Promote { member } => cli::members::promote(to, &member, output, out).await,
        MembersVerb::Remove { member } => cli::members::remove(to, &member, output, out).await,
        MembersVerb::Recover { .. } => bail!("recovering is done on a directory"),
        MembersVerb::Replace { old, new } => cli::members::replace(to, &old, &new, output, out).await,
    }
}

async fn node(verb: NodeVerb, to: &dyn api::Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    match verb {
        NodeVerb::Add { addr } => cli::admin::node_add(to, &addr, output, out).await,
        NodeVerb::Remove { addr } => cli::admin::node_remove(to, &addr, output, out).await,
        NodeVerb::Replace { addr } => cli::admin::node_replace(to, &addr, output, out).await,
        NodeVerb::Relabel { addr, class, domain, weight } => {
            cli::admin::node_label(to, &addr, &NodeLabels { class, domain, weight }, output, out).await
        }
        NodeVerb::Move { addr, to: target } => cli::admin::node_move(to, &addr, &target, output, out).await,
        NodeVerb::List => cli::admin::node_list(to, output, out).await,
    }
}

async fn dns(verb: DnsVerb, to: &dyn api::Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    match verb {
        DnsVerb::List => cli::admin::dns_list(to, output, out).await,
        DnsVerb::Add { addr } => cli::admin::node_add(to, &addr, output, out).await,
        DnsVerb::Remove { addr } => cli::admin::node_remove(to, &addr, output, out).await,
        DnsVerb::Class { addr, class } => {
            let labels = NodeLabels { class: Some(class), ..NodeLabels::default() };
            cli::admin::node_label(to, &addr, &labels, output, out).await
        }
        DnsVerb::Domain { addr, domain } => {
            let labels = NodeLabels { domain: Some(domain), ..NodeLabels::default() };
            cli::admin::node_label(to, &addr, &labels, output, out).await
        }
    }
}

/// A key to be rotated in.
struct NewKey {
    kid: Option<String>,
    secret_file: Option<PathBuf>,
    secret_hex: Option<String>,
    primary: bool,
}

/// Registers the key, and then keeps it in the client file by which the store was found: in that order, because the old key stays good.
async fn rotate(new: NewKey, reach: &Reach, to: &dyn api::Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    let kept_in = client_path(reach).filter(|_| reach.coord.is_none() && reach.endpoint.is_none());
    let kid = new.kid.unwrap_or_else(|| format!("v{}", SystemClock::new().wall_ms() / 1000));
    let secret_hex = match (new.secret_hex, &new.secret_file) {
        (Some(hex), _) => hex,
        (None, Some(path)) => {
            let secret = secrets::read_or_draw(path, &SystemEntropy);
            hex(secret.with_context(|| format!("the secret in {}", path.display()))?.expose())
        }
        (None, None) if kept_in.is_some() && new.primary => hex(Secret::draw(&SystemEntropy).expose()),
        (None, None) => return Err(anyhow!(NowhereToKeep)),
    };
    let wish = Rotation { kid, secret_hex, is_primary: Some(new.primary) };
    cli::keys::rotate(to, &wish, output, out).await?;
    if let Some(path) = kept_in.filter(|_| new.primary) {
        keep(&path, &wish).with_context(|| format!("the key is registered, but not kept in {}", path.display()))?;
        if output == Output::Text {
            writeln!(out, "{} has it: clients here sign with it from now on", path.display())?;
        }
    }
    Ok(())
}

fn keep(path: &Path, wish: &Rotation) -> Result<()> {
    let secret = wish.secret().map_err(anyhow::Error::msg)?;
    let file = ClientFile::read(path)?;
    ClientFile { kid: wish.kid.clone(), secret: secret_text(&secret), ..file }.write(path)
}

/// A secret would be drawn that nobody could ever use.
#[derive(Debug)]
pub struct NowhereToKeep;

impl std::fmt::Display for NowhereToKeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no client file keeps the new secret: name --secret-file FILE, which is drawn if it is not there")
    }
}

impl std::error::Error for NowhereToKeep {}
