//! What a restore from a backup changes: everything that spoke of processes of the old life.
//!
//! The tables of a backup are older than the world: nodes hold chunks that they do not know, and may have deleted chunks that they
//! name. So a restore opens a new **generation**, which nodes obey and gateways follow, and puts deletes **on hold** until
//! somebody has compared records and nodes. Leases end, with the replies kept under them; bodies under construction go to the trash, as
//! when a lease expires, so that nothing is left that nobody would ever finish or empty.

use domain::LogPosition;
use domain::record::ClusterRow;

use crate::keys;
use crate::machine::{self, Machine};
use crate::tables::{StorageError, Table, TablesMut};
use crate::totals;

/// What a restore did to the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The cluster, as it goes on.
    pub cluster: ClusterRow,
    /// Leases that ended.
    pub leases: u64,
    /// Bodies under construction that went to the trash.
    pub bodies: u64,
}

/// Makes tables from a backup ready for a new life, as the log entry at `index`; deletes are on hold for `reason`.
///
/// Errs on tables of a cluster that was never founded. Costs as much as there are leases and bodies beneath them.
pub fn restore(tables: &mut dyn TablesMut, index: u64, reason: String) -> Result<Restored, StorageError> {
    let cluster: Option<ClusterRow> = machine::get(&*tables, Table::Cluster, keys::CLUSTER)?;
    let unfounded =
        || StorageError("the backup is of a cluster that was never founded: there is nothing to restore".into());
    let cluster = cluster.filter(|row| row.cluster_id != 0).ok_or_else(unfounded)?;
    let totals = totals::totals(&*tables)?;
    let mut machine = Machine { tables, at: LogPosition::new(index, 0), now_ms: 0, cluster, totals, nodes: None };
    let before = machine.tables.count(Table::Trash)?;
    let leases = machine.tables.scan(Table::Leases, &[], &[], usize::MAX)?;
    for (key, _) in &leases {
        let lease = keys::parse_position(key).ok_or_else(|| machine::damaged_key(Table::Leases))?;
        machine.close_lease(lease)?;
    }
    machine.cluster.generation += 1;
    machine.cluster.hold_deletes = Some(reason);
    machine.put_cluster()?;
    let bodies = machine.tables.count(Table::Trash)? - before;
    Ok(Restored { cluster: machine.cluster, leases: leases.len() as u64, bodies })
}
