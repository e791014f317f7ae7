//! Double-entry bookkeeping, checked: what is counted along the way against what a full count finds.
//!
//! Costs a read of every row, so it is for tests, drills and operators who want to know.

use std::collections::{BTreeMap, BTreeSet};

use domain::record::{BodyRow, BucketRow, ChunkRow, ObjectRow};
use domain::stripe::{StripeRow, Unit};
use domain::{ClassId, LogPosition, StripeId};

use crate::keys;
use crate::machine::{damaged_key, decode, decode_body, decode_units};
use crate::stripes::{copies_of, nowhere};
use crate::tables::{StorageError, Table, Tables};
use crate::totals;

/// Everything about the tables that contradicts something else in them; empty if they are sound.
pub fn audit(tables: &dyn Tables) -> Result<Vec<String>, StorageError> {
    let mut problems = Vec::new();
    let bodies = bodies(tables)?;
    audit_uses(tables, &bodies, &mut problems)?;
    let references = audit_extents(tables, &bodies, &mut problems)?;
    audit_chunks(tables, &references, &mut problems)?;
    audit_stripes(tables, &references, &mut problems)?;
    audit_policies(tables, &mut problems)?;
    let (said, found) = (totals::totals(tables)?, totals::count(tables)?);
    if said != found {
        problems.push(format!("the totals say {said:?} and are {found:?}"));
    }
    Ok(problems)
}

type Bodies = BTreeMap<LogPosition, BodyRow>;
type References = BTreeMap<(ClassId, Unit), u64>;

fn bodies(tables: &dyn Tables) -> Result<Bodies, StorageError> {
    let rows = tables.scan(Table::Bodies, &[], &[], usize::MAX)?;
    let parse = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let id = keys::parse_position(key).ok_or_else(|| damaged_key(Table::Bodies))?;
        Ok((id, decode_body(value)?))
    };
    rows.iter().map(parse).collect()
}

/// Each body has as many uses as objects point at it; one without is being built or in the trash.
fn audit_uses(tables: &dyn Tables, bodies: &Bodies, problems: &mut Vec<String>) -> Result<(), StorageError> {
    let mut uses: BTreeMap<LogPosition, u32> = BTreeMap::new();
    for (_, value) in tables.scan(Table::Objects, &[], &[], usize::MAX)? {
        let object: ObjectRow = decode(Table::Objects, &value)?;
        *uses.entry(object.body).or_default() += 1;
    }
    for (id, body) in bodies {
        let found = uses.remove(id).unwrap_or(0);
        if found != body.uses {
            problems.push(format!("body {id} says {} uses and has {found}", body.uses));
        }
        let trashed = tables.get(Table::Trash, &keys::position(*id))?.is_some();
        if (body.uses == 0 && body.builder.is_none()) != trashed {
            problems.push(format!("body {id}: {body:?}, in the trash: {trashed}"));
        }
    }
    problems.extend(uses.keys().map(|id| format!("body {id} is pointed at and is not there")));
    Ok(())
}

/// Every extent is of a body, and every body has its extents. Returns the references to each chunk and stripe.
fn audit_extents(tables: &dyn Tables, bodies: &Bodies, problems: &mut Vec<String>) -> Result<References, StorageError> {
    let mut references = BTreeMap::new();
    let mut extents: BTreeMap<LogPosition, u32> = BTreeMap::new();
    for (key, value) in tables.scan(Table::Extents, &[], &[], usize::MAX)? {
        let body = key.get(..8).and_then(keys::parse_position).ok_or_else(|| damaged_key(Table::Extents))?;
        *extents.entry(body).or_default() += 1;
        let Some(row) = bodies.get(&body) else { continue };
        for unit in decode_units(row.kind, &value)? {
            *references.entry((row.class, unit)).or_default() += 1;
        }
    }
    for (id, body) in bodies {
        let found = extents.remove(id).unwrap_or(0);
        if found != body.extents {
            problems.push(format!("body {id} says {} extents and has {found}", body.extents));
        }
    }
    problems.extend(extents.keys().map(|id| format!("extents of body {id} are there, and it is not")));
    Ok(references)
}

