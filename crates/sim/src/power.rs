//! Machines and their power: a disk each, and processes that come and go on it.
//!
//! A process sees its machine's disk through a **fence**. When the process ends (killed, or the power is cut) the fence
//! closes for good: a task of it that happens to be still around can do no more harm, whatever the next process does on
//! the same disk. A kill leaves the disk as programs saw it; a power cut takes what was not durable (see
//! `testkit::sim_disk`).
//!
//! The **fuse** cuts the power of some machines at the n-th change that any of their disks is asked for, from now: that is how a
//! crash comes to lie between any two steps of anything.

use std::io;
use std::path::Path;
use std::sync::Arc;

use api::disk::{Disk, DiskFile, Space};
use parking_lot::Mutex;
use testkit::sim_disk::SimDisk;
use tokio::sync::watch;

/// One machine of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The gateway; its disk stays empty.
    Gateway,
    /// The coordinator.
    Coordinator,
    /// A data node, counted from 0.
    Node(usize),
}

impl Who {
    fn index(self) -> usize {
        match self {
            Self::Gateway => 0,
            Self::Coordinator => 1,
            Self::Node(nth) => 2 + nth,
        }
    }
}

/// One life of a process.
pub struct Process {
    over: watch::Sender<bool>,
    /// Guards of directory locks, so that they go with the process and not with whoever holds a piece of it.
    locks: Mutex<Vec<Box<dyn Send + Sync>>>,
}

impl Process {
    /// One that runs, or has ended already.
    pub(crate) fn new(over: bool) -> Arc<Self> {
        Arc::new(Self { over: watch::Sender::new(over), locks: Mutex::default() })
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until it ends.
    pub async fn ended(&self) {
        // The sender is in `self`, so the wait ends with its condition.
        self.over.subscribe().wait_for(|over| *over).await.ok();
    }

    fn end(&self) {
        self.over.send_replace(true);
        self.locks.lock().clear();
    }
}

struct Machine {
    disk: SimDisk,
    process: Mutex<Arc<Process>>,
}

/// All machines.
pub struct Power {
    machines: Vec<Machine>,
    fuse: Mutex<Option<Fuse>>,
}

struct Fuse {
    left: u64,
    machines: Vec<Who>,
}

impl Power {
    /// A gateway, a coordinator and `nodes` data nodes, all off, with disks whose crashes follow `seed`.
    pub fn new(nodes: usize, seed: u64) -> Arc<Self> {
        let machine = |nth: u64| Machine {
            disk: SimDisk::new(seed.wrapping_mul(31).wrapping_add(nth)),
            process: Mutex::new(Process::new(true)),
        };
        Arc::new(Self { machines: (0..2 + nodes as u64).map(machine).collect(), fuse: Mutex::default() })
    }

    /// All machines, gateway and coordinator first.
    pub fn all(&self) -> Vec<Who> {
        let nodes = (0..self.machines.len() - 2).map(Who::Node);
        [Who::Gateway, Who::Coordinator].into_iter().chain(nodes).collect()
    }

    /// The disk itself, beside the fence: to plant faults and to look.
    pub fn disk(&self, who: Who) -> &SimDisk {
        &self.machines[who.index()].disk
    }

    /// The process that runs there, or ran last.
    pub fn process(&self, who: Who) -> Arc<Process> {
        self.machines[who.index()].process.lock().clone()
    }

    /// Starts a process there, after ending the one before; its way to the disk.
    pub fn boot(self: &Arc<Self>, who: Who) -> (Arc<Process>, Arc<dyn Disk>) {
        let machine = &self.machines[who.index()];
        machine.process.lock().end();
        if machine.disk.is_down() {
            machine.disk.restart();
        }
        let process = Process::new(false);
        *machine.process.lock() = process.clone();
        let disk = Fenced { disk: machine.disk.clone(), process: process.clone(), power: self.clone(), who };
        (process, Arc::new(disk))
    }

    /// Ends the process and leaves the disk as it is: `kill -9`.
    pub fn kill(&self, who: Who) {
        self.process(who).end();
    }

    /// Cuts the power of some machines at once.
    pub fn cut(&self, machines: &[Who]) {
        for who in machines {
            self.machines[who.index()].disk.crash();
            self.process(*who).end();
        }
    }

    /// Cuts the power of `machines` instead of the `n`-th change from now of any of their disks; 1 is the next.
    pub fn cut_at_change(&self, machines: &[Who], n: u64) {
        *self.fuse.lock() = Some(Fuse { left: n, machines: machines.to_vec() });
    }

    /// Takes the fuse out, if it has not blown.
    pub fn disarm(&self) {
        *self.fuse.lock() = None;
    }

    /// Counts a change of `who`'s disk, and cuts the power if it is the one.
    fn before_change(&self, who: Who) {
        let mut fuse = self.fuse.lock();
        let Some(burning) = fuse.as_mut().filter(|fuse| fuse.machines.contains(&who)) else { return };
        burning.left -= 1;
        if burning.left == 0 {
            let machines = std::mem::take(&mut burning.machines);
            *fuse = None;
            drop(fuse);
            self.cut(&machines);
        }
    }
}

/// A disk as one process sees it.
#[derive(Clone)]
struct Fenced {
    disk: SimDisk,
    process: Arc<Process>,
    power: Arc<Power>,
    who: Who,
}

impl Fenced {
    fn open_fence(&self) -> io::Result<()> {
        match self.process.is_over() {
            true => Err(io::Error::other("the process is over")),
            false => Ok(()),
        }
    }

    fn change(&self) -> io::Result<&SimDisk> {
        self.open_fence()?;
        self.power.before_change(self.who);
        self.look()
    }

    fn look(&self) -> io::Result<&SimDisk> {
        self.open_fence()?;
        Ok(&self.disk)
    }

    fn fenced(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FencedFile { file, fence: self.clone() })
    }
}

impl Disk for Fenced {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.fenced(self.look()?.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.fenced(self.change()?.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change()?.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change()?.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.look()?.list(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.look()?.len(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.look()?.space(path)
    }

    fn drop_cache(&self, path: &Path) -> io::Result<()> {
        self.look()?.drop_cache(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let guard = self.look()?.lock(path)?;
        self.process.locks.lock().push(guard);
        Ok(Box::new(()))
    }

    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        job();
    }
}

struct FencedFile {
    file: Box<dyn DiskFile>,
    fence: Fenced,
}

impl DiskFile for FencedFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.fence.look()?;
        self.file.read_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.fence.change()?;
        self.file.write_at(bytes, offset)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.fence.change()?;
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.fence.look()?;
        self.file.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fence.change()?;
        self.file.sync_data()
    }
}
