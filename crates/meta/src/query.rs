//! Questions to the tables: what a coordinator answers from, at one moment.

use domain::policy::BucketPolicy;
use domain::record::ChunkRef;
use domain::record::{
    BodyKind, BodyRow, BucketRow, ChunkRow, ClusterRow, Extent, LeaseRow, NodeRow, ObjectName, ObjectRow, Replica,
    ReplicaState,
};
use domain::secret::{CredentialRow, UrlKeyRow};
use domain::stripe::{LocatedShard, LocatedStripe, ShardRow, StripeExtent, StripeRef, StripeRow, Unit};
use domain::{BucketName, ChunkId, ClassId, LogPosition, NodeId, ObjectKey, StripeId};

use serde::de::DeserializeOwned;

use crate::keys;
use crate::machine::{self, damaged_key, decode, get};
use crate::tables::{StorageError, Table, Tables};

/// The cluster row, once the cluster was founded.
pub fn cluster(tables: &dyn Tables) -> Result<Option<ClusterRow>, StorageError> {
    get(tables, Table::Cluster, keys::CLUSTER)
}

/// All registered nodes, by number.
pub fn nodes(tables: &dyn Tables) -> Result<Vec<(NodeId, NodeRow)>, StorageError> {
    machine::nodes(tables)
}

/// The current version of an object.
pub fn object(tables: &dyn Tables, name: &ObjectName) -> Result<Option<(LogPosition, ObjectRow)>, StorageError> {
    machine::current(tables, name)
}

/// A body.
pub fn body(tables: &dyn Tables, id: LogPosition) -> Result<Option<BodyRow>, StorageError> {
    machine::body(tables, id)
}

/// A chunk's record.
pub fn chunk(tables: &dyn Tables, class: ClassId, id: &ChunkId) -> Result<Option<ChunkRow>, StorageError> {
    get(tables, Table::Chunks, &keys::chunk(class, id))
}

/// The records of these bytes in the first `classes` storage classes: as many as the cluster knows. Costs a look-up a class.
pub fn chunk_in_classes(tables: &dyn Tables, classes: usize, id: &ChunkId) -> Result<Vec<ChunkRow>, StorageError> {
    let mut rows = Vec::new();
    for class in (0..=u8::MAX).take(classes) {
        rows.extend(chunk(tables, ClassId(class), id)?);
    }
    Ok(rows)
}

/// A stripe's record.
pub fn stripe(tables: &dyn Tables, class: ClassId, id: &StripeId) -> Result<Option<StripeRow>, StorageError> {
    get(tables, Table::Stripes, &keys::stripe(class, id))
}

/// Whether some stripe has this chunk id as a shard, on whatever node or none.
pub fn is_shard(tables: &dyn Tables, id: &ChunkId) -> Result<bool, StorageError> {
    Ok(!machine::scan_prefix(tables, Table::Shards, id.as_bytes(), 1)?.is_empty())
}

/// A chunk reference, and the nodes to read it from.
pub type LocatedChunk = (ChunkRef, Vec<NodeId>);

/// A piece of a body, and where to read it from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocatedExtent {
    /// Chunks in whole copies.
    Chunks(Vec<LocatedChunk>),
    /// Stripes.
    Stripes(Vec<LocatedStripe>),
}

/// One extent of a body with, for each chunk or shard, the nodes to read it from: first those that hold it, then, as a last
/// resort, those whose copy was reported bad. `None` if the body or extent is gone.
pub fn extent(tables: &dyn Tables, id: LogPosition, index: u32) -> Result<Option<LocatedExtent>, StorageError> {
    let Some(body) = body(tables, id)? else { return Ok(None) };
    let key = keys::pair(id, u64::from(index));
    match body.kind {
        BodyKind::Chunks => {
            let Some(extent) = get::<Extent>(tables, Table::Extents, &key)? else { return Ok(None) };
            let located = extent.chunks.into_iter().map(|chunk| locate_chunk(tables, body.class, chunk));
            located.collect::<Result<_, _>>().map(|chunks| Some(LocatedExtent::Chunks(chunks)))
        }
        BodyKind::Stripes(_) => {
            let Some(extent) = get::<StripeExtent>(tables, Table::Extents, &key)? else { return Ok(None) };
            let located = extent.stripes.into_iter().map(|stripe| locate_stripe(tables, body.class, stripe));
            located.collect::<Result<_, _>>().map(|stripes| Some(LocatedExtent::Stripes(stripes)))
        }
    }
}

/// What extent `index` of a body refers to, in order and as often as it does.
pub fn units(tables: &dyn Tables, id: LogPosition, body: &BodyRow, index: u32) -> Result<Vec<Unit>, StorageError> {
    machine::units(tables, id, body.kind, index)
}

