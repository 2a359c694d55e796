//! What was compiled, and what really runs: for the manifest of a run.

use crate::{Level, Peer, library::COMPILED};

/// Facts about the peers of this program on this machine, by name: versions, compiler and flags,
/// instruction sets, the kernel of each peer, threads; or why a peer cannot run.
pub fn facts() -> Vec<(String, String)> {
    let mut facts: Vec<(String, String)> = COMPILED.iter().flat_map(|(_, library)| library.facts()).collect();
    let absent = |&peer: &Peer| peer.available().err().map(|reason| (peer.to_string(), reason));
    facts.extend(Peer::ALL.iter().filter_map(absent));
    facts
}
