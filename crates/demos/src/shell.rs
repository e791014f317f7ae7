//! What a person would type to do by hand what a line of a script does to real processes.

use client::Native;

use crate::cluster::{Cluster, Who};
use crate::environment;
use crate::processes::Processes;
use crate::words::Words;

/// The equivalent of `words` in a shell, where there is one.
pub fn line(cluster: &Processes, words: &Words) -> Option<String> {
    let first = words.word(1).unwrap_or_default();
    let who: Option<Who> = first.parse().ok();
    let process = |signal: &str| Some(format!("kill -{signal} {}", cluster.process(who?).ok()?.id()));
    let admin = |verb: &str| Some(format!("kvfs node {verb} {}", cluster.address(who?).ok()?));
    let file = || {
        let hex = words.word(2).ok().filter(|hex| hex.len() == 64)?;
        Some(format!("{}/chunks/{}/{}", cluster.home(who?).display(), &hex[..2], &hex[2..]))
    };
    match words.verb() {
        "cluster" => {
            Some(format!("{} &   # and before it, for each node: {} &", gateway(cluster), node(cluster, Who::Node(1))))
        }
        "start" if matches!(who?, Who::Gateway(_)) => Some(format!("{} &", gateway(cluster))),
        "start" if matches!(who?, Who::Coord(_)) => {
            Some(format!("COORD_PEERS=… COORD_SELF_URL={} kvfs coord &", cluster.address(who?).ok()?))
        }
        "start" => Some(format!("{} &", node(cluster, who?))),
        "kill" => process("KILL"),
        "stop" => process("STOP"),
        "cont" => process("CONT"),
        "cut" => Some("ip route add blackhole …   # in its network, for each other coordinator".into()),
        "unplug" => Some("ip link set … down   # its cable".into()),
        "mend" => Some("ip route del blackhole …; ip link set … up".into()),
        "add-node" => admin("add"),
        "remove-node" => admin("remove"),
        "leader" | "follower" => Some("kvfs role --coord …".into()),
        "voters" => Some("kvfs coord members list".into()),
        "take-in" => Some(format!("kvfs coord members replace …   # {}", cluster.address(who?).ok()?)),
        "term" => Some("kvfs status".into()),
        "wipe" => Some(format!("rm -r {}", cluster.home(who?).display())),
        "relabel" => Some(format!("kvfs node relabel {} …", cluster.address(who?).ok()?)),
        "failures" => Some("kvfs heartbeat".into()),
        "rotate-key" => Some(format!("kvfs urlkey rotate --kid {first} …")),
        "remove-key" => Some(format!("kvfs urlkey remove {first}")),
        "keys" => Some("kvfs urlkey list".into()),
        "objects" => Some("kvfs meta info".into()),
        "backup" => Some(format!("kvfs meta backup --out {first}.kvfs")),
        "verify" => Some(format!("kvfs meta verify {first}.kvfs")),
        "restore" => Some(format!("kvfs meta restore --from {first}.kvfs --data-dir … --force")),
        "release-hold" => Some("kvfs meta release-hold".into()),
        "replay" => Some("kvfs meta replay …; kvfs meta hash".into()),
        "hashes" => Some("kvfs meta hash --coord …   # of each".into()),
        "put" => Some(format!("{} | kvfs put{}{} - demo/{first}", source(words), quorum(words), scheme(words))),
        "cut-put" => Some(format!("curl -T big --limit-rate 9M \"$(kvfs sign PUT demo/{first})\"   # then ctrl-c")),
        "get" => Some(format!("kvfs get demo/{first} - | sha256sum")),
        "read-some" => {
            Some(format!("kvfs get demo/{first} - | (head -c {}; cat > held.fifo)", words.get("bytes").unwrap_or("1")))
        }
        "head" => Some(format!("kvfs stat demo/{first}")),
        "delete" => Some(format!("kvfs rm demo/{first}")),
        "inspect" => Some(format!("kvfs inspect demo/{first} --coord …")),
        "request" => Some(request(cluster, words)),
        "corrupt" => Some(format!("printf '\\377' | dd conv=notrunc bs=1 seek=$((SIZE/2)) of={}", file()?)),
        "lose" => Some(format!("rm {}", file()?)),
        "files" => {
            let home = who.map_or("dn*".to_string(), |who| cluster.home(who).display().to_string());
            Some(format!("find {home}/chunks -type f | wc -l"))
        }
        "copies" | "chunk-names" => Some("sha256sum dn*/chunks/*/*".into()),
        "any-lost" => Some("mv …/chunks/…   # away and back, for each choice; and kvfs get each time".into()),
        "chunk" | "holder" | "home" | "spread" | "confirmed" | "chunk-sizes" | "shared" | "own" | "domains" => {
            Some("kvfs put … --output json   # `chunks` in its answer".into())
        }
        "nodes" | "degraded" => Some("kvfs status".into()),
        "chunks" => Some("kvfs meta info".into()),
        "distinct-chunks" => Some("ls dn*/chunks/*/* | sort -u | wc -l   # by file name".into()),
        "peak" | "growth" => Some(format!("grep VmHWM /proc/{}/status", cluster.process(who?).ok()?.id())),
        _ => None,
    }
}

/// How the gateway is started.
fn gateway(cluster: &Processes) -> String {
    let settings = environment::shown(cluster.settings());
    let nodes: Vec<_> = (1..=u8::MAX).map_while(|number| cluster.address(Who::Node(number)).ok()).collect();
    format!("{settings}EDGE_DNS={} kvfs edge --data-dir gateway", nodes.join(","))
}

/// How a node is started.
fn node(cluster: &Processes, who: Who) -> String {
    format!("kvfs dn --id {who} --addr {} --data-dir {who}", cluster.address(who).unwrap_or_default())
}

fn source(words: &Words) -> String {
    match words.get("text") {
        Some(text) => format!("printf '%s' '{text}'"),
        None => format!("head -c {} /dev/urandom", words.get("size").unwrap_or("100").trim_end_matches('B')),
    }
}

fn quorum(words: &Words) -> String {
    words.get("w").map(|w| format!(" -W {w}")).unwrap_or_default()
}

fn scheme(words: &Words) -> String {
    words.get("ec").map(|scheme| format!(" --ec {scheme}")).unwrap_or_default()
}

fn request(cluster: &Processes, words: &Words) -> String {
    let (method, object) = (words.word(1).unwrap_or("GET"), words.word(2).unwrap_or_default());
    let address = cluster.address(Who::GATEWAY).unwrap_or_default();
    format!(
        "curl -i -X {method} \"http://{address}{}?kid=…&sig=…&exp=…\"",
        Native::object_path("demo", object.as_bytes())
    )
}
