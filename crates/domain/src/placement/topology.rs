//! Where copies go when nodes are not all alike: failure domains, storage classes, weights.
//!
//! Rendezvous alone may put all three copies of a chunk into one rack. Nodes therefore carry a **domain**, a name for what fails together, and the
//! order for a chunk is dealt out in rounds: the first round takes the best node of each domain, the second the next best of each, and so on.
//!
//! ```text
//! rendezvous order   a1  a2  b1  a3  c1  b2        three racks: a, b, c
//! first round        a1      b1      c1
//! second round           a2              b2
//! third round                    a3
//! order              a1  b1  c1  a2  b2  a3
//! ```
//!
//! Whatever is taken from the front of it, no domain holds two more than another that has nodes left. So of R = 3 copies on three
//! racks each has its own; of 4+2 shards on three racks with two nodes or more, each rack holds two, and any rack may be lost. A node without a label is a
//! domain of its own, so without labels this is the plain order.
//!
//! A **class** says what kind of node a chunk prefers. If there are as many nodes of it as copies are wanted, they come first, in rounds among
//! themselves, and all others after them as a last resort; if there are fewer, or for the default class, the class is disregarded. Chunks are shared
//! inside a class only, so the same bytes may lie in two.
//!
//! This is the one function that decides it, for edges that write and coordinators that check. What rounds cost: a node that joins can
//! reorder nodes of its own domain within the rounds, so with labels slightly more may move than rendezvous needs.
//!
//! Left out: domains within domains (rack, room, site); a second level would be a second dealing.

use super::weights::{Standing, distance};
use super::{ClassId, score};

/// A node that takes chunks, as placement sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site<'a> {
    /// The name it was registered under, which never changes.
    pub name: &'a str,
    /// What fails together with it; empty means nothing does.
    pub domain: &'a str,
    /// Its storage class.
    pub class: ClassId,
    /// Its share of the load, relative to others'. 0 counts as 1.
    pub weight: u32,
}

/// What is to be placed: `copies` of something of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The storage class; the default one is content with any node.
    pub class: ClassId,
    /// How many nodes are wanted.
    pub copies: usize,
}

/// A node's place in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// Which of the sites.
    pub site: usize,
    /// Whether it is only for when nothing else is left: a node of another class than the wished.
    pub last_resort: bool,
}

/// The sites in weighted rendezvous order for `key`, best first. A name listed twice appears once.
pub fn rank(key: &str, sites: &[Site]) -> Vec<usize> {
    let equal = sites.iter().all(|site| site.weight == sites[0].weight);
    let standing = |(index, site): (usize, &Site<'_>)| {
        let score = score(key, site.name);
        let weigh = if equal { 0 } else { distance(score) };
        (Standing { score, distance: weigh, weight: site.weight.max(1), name: sites[index].name }, index)
    };
    let mut standings: Vec<_> = sites.iter().enumerate().map(standing).collect();
    standings.sort_by(|(a, _), (b, _)| a.cmp(b));
    standings.dedup_by(|(a, _), (b, _)| a.name == b.name);
    standings.into_iter().map(|(_, index)| index).collect()
}

/// Where `key` should be, best first: the first `wish.copies` are its placement, and the others who stands in for them.
pub fn place(key: &str, wish: Wish, sites: &[Site]) -> Vec<Ranked> {
    let members = sites.iter().filter(|site| site.class == wish.class).count();
    let picky = wish.class != ClassId::default() && members >= wish.copies.max(1);
    let ranked = |site: usize| Ranked { site, last_resort: picky && sites[site].class != wish.class };
    let mut order: Vec<_> = rank(key, sites).into_iter().map(ranked).collect();
    order.sort_by_key(|ranked| ranked.last_resort);
    let domains: Vec<_> = order.iter().map(|ranked| sites[ranked.site].domain).collect();
    let round = |place: usize| match domains[place] {
        "" => 0,
        domain => domains[..place].iter().filter(|before| **before == domain).count(),
    };
    let mut rounds: Vec<_> =
        order.iter().enumerate().map(|(place, ranked)| (ranked.last_resort, round(place), *ranked)).collect();
    rounds.sort_by_key(|(last_resort, round, _)| (*last_resort, *round));
    rounds.into_iter().map(|(.., ranked)| ranked).collect()
}

/// Who goes next when `taken` are the domains of those that have it or are being asked. `candidates` are a tier and a domain each, in the order of
/// [`place`]: it is the first of the lowest tier whose domain is taken least. With nothing failing, and last resorts as the higher tier, this
/// gives that order again; when one fails, its domain counts as free.
pub fn next<'a>(candidates: impl IntoIterator<Item = (u8, &'a str)>, taken: &[&str]) -> Option<usize> {
    let uses = |domain: &str| match domain {
        "" => 0,
        domain => taken.iter().filter(|taken| **taken == domain).count(),
    };
    let candidates = candidates.into_iter().enumerate();
    let best = candidates.min_by_key(|(place, (tier, domain))| (*tier, uses(domain), *place));
    best.map(|(place, _)| place)
}

#[cfg(test)]
mod tests;