fn locate_chunk(tables: &dyn Tables, class: ClassId, reference: ChunkRef) -> Result<LocatedChunk, StorageError> {
    let row = chunk(tables, class, &reference.id)?
        .ok_or_else(|| StorageError(format!("chunk {} is referenced and has no record", reference.id)))?;
    Ok((reference, row.held().chain(doubtful(&row.replicas)).collect()))
}

fn locate_stripe(tables: &dyn Tables, class: ClassId, reference: StripeRef) -> Result<LocatedStripe, StorageError> {
    let row = stripe(tables, class, &reference.id)?
        .ok_or_else(|| StorageError(format!("stripe {} is referenced and has no record", reference.id)))?;
    let locate = |shard: &ShardRow| {
        let nodes = shard.held().chain(doubtful(&shard.replicas)).collect();
        LocatedShard { id: shard.id, crc: shard.crc, nodes }
    };
    let shards = row.shards.iter().map(locate).collect();
    Ok(LocatedStripe { stripe: reference, scheme: row.scheme, shard_bytes: row.shard_bytes, shards })
}

fn doubtful(copies: &[Replica]) -> impl Iterator<Item = NodeId> + '_ {
    copies.iter().filter(|copy| matches!(copy.state, ReplicaState::Missing { .. })).map(|copy| copy.node)
}

/// A page of objects: keys and current versions in byte order, and whether there are more.
pub fn list(
    tables: &dyn Tables,
    bucket: &BucketName,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Vec<(ObjectName, ObjectRow)>, bool), StorageError> {
    let start = keys::objects_with_prefix(bucket, prefix);
    let end = keys::after_prefix(&start);
    let resume = after.map(|key| keys::after_prefix(&keys::versions_of(bucket, key)));
    let from = resume.filter(|resume| *resume > start).unwrap_or(start);
    let skip = keys::objects_of(bucket).len();
    let mut rows = match from < end {
        true => tables.scan(Table::Objects, &from, &end, limit.saturating_add(1))?,
        false => Vec::new(),
    };
    let more = rows.len() > limit;
    rows.truncate(limit);
    let parse = |(key, value): (Vec<u8>, Vec<u8>)| {
        let (key, _) = keys::parse_object(&key[skip..]).ok_or_else(|| damaged_key(Table::Objects))?;
        let key = ObjectKey::parse(&key).map_err(|_| damaged_key(Table::Objects))?;
        Ok((ObjectName { bucket: bucket.clone(), key }, decode(Table::Objects, &value)?))
    };
    Ok((rows.into_iter().map(parse).collect::<Result<_, _>>()?, more))
}

/// Whether a bucket exists.
pub fn bucket(tables: &dyn Tables, name: &BucketName) -> Result<Option<BucketRow>, StorageError> {
    get(tables, Table::Buckets, &keys::bucket(name))
}

