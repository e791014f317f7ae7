//! Commands: what stands in the log. Replies: what each of them came to.

use domain::change::{Change, Outcome, Refusal, Session};
use domain::codec::{self, CodecError};
use domain::policy::BucketPolicy;
use domain::registry::{LossCause, NodeLabels};
use domain::secret::{CredentialState, Sealed};
use domain::{BucketName, ChunkId, ClassId, Incarnation, LogPosition, NodeId, StripeId};
use serde::{Deserialize, Serialize};

/// The payload of one log entry: commands proposed together, applied in order, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's wall clock, in milliseconds: data only.
    pub now_ms: u64,
    /// The leader's monotonic time since it began to lead, added to the ticks it found applied: time-outs only.
    pub ticks_ms: u64,
    /// The term in which these commands were planned, if they hold in no later one.
    pub reign: Option<u64>,
    /// The commands; their position here is their slot.
    pub commands: Vec<Command>,
}

impl Batch {
    /// The entry's bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The entry from its bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes)
    }
}

/// A deterministic step of the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The cluster's first command: gives it its id. Later ones change nothing.
    Found {
        /// Drawn by the founder.
        cluster_id: u128,
    },
    /// A change that an edge asked for.
    Change {
        /// Under which lease and number.
        session: Session,
        /// What.
        change: Change,
    },
    /// Opens a lease.
    OpenLease {
        /// A name for people.
        holder: String,
        /// Log index known to be applied when it was asked for: its first floor.
        known: u64,
    },
    /// Keeps a lease and sets its floor.
    RenewLease {
        /// Which.
        lease: LogPosition,
        /// Its new floor; never lowered.
        floor: u64,
    },
    /// Gives a lease up.
    CloseLease {
        /// Which.
        lease: LogPosition,
    },
    /// Removes a lease if it was not renewed for so many ticks.
    ExpireLease {
        /// Which.
        lease: LogPosition,
        /// Its allowance, in milliseconds of ticks.
        after_ms: u64,
    },
    /// Does nothing; its log index is what a delete waits for floors to pass.
    Barrier,
    /// Registers a node by its address.
    AddNode {
        /// Address, and the name it is placed by.
        addr: String,
    },
    /// Notes the incarnation that was stamped for a node that has none yet.
    StampNode {
        /// Which.
        node: NodeId,
        /// The stamp.
        incarnation: Incarnation,
    },
    /// Notes what a node's directory was known to hold: it is never believed with less again.
    WitnessNode {
        /// Which.
        node: NodeId,
        /// In which incarnation.
        incarnation: Incarnation,
        /// Its boot counter.
        boot: u64,
        /// The witness that it stored.
        witness: u64,
    },
    /// Notes that a node's directory is not the one that was stamped: its answers count no more, and its copies go missing.
    LoseNode {
        /// Which.
        node: NodeId,
        /// The incarnation that is lost; another one is let alone.
        incarnation: Incarnation,
        /// What was found instead.
        cause: LossCause,
    },
    /// Takes a node in anew: from now on this incarnation counts, and copies of earlier ones are missing.
    ReplaceNode {
        /// Which.
        node: NodeId,
        /// What was stamped.
        incarnation: Incarnation,
    },
    /// Counts copies of earlier incarnations of a node as missing, among the next so many chunks or stripes ([`crate::MAX_SWEEP`] at most).
    SweepNode {
        /// Which.
        node: NodeId,
        /// How many chunks to look at.
        chunks: u32,
    },
    /// Changes a node's labels.
    LabelNode {
        /// Its address.
        addr: String,
        /// What to change.
        labels: NodeLabels,
    },
    /// Notes that a node is reached at another address. It keeps its name, and so its place.
    MoveNode {
        /// Where it was reached.
        addr: String,
        /// Where it is reached now.
        to: String,
    },
    /// Removes a node that no copy names, unless too few would remain.
    RemoveNode {
        /// Its address.
        addr: String,
        /// Nodes that must remain; more if a write has asked for more copies.
        copies: u8,
    },
    /// Adds a URL key, as the primary, if the set is empty.
    SeedUrlKey {
        /// Its name.
        kid: String,
        /// Its secret.
        secret: Sealed,
    },
    /// Adds a URL key, or replaces the secret of a known one.
    PutUrlKey {
        /// Its name.
        kid: String,
        /// Its secret.
        secret: Sealed,
        /// Whether new URLs are signed with it from now on.
        primary: bool,
    },
    /// Seals a URL key's secret anew, if it is sealed as it was.
    ResealUrlKey {
        /// Its name.
        kid: String,
        /// As it was sealed.
        was: Sealed,
        /// As it is sealed now.
        secret: Sealed,
    },
    /// Removes a URL key that is neither the primary nor the last.
    RemoveUrlKey {
        /// Its name.
        kid: String,
    },
    /// Adds an S3 credential, or replaces the one with this access key id.
    PutCredential {
        /// Its access key id.
        access_key: String,
        /// Its secret.
        secret: Sealed,
        /// Whose it is.
        user: String,
        /// Whether it lets anybody in.
        state: CredentialState,
    },
    /// Removes an S3 credential.
    RemoveCredential {
        /// Its access key id.
        access_key: String,
    },
    /// Takes references out of a body in the trash, from its last extent on; the body goes with its first.
    EmptyTrash {
        /// The body.
        body: LogPosition,
    },
    /// Forgets chunks that nothing references and nothing can come to rely on.
    ForgetChunks {
        /// Index of the barrier that all floors have passed.
        barrier: u64,
        /// What the plan saw: the chunk, and where its count fell to 0.
        chunks: Vec<(ClassId, ChunkId, LogPosition)>,
    },
    /// Forbids (with a reason) or allows deletes.
    HoldDeletes {
        /// Why; `None` releases the hold.
        reason: Option<String>,
    },
    /// Forgets stripes that nothing references and nothing can come to rely on.
    ForgetStripes {
        /// Index of the barrier that all floors have passed.
        barrier: u64,
        /// What the plan saw: the stripe, and where its count fell to 0.
        stripes: Vec<(ClassId, StripeId, LogPosition)>,
    },
    /// Gives a bucket a policy, or takes it away with one that says nothing.
    SetBucketPolicy {
        /// The bucket.
        bucket: BucketName,
        /// What it says from now on.
        policy: BucketPolicy,
    },
}

/// What a command came to. Equal on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, or nothing needed doing.
    Done,
    /// A change was carried out or refused.
    Changed(Result<Outcome, Refusal>),
    /// A lease was opened.
    Lease(LogPosition),
    /// The lease is not there.
    LeaseGone,
    /// The node is registered under this number.
    Node(NodeId),
    /// The command contradicts the registry.
    Refused(String),
    /// What the command names is not there.
    NoSuch(String),
    /// There is more to do: the body has more to empty, the sweep more to look at.
    More,
    /// These records are gone; on these nodes no record places the chunk any more.
    Forgotten(Vec<(ChunkId, Vec<NodeId>)>),
    /// Records of stripes are gone.
    Released {
        /// How many.
        stripes: u64,
        /// Shards that no record places there any more.
        copies: Vec<(NodeId, ChunkId)>,
    },
}
