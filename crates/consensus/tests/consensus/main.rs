//! The group as its users see it: on a real directory and on a disk that forgets, through crashes, faults and restarts.

mod audit_logs;
mod common;
mod crashes;
mod disk_full;
mod faults;
mod group_commit;
mod leader_restore;
mod reads;
mod restarts;
mod restores;
mod several;
mod town;
