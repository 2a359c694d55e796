//! What was compiled, and what really runs: for the manifest of a run.

use crate::{Level, Peer};

/// Facts about the peers of this program on this machine, by name: versions, compiler and flags,
/// instruction sets, the kernel of each peer, threads; or why a peer cannot run.
pub fn facts() -> Vec<(String, String)> {
    let mut facts = Vec::new();
    #[cfg(feature = "ggml")]
    facts.extend(crate::ggml::facts());
    #[cfg(feature = "gemm")]
    facts.extend(crate::gemm::facts());
    #[cfg(feature = "openblas")]
    facts.extend(crate::openblas::facts());
    let absent = |&peer: &Peer| peer.available().err().map(|reason| (peer.to_string(), reason));
    facts.extend(Peer::ALL.iter().filter_map(absent));
    facts
}