/// Each chunk counts its references, and is garbage exactly when there are none.
fn audit_chunks(tables: &dyn Tables, references: &References, problems: &mut Vec<String>) -> Result<(), StorageError> {
    let mut known = 0;
    for (key, value) in tables.scan(Table::Chunks, &[], &[], usize::MAX)? {
        let (class, id) = keys::parse_chunk(&key).ok_or_else(|| damaged_key(Table::Chunks))?;
        let row: ChunkRow = decode(Table::Chunks, &value)?;
        let found = references.get(&(class, Unit::Chunk(id))).copied().unwrap_or(0);
        known += usize::from(found > 0);
        if found != row.count {
            problems.push(format!("chunk {id} counts {} references and has {found}", row.count));
        }
        let dated = match row.zero_at {
            Some(since) => tables.get(Table::Garbage, &keys::garbage(since, class, &id))?.is_some(),
            None => false,
        };
        if dated != (row.count == 0) {
            problems.push(format!("chunk {id} with {} references, listed as garbage: {dated}", row.count));
        }
    }
    let referenced = references.keys().filter(|(_, unit)| matches!(unit, Unit::Chunk(_))).count();
    if known != referenced {
        problems.push(format!("{referenced} chunks are referenced and {known} of them have a record"));
    }
    Ok(())
}

/// Each stripe counts its references, is garbage exactly when there are none, has the id of its shards, and each of their copies stands in
/// the list of its node, which has nothing else.
fn audit_stripes(tables: &dyn Tables, references: &References, problems: &mut Vec<String>) -> Result<(), StorageError> {
    let (mut known, mut placed) = (0, BTreeSet::new());
    for (key, value) in tables.scan(Table::Stripes, &[], &[], usize::MAX)? {
        let (class, id) = keys::parse_stripe(&key).ok_or_else(|| damaged_key(Table::Stripes))?;
        let row: StripeRow = decode(Table::Stripes, &value)?;
        let found = references.get(&(class, Unit::Stripe(id))).copied().unwrap_or(0);
        known += usize::from(found > 0);
        if found != row.count {
            problems.push(format!("stripe {id} counts {} references and has {found}", row.count));
        }
        let dated = match row.zero_at {
            Some(since) => tables.get(Table::Garbage, &keys::garbage_stripe(since, class, &id))?.is_some(),
            None => false,
        };
        if dated != (row.count == 0) {
            problems.push(format!("stripe {id} with {} references, listed as garbage: {dated}", row.count));
        }
        if StripeId::of(row.scheme, row.shards.iter().map(|shard| &shard.id)) != id {
            problems.push(format!("stripe {id} has not the id of its shards"));
        }
        let degraded = tables.get(Table::Degraded, &keys::queued_stripe(class, &id))?.is_some();
        if degraded != (row.standing() < row.scheme.shards()) {
            problems.push(format!("stripe {id} with {} good shards, listed as degraded: {degraded}", row.standing()));
        }
        placed.extend(nowhere(&row).iter().map(|shard| keys::shard_nowhere(shard, class, &id)));
        placed.extend(copies_of(&row).map(|(shard, copy)| keys::shard(copy.node, &shard, class, &id)));
    }
    let referenced = references.keys().filter(|(_, unit)| matches!(unit, Unit::Stripe(_))).count();
    if known != referenced {
        problems.push(format!("{referenced} stripes are referenced and {known} of them have a record"));
    }
    let listed: BTreeSet<_> =
        tables.scan(Table::Shards, &[], &[], usize::MAX)?.into_iter().map(|(key, _)| key).collect();
    if listed != placed {
        let (more, less) = (listed.difference(&placed).count(), placed.difference(&listed).count());
        problems.push(format!("the lists of shards by node have {more} too many and lack {less}"));
    }
    Ok(())
}

fn audit_policies(tables: &dyn Tables, problems: &mut Vec<String>) -> Result<(), StorageError> {
    let mut have = BTreeSet::new();
    for (key, value) in tables.scan(Table::Buckets, &[], &[], usize::MAX)? {
        let row: BucketRow = decode(Table::Buckets, &value)?;
        if row.policy.is_some() {
            have.insert(key);
        }
    }
    let listed: BTreeSet<_> =
        tables.scan(Table::Policies, &[], &[], usize::MAX)?.into_iter().map(|(key, _)| key).collect();
    if listed != have {
        problems.push(format!("{} buckets have a policy and {} are listed", have.len(), listed.len()));
    }
    Ok(())
}
