//! Putting an object in stripes: cut, encode, write, two stripes in hand at most.
//!
//! Room for a whole stripe, parity included, is reserved before its first byte is received, and the bytes stay where they were received until the
//! last of its shards is durable. While one stripe is encoded and on its way, the next is received. A body of at most 64 KiB is not worth
//! shards: it is kept in M + 1 copies, which survive as much.

use bytes::Bytes;
use datapath::{Reservation, StripeWrite};
use domain::cdc::Profile;
use domain::chunking::ChunkMode;
use domain::record::ChunkRef;
use domain::stripe::{DEFAULT_PAYLOAD_BYTES, SMALL_BODY_BYTES};
use domain::view::NodeView;
use domain::{ChunkId, Crc32c, Scheme};
use futures_util::Stream;

use crate::error::{BodyError, ObjectError};
use crate::incoming::Incoming;
use crate::put::{Piece, Pieces, Upload};
use crate::service::Objects;

/// How a body is cut into stripes.
#[derive(Clone, Copy)]
struct Shape {
    scheme: Scheme,
    /// Length of each shard of the longest stripe, in bytes.
    full_shard: u64,
    /// Bytes of the body in that.
    payload: u64,
}

impl Shape {
    /// The most that one stripe takes in memory, parity included, in bytes.
    fn room(self) -> u64 {
        self.full_shard * self.scheme.shards() as u64
    }
}

impl Objects {
    fn shape(&self, scheme: Scheme, mode: ChunkMode) -> Shape {
        let longest_piece = u64::from(Profile::DEFAULT.max());
        let (full_shard, payload) = match mode {
            ChunkMode::ContentDefined => (scheme.last_shard(longest_piece, u64::MAX), longest_piece),
            ChunkMode::Fixed => {
                let set = self.settings().shard_bytes.map(u64::from);
                let full = set.unwrap_or_else(|| scheme.full_shard(DEFAULT_PAYLOAD_BYTES));
                (full, full * scheme.data() as u64)
            }
        };
        Shape { scheme, full_shard, payload }
    }

    /// Whether this store can keep objects so: with as many nodes as shards, and room for two stripes in the byte budget.
    pub(crate) fn check_scheme(&self, scheme: Scheme, mode: ChunkMode) -> Result<(), ObjectError> {
        let view = self.view();
        let nodes = view.nodes.iter().filter(|node: &&NodeView| node.site().is_some()).count();
        if nodes == 0 {
            return Err(ObjectError::NotReady("no data node is known yet".into()));
        }
        if nodes < scheme.shards() {
            return Err(ObjectError::Scheme(format!(
                "EC {scheme} requires {} DNs, cluster has {nodes}: add data nodes, or ask for fewer shards",
                scheme.shards()
            )));
        }
        let (room, budget) = (2 * self.shape(scheme, mode).room(), self.settings().budget_bytes as u64);
        if room > budget {
            return Err(ObjectError::Scheme(format!(
                "two stripes of EC {scheme} take {room} bytes, and the gateway holds {budget} at most: ask for fewer shards, or give it a larger \
                 budget or shorter shards (EDGE_CHUNK_SIZE)"
            )));
        }
        Ok(())
    }
}

impl Upload<'_> {
    /// Receives a body in stripes of `scheme`: of equal length but for the last, or each of a piece that ends where its content says.
    pub async fn receive_stripes<S, E>(&mut self, scheme: Scheme, body: &mut Incoming<S>) -> Result<(), ObjectError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: Into<BodyError>,
    {
        let shape = self.objects.shape(scheme, self.chunk_mode);
        while self.announced != Some(self.received) {
            let expected = self.left().min(shape.payload);
            let room = scheme.last_shard(expected, shape.full_shard) * scheme.shards() as u64;
            let room = self.room(room as usize).await?;
            let Some(payload) = body.next_run(expected as usize, room.bytes).await? else { break };
            self.count_received(payload.len())?;
            self.send_stripe(shape, payload, room.reservation)?;
            self.commit_extent_if_due().await?;
        }
        Ok(())
    }

    /// Sends a stripe on its way; or, if it is all of a small body, copies.
    fn send_stripe(
        &mut self,
        Shape { scheme, full_shard, payload: longest }: Shape,
        mut payload: Vec<u8>,
        mut reservation: Reservation,
    ) -> Result<(), ObjectError> {
        let length = payload.len() as u64;
        let begins = self.received == length;
        let ends = self.announced == Some(length) || length < longest;
        // Content makes no piece so short but the last.
        if begins && ends && length <= SMALL_BODY_BYTES {
            self.copies = (scheme.small_copies(), scheme.small_quorum());
            payload.shrink_to_fit();
            reservation.shrink_to(payload.len());
            let bytes = Bytes::from(payload);
            let chunk = ChunkRef { id: ChunkId::of(&bytes), length: length as u32, crc: Crc32c::of(&bytes) };
            self.etag.add(&chunk.id);
            return self.send_chunk(chunk, bytes, reservation);
        }
        if begins {
            self.written = Pieces::Stripes(scheme, Vec::new());
        }
        let shard_bytes = scheme.last_shard(length, full_shard) as u32;
        let whole = shard_bytes as usize * scheme.shards();
        payload.shrink_to(whole);
        reservation.shrink_to(whole);
        let (class, hold) = (self.class, self.hold(reservation)?);
        let (nodes, late) = (self.objects.inner.nodes.clone(), self.objects.inner.late.clone());
        self.fly(async move {
            let stripe = nodes.cut_stripe(scheme, payload, shard_bytes).await?;
            nodes.write_stripe(StripeWrite { stripe, class, hold }, &late).await.map(Piece::Stripe)
        });
        Ok(())
    }
}
