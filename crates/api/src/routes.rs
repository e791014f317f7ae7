//! Paths and headers, named once.

/// Objects: `/v1/o/{bucket}/{key}`.
pub const OBJECT_PREFIX: &str = "/v1/o/";
/// Lists: `/v1/list/{bucket}`.
pub const LIST_PREFIX: &str = "/v1/list/";
/// Buckets: `/v1/b/{bucket}`; all of them: `/v1/b`.
pub const BUCKET_PREFIX: &str = "/v1/b/";
/// The list of buckets.
pub const BUCKETS: &str = "/v1/b";

/// Where edges put their questions to a coordinator.
pub const COORD_RPC: &str = "/v1/coord/rpc";
/// Where coordinators talk to each other.
pub const COORD_RAFT: &str = "/v1/coord/raft";
/// The coordinators: list, add, promote, remove, replace.
pub const ADMIN_MEMBERS: &str = "/v1/admin/members";
/// The query by which the list of coordinators is had from whoever is asked, and not from the leader.
pub const ASK_HERE: &str = "here=1";
/// The cluster on one screen.
pub const ADMIN_STATUS: &str = "/v1/admin/status";
/// Row counts.
pub const ADMIN_META_INFO: &str = "/v1/admin/meta/info";
/// All metadata, as a snapshot stream.
pub const ADMIN_META_SNAPSHOT: &str = "/v1/admin/meta/snapshot";
/// The state's hash.
pub const ADMIN_META_HASH: &str = "/v1/admin/meta/hash";
/// The hold on deletes, and the audit before its end.
pub const ADMIN_META_HOLD: &str = "/v1/admin/meta/hold";
/// Begins that audit.
pub const ADMIN_META_HOLD_AUDIT: &str = "/v1/admin/meta/hold/audit";
/// Lifts the hold; `?force=1` in spite of what was found.
pub const ADMIN_META_HOLD_RELEASE: &str = "/v1/admin/meta/hold/release";
/// Scheduled backups.
pub const ADMIN_SNAPSHOT_HISTORY: &str = "/v1/admin/snapshot/history";
/// Data nodes: list, add, remove.
pub const ADMIN_NODES: &str = "/v1/admin/dns";
/// A data node's storage class.
pub const ADMIN_NODE_CLASS: &str = "/v1/admin/dns/class";
/// A data node's labels.
pub const ADMIN_NODE_LABELS: &str = "/v1/admin/dns/labels";
/// Takes a data node in anew.
pub const ADMIN_NODE_REPLACE: &str = "/v1/admin/dns/replace";
/// Notes a data node's new address.
pub const ADMIN_NODE_MOVE: &str = "/v1/admin/dns/move";
/// How the probes of all nodes go.
pub const ADMIN_HEARTBEAT: &str = "/v1/admin/heartbeat";
/// What this process is to its cluster.
pub const ADMIN_ROLE: &str = "/v1/admin/role";
/// A bucket's policy (`?bucket=`): GET shows it, PUT sets it.
pub const ADMIN_BUCKET_POLICY: &str = "/v1/admin/bucket/policy";
/// One object's record.
pub const ADMIN_OBJECT: &str = "/v1/admin/object";
/// URL keys: list, remove.
pub const ADMIN_URLKEYS: &str = "/v1/admin/urlkey";
/// Adds a URL key and makes it primary.
pub const ADMIN_URLKEY_ROTATE: &str = "/v1/admin/urlkey/rotate";

/// What coordinators answer to operators under the reference's names begins so.
pub const COORD_ADMIN_PREFIX: &str = "/v1/coord/admin/";
/// As [`ADMIN_NODES`], in the shape of the reference's coordinator.
pub const COORD_NODES: &str = "/v1/coord/admin/dns";
/// A data node's storage class.
pub const COORD_NODE_CLASS: &str = "/v1/coord/admin/dns/class";
/// A data node's failure domain.
pub const COORD_NODE_DOMAIN: &str = "/v1/coord/admin/dns/domain";
/// As [`ADMIN_URLKEYS`].
pub const COORD_URLKEYS: &str = "/v1/coord/admin/urlkey";
/// As [`ADMIN_URLKEY_ROTATE`]; primary only if it says so.
pub const COORD_URLKEY_ROTATE: &str = "/v1/coord/admin/urlkey/rotate";

/// Write quorum of one request.
pub const HEADER_W: &str = "x-kvfs-w";

/// How a put's body is cut: `fixed` or `cdc`.
pub const HEADER_CHUNK_MODE: &str = "x-kvfs-chunk-mode";
/// Read quorum of one request.
pub const HEADER_R: &str = "x-kvfs-r";
/// Erasure coding of one request.
pub const HEADER_EC: &str = "x-kvfs-ec";
/// The object's version.
pub const HEADER_VERSION: &str = "x-kvfs-version";
/// How many chunks the object has.
pub const HEADER_CHUNKS: &str = "x-kvfs-chunks";
/// How many stripes an object has, on answers about those that are kept so.
pub const HEADER_STRIPES: &str = "x-kvfs-stripes";
/// The request's id, in requests, replies and logs.
pub const HEADER_REQUEST_ID: &str = "x-request-id";

/// CRC-32C of a chunk or of the part of it that follows.
pub const HEADER_CRC: &str = "x-kvfs-crc32c";
/// Where a gateway that only reads sends writers, as a URL: on its refusals.
pub const HEADER_PRIMARY: &str = "x-kvfs-primary";
/// Who leads the coordinators, as a URL: on the refusal of one that does not.
pub const HEADER_LEADER: &str = "x-coord-leader";
/// In a query: the metadata generation in whose name a put, touch or delete is asked for. Signed with the target.
pub const QUERY_GENERATION: &str = "generation";
/// A chunk's token.
pub const HEADER_TOKEN: &str = "x-kvfs-token";
/// The answering directory's incarnation.
pub const HEADER_INCARNATION: &str = "x-kvfs-incarnation";
/// Sender's Unix milliseconds, on requests between processes.
pub const HEADER_TIME: &str = "x-kvfs-time";
/// Signature under the cluster secret.
pub const HEADER_AUTH: &str = "x-kvfs-auth";
/// Which [`ChunkError`](crate::ChunkError) a data node answers, as one word: for people; programs ask for [`MEDIA_RECORD`].
pub const HEADER_ERROR: &str = "x-kvfs-error";

/// What a caller of ours accepts: replies and errors as records of `domain::codec` instead of text for people.
pub const MEDIA_RECORD: &str = "application/x-kvfs-record";
