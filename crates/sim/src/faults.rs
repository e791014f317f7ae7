//! Faults that come while requests run, and go again.

use std::time::Duration;

use crate::cluster::{BootError, Cluster, NODE_RESERVE_BYTES};
use crate::power::Who;
use crate::random::Random;
use api::Disk;
use tokio_util::sync::CancellationToken;

/// When a power cut comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Instead of the n-th change of the disks concerned.
    Change(u64),
    /// After so many milliseconds.
    Ms(u64),
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power of everything goes.
    PowerCut(When),
    /// One machine goes, and comes back.
    Down {
        /// Which.
        who: Who,
        /// Its power; else `kill -9`.
        power: bool,
        /// When.
        when: When,
        /// For how long.
        for_ms: u64,
    },
    /// The network loses and repeats messages.
    Loss(u64),
    /// Two machines do not reach each other for a while.
    Partition(Who, Who, u64),
    /// A node's disk has no more room for a while.
    Full(usize, u64),
    /// A sync of the coordinator's disk fails.
    SyncFails(u64),
}

impl Fault {
    /// Any fault of a cluster of `nodes` nodes.
    pub fn draw(random: &mut Random, nodes: usize) -> Self {
        let node = Who::Node(random.below(nodes as u64) as usize);
        let any = *random.pick(&[node, node, Who::Coordinator, Who::Gateway]);
        match random.below(100) {
            0..40 => Self::PowerCut(When::draw(random, 400)),
            40..70 => Self::Down {
                who: any,
                power: random.chance(600),
                // A gateway's disk never changes.
                when: if any == Who::Gateway { When::Ms(random.below(20)) } else { When::draw(random, 60) },
                // The last is beyond the gateway's patience with a coordinator.
                for_ms: *random.pick(&[0, 10, 500, 3000, 15_000]),
            },
            70..80 => Self::Loss(10 + random.below(200)),
            80..90 => {
                let (one, other) =
                    *random.pick(&[(Who::Gateway, node), (Who::Coordinator, node), (Who::Gateway, Who::Coordinator)]);
                Self::Partition(one, other, *random.pick(&[100, 3000, 20_000]))
            }
            90..96 => Self::Full(random.below(nodes as u64) as usize, random.below(5000)),
            _ => Self::SyncFails(1 + random.below(40)),
        }
    }

    /// Lets it come, waits until it has gone, and mends what mends by itself. `over` tells that the requests beside it have ended.
    pub async fn run(self, cluster: Cluster, over: CancellationToken) -> Result<(), BootError> {
        match self {
            Self::PowerCut(when) => {
                let all = cluster.power().all();
                when.cut(&cluster, &all, true, &over).await;
            }
            Self::Down { who, power, when, for_ms } => {
                if when.cut(&cluster, &[who], power, &over).await && who != Who::Gateway {
                    tokio::time::sleep(Duration::from_millis(for_ms)).await;
                    return boot_if_down(&cluster, who).await;
                }
            }
            Self::Loss(per_mille) => {
                cluster.network().set_loss(per_mille);
                over.cancelled().await;
                cluster.network().set_loss(0);
            }
            Self::Partition(one, other, for_ms) => {
                cluster.network().set_cut(one, other, true);
                tokio::time::sleep(Duration::from_millis(for_ms)).await;
                cluster.network().set_cut(one, other, false);
            }
            Self::Full(nth, for_ms) => {
                let disk = cluster.node_disk(nth).clone();
                let Ok(space) = disk.space("/".as_ref()) else { return Ok(()) };
                disk.set_capacity(space.total - space.free + NODE_RESERVE_BYTES);
                over.cancelled().await;
                tokio::time::sleep(Duration::from_millis(for_ms)).await;
                disk.set_capacity(space.total);
            }
            Self::SyncFails(nth) => {
                let disk = cluster.power().disk(Who::Coordinator);
                disk.fail_sync(nth);
                over.cancelled().await;
                disk.fail_sync(u64::MAX >> 1);
            }
        }
        Ok(())
    }
}

async fn boot_if_down(cluster: &Cluster, who: Who) -> Result<(), BootError> {
    match cluster.power().process(who).is_over() {
        true => cluster.boot(who).await,
        false => Ok(()),
    }
}

impl When {
    /// At one of the next `reach` changes, or within 20 ms.
    pub fn draw(random: &mut Random, reach: u64) -> Self {
        match random.chance(800) {
            // Small numbers too: the first steps of something are the likeliest to be interrupted unawares.
            true => Self::Change(1 + random.below(1 + random.clone().below(reach))),
            false => Self::Ms(random.below(20)),
        }
    }

    /// Ends these machines' processes at the moment; false if the requests ended before.
    async fn cut(self, cluster: &Cluster, machines: &[Who], power: bool, over: &CancellationToken) -> bool {
        let process = cluster.power().process(machines[0]);
        match self {
            Self::Change(n) => {
                cluster.power().cut_at_change(machines, n);
                tokio::select! {
                    biased;
                    () = process.ended() => return true,
                    () = over.cancelled() => {}
                }
                cluster.power().disarm();
                false
            }
            Self::Ms(ms) => {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                    () = over.cancelled() => return false,
                }
                match power {
                    true => cluster.cut(machines),
                    false => machines.iter().for_each(|who| cluster.kill(*who)),
                }
                true
            }
        }
    }
}
