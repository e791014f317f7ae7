//! Verbs about buckets: ls, mb, rb, bucket policy.

use std::io::Write;

use anyhow::Result;
use api::Admin;
use api::bucket_policy::PolicyJson;
use client::Native;
use client::native::ListedObject;
use domain::BucketName;
use serde_json::json;

use crate::output::{Output, human};
use crate::target::Target;

/// How a list is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One full key per line: for pipes.
    Keys,
    /// Size, time and key: for people.
    Table,
}

/// Lists buckets, or the objects of one: all of them, page by page.
pub async fn ls(
    native: &Native,
    target: Option<&Target>,
    layout: Layout,
    output: Output,
    out: &mut dyn Write,
) -> Result<()> {
    match target {
        None => buckets(native, output, out).await,
        Some(target) => objects(native, target, layout, output, out).await,
    }
}

async fn buckets(native: &Native, output: Output, out: &mut dyn Write) -> Result<()> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = native.buckets(after.as_deref()).await?;
        all.extend(page.buckets);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    output.write(out, &all, |out, all| all.iter().try_for_each(|bucket| writeln!(out, "{}", bucket.name)))?;
    Ok(())
}

/// Text is written page by page; JSON is one array, so it is opened and closed around the pages.
async fn objects(native: &Native, target: &Target, layout: Layout, output: Output, out: &mut dyn Write) -> Result<()> {
    let mut after: Option<String> = None;
    let mut first = true;
    if output == Output::Json {
        write!(out, "[")?;
    }
    loop {
        let page = native.list(&target.bucket, &target.key, after.as_deref()).await?;
        for object in &page.objects {
            match output {
                Output::Json => {
                    write!(out, "{}", if first { "\n" } else { ",\n" })?;
                    serde_json::to_writer(&mut *out, object)?;
                }
                Output::Text => line(object, layout, out)?,
            }
            first = false;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if output == Output::Json {
        writeln!(out, "\n]")?;
    }
    Ok(())
}

fn line(object: &ListedObject, layout: Layout, out: &mut dyn Write) -> Result<()> {
    match layout {
        Layout::Keys => writeln!(out, "{}", object.key)?,
        Layout::Table => writeln!(out, "{:>10}  {}  {}", human(object.size), object.created_at, object.key)?,
    }
    Ok(())
}

/// Makes a bucket.
pub async fn mb(native: &Native, bucket: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    client::native::check_bucket(bucket)?;
    native.create_bucket(bucket).await?;
    output.write(out, &json!({ "created": bucket }), |out, _| writeln!(out, "created {bucket}"))?;
    Ok(())
}

/// Removes an empty bucket.
pub async fn rb(native: &Native, bucket: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    client::native::check_bucket(bucket)?;
    native.delete_bucket(bucket).await?;
    output.write(out, &json!({ "removed": bucket }), |out, _| writeln!(out, "removed {bucket}"))?;
    Ok(())
}

/// Shows what a bucket says of its objects, after setting it if `wish` says to.
pub async fn policy(
    admin: &dyn Admin,
    bucket: &str,
    wish: Option<&PolicyJson>,
    output: Output,
    out: &mut dyn Write,
) -> Result<()> {
    let name = BucketName::parse(bucket)?;
    if let Some(wish) = wish {
        let policy = wish.policy().map_err(anyhow::Error::msg)?;
        admin.set_bucket_policy(&name, &policy).await?;
    }
    let policy = PolicyJson::from(admin.bucket_policy(&name).await?);
    output.write(out, &policy, |out, policy| {
        let said = |what: &str, number: Option<u8>| number.map(|number| format!("{what} {number}"));
        let kept = policy.ec.as_ref().map(|scheme| format!("stripes of {scheme}"));
        let parts =
            [kept, said("copies", policy.copies), said("W", policy.write_quorum), said("R", policy.read_quorum)];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        match parts.is_empty() {
            true => writeln!(out, "{bucket}: as each gateway is configured"),
            false => writeln!(out, "{bucket}: {}", parts.join(", ")),
        }
    })?;
    Ok(())
}
