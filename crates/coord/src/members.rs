//! The coordinators themselves, as an operator lists and changes them.

use api::admin::{AdminError, CoordChange, CoordInfo};
use consensus::{Group, MembersError};

use crate::registry::check_address;

/// The members of the group, by number.
pub(crate) fn list(group: &Group) -> Vec<CoordInfo> {
    let last = group.status().last_log;
    let info = |member: consensus::MemberStatus| CoordInfo {
        node: member.node,
        addr: member.address,
        voter: member.voter,
        leader: member.leader,
        lag: member.matched.map(|matched| last.saturating_sub(matched)),
    };
    group.members().into_iter().map(info).collect()
}

/// Makes a change, as the leader.
pub(crate) async fn change(group: &Group, change: &CoordChange) -> Result<Vec<CoordInfo>, AdminError> {
    if group.is_alone() {
        return Err(AdminError::Conflict(
            "this coordinator was started alone: a group that others can join needs COORD_SELF_URL (or EDGE_SELF_URL) from its first start".into(),
        ));
    }
    let changed = match change {
        CoordChange::Add { addr } => {
            check_address(addr)?;
            group.add_member(addr).await.map(drop)
        }
        CoordChange::Promote { node } => group.promote_member(*node).await,
        CoordChange::Remove { node } => group.remove_member(*node).await,
        CoordChange::Replace { old, new } => group.replace_member(*old, *new).await,
    };
    changed.map_err(|error| match error {
        MembersError::Refused(why) => AdminError::Conflict(why),
        MembersError::NotLeader(_) | MembersError::Unfinished(_) => AdminError::Unavailable(error.to_string()),
    })?;
    Ok(list(group))
}
