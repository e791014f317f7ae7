//! Verbs for URL keys: list, rotate, remove. Nothing here prints a secret.

use std::io::{self, Write};

use anyhow::Result;
use api::Admin;
use api::keys::{Rotation, UrlKeyInfo};
use serde_json::json;

use crate::output::Output;

/// Lists the URL keys, the primary one marked.
pub async fn list(admin: &dyn Admin, output: Output, out: &mut dyn Write) -> Result<()> {
    let keys = admin.list_url_keys().await?;
    output.write(out, &keys, |out, keys| table(out, keys))?;
    Ok(())
}

/// Registers a key; gives back nothing but what can be listed.
pub async fn rotate(admin: &dyn Admin, wish: &Rotation, output: Output, out: &mut dyn Write) -> Result<()> {
    let keys = admin.rotate_url_key(wish).await?;
    output.write(out, &keys, |out, keys| table(out, keys))?;
    Ok(())
}

/// Removes a key: URLs that it signed are refused from then on.
pub async fn remove(admin: &dyn Admin, kid: &str, output: Output, out: &mut dyn Write) -> Result<()> {
    let keys = admin.remove_url_key(kid).await?;
    let json = json!({ "removed": kid, "keys": keys });
    output.write(out, &json, |out, _| {
        writeln!(out, "removed {kid}")?;
        table(out, &keys)
    })?;
    Ok(())
}

fn table(out: &mut dyn Write, keys: &[UrlKeyInfo]) -> io::Result<()> {
    writeln!(out, "  {:<24} REGISTERED", "KEY")?;
    for key in keys {
        let mark = if key.is_primary { '*' } else { ' ' };
        writeln!(out, "{mark} {:<24} {}", key.kid, key.created_at)?;
    }
    Ok(())
}