/// At most `limit` buckets after `after`, in order.
pub fn buckets(
    tables: &dyn Tables,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(BucketName, BucketRow)>, StorageError> {
    let from = after.map_or_else(Vec::new, |name| [name.as_bytes(), &[0]].concat());
    let parse = |(key, value): (Vec<u8>, Vec<u8>)| {
        let name = std::str::from_utf8(&key).ok().and_then(|name| BucketName::parse(name).ok());
        Ok((name.ok_or_else(|| damaged_key(Table::Buckets))?, decode(Table::Buckets, &value)?))
    };
    tables.scan(Table::Buckets, &from, &[], limit)?.into_iter().map(parse).collect()
}

/// The policies of all buckets that have one, in order of their names.
pub fn policies(tables: &dyn Tables) -> Result<Vec<(BucketName, BucketPolicy)>, StorageError> {
    let mut found = Vec::new();
    for (key, _) in tables.scan(Table::Policies, &[], &[], usize::MAX)? {
        let name = std::str::from_utf8(&key).ok().and_then(|name| BucketName::parse(name).ok());
        let name = name.ok_or_else(|| damaged_key(Table::Policies))?;
        if let Some(policy) = bucket(tables, &name)?.and_then(|row| row.policy) {
            found.push((name, policy));
        }
    }
    Ok(found)
}

/// All leases.
pub fn leases(tables: &dyn Tables) -> Result<Vec<(LogPosition, LeaseRow)>, StorageError> {
    let parse = |(key, value): (Vec<u8>, Vec<u8>)| {
        let id = keys::parse_position(&key).ok_or_else(|| damaged_key(Table::Leases))?;
        Ok((id, decode(Table::Leases, &value)?))
    };
    tables.scan(Table::Leases, &[], &[], usize::MAX)?.into_iter().map(parse).collect()
}

/// All URL keys, by kid.
pub fn url_keys(tables: &dyn Tables) -> Result<Vec<(String, UrlKeyRow)>, StorageError> {
    named(tables, Table::UrlKeys, None, usize::MAX)
}

/// At most `limit` S3 credentials after the access key id `after`, in order.
pub fn credentials(
    tables: &dyn Tables,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, CredentialRow)>, StorageError> {
    named(tables, Table::Credentials, after, limit)
}

fn named<T: DeserializeOwned>(
    tables: &dyn Tables,
    table: Table,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, T)>, StorageError> {
    let from = after.map_or_else(Vec::new, |name| [name.as_bytes(), &[0]].concat());
    let parse = |(key, value): (Vec<u8>, Vec<u8>)| {
        Ok((String::from_utf8(key).map_err(|_| damaged_key(table))?, decode(table, &value)?))
    };
    tables.scan(table, &from, &[], limit)?.into_iter().map(parse).collect()
}

/// At most `limit` bodies in the trash.
pub fn trash(tables: &dyn Tables, limit: usize) -> Result<Vec<LogPosition>, StorageError> {
    let rows = tables.scan(Table::Trash, &[], &[], limit)?;
    rows.iter().map(|(key, _)| keys::parse_position(key).ok_or_else(|| damaged_key(Table::Trash))).collect()
}

/// At most `limit` chunks and stripes that have been without references the longest, at least since log index `until`.
pub fn garbage(
    tables: &dyn Tables,
    until: u64,
    limit: usize,
) -> Result<Vec<(LogPosition, ClassId, Unit)>, StorageError> {
    let rows = tables.scan(Table::Garbage, &[], &keys::position(LogPosition::new(until, 0)), limit)?;
    rows.iter().map(|(key, _)| keys::parse_garbage(key).ok_or_else(|| damaged_key(Table::Garbage))).collect()
}

/// At most `limit` chunk records after the row `after`, and where the next page begins.
#[expect(clippy::type_complexity, reason = "a page: its rows, and where the next one begins")]
pub fn chunk_page(
    tables: &dyn Tables,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Vec<(ClassId, ChunkId, ChunkRow)>, Option<Vec<u8>>), StorageError> {
    let from = after.map_or_else(Vec::new, |key| [key, &[0]].concat());
    let rows = tables.scan(Table::Chunks, &from, &[], limit)?;
    let next = (rows.len() == limit).then(|| rows.last().map(|(key, _)| key.clone())).flatten();
    let parse = |(key, value): (Vec<u8>, Vec<u8>)| {
        let (class, id) = keys::parse_chunk(&key).ok_or_else(|| damaged_key(Table::Chunks))?;
        Ok((class, id, decode(Table::Chunks, &value)?))
    };
    Ok((rows.into_iter().map(parse).collect::<Result<_, _>>()?, next))
}

/// At most `limit` stripe records after the row `after`, and where the next page begins.
#[expect(clippy::type_complexity, reason = "a page: its rows, and where the next one begins")]
pub fn stripe_page(
    tables: &dyn Tables,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Vec<(ClassId, StripeId, StripeRow)>, Option<Vec<u8>>), StorageError> {
    let from = after.map_or_else(Vec::new, |key| [key, &[0]].concat());
    let rows = tables.scan(Table::Stripes, &from, &[], limit)?;
    let next = (rows.len() == limit).then(|| rows.last().map(|(key, _)| key.clone())).flatten();
    let parse = |(key, value): (Vec<u8>, Vec<u8>)| {
        let (class, id) = keys::parse_stripe(&key).ok_or_else(|| damaged_key(Table::Stripes))?;
        Ok((class, id, decode(Table::Stripes, &value)?))
    };
    Ok((rows.into_iter().map(parse).collect::<Result<_, _>>()?, next))
}

/// The references of at most `limit` extents after the row `after`, each with the class of its body: a page of a mark pass, and where the next
/// begins.
#[expect(clippy::type_complexity, reason = "a page: its rows, and where the next one begins")]
pub fn mark_page(
    tables: &dyn Tables,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Vec<(ClassId, Unit)>, Option<Vec<u8>>), StorageError> {
    let from = after.map_or_else(Vec::new, |key| [key, &[0]].concat());
    let rows = tables.scan(Table::Extents, &from, &[], limit)?;
    let next = (rows.len() == limit).then(|| rows.last().map(|(key, _)| key.clone())).flatten();
    let mut units = Vec::new();
    let mut last: Option<(LogPosition, BodyKind, ClassId)> = None;
    for (key, value) in &rows {
        let id = key.get(..8).and_then(keys::parse_position).ok_or_else(|| damaged_key(Table::Extents))?;
        let (kind, class) = match last {
            Some((known, kind, class)) if known == id => (kind, class),
            _ => {
                let row = body(tables, id)?;
                let row = row.ok_or_else(|| StorageError(format!("body {id} has an extent and no row")))?;
                (row.kind, row.class)
            }
        };
        last = Some((id, kind, class));
        units.extend(machine::decode_units(kind, value)?.into_iter().map(|unit| (class, unit)));
    }
    Ok((units, next))
}
