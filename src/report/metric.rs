//! The metrics that reports know by name.

/// Time of one whole unit (token or layer-token) of the pipeline, in ns.
pub const TOKEN_TIME: &str = "token_time";
/// Time of the matrix products within one unit, in ns. GB/s and roof shares are made from it.
pub const KERNEL_TIME: &str = "kernel_time";
/// Median latency of a token within a repetition, in ns.
pub const TOKEN_LATENCY_P50: &str = "token_latency_p50";
/// 95th percentile of the latency of a token within a repetition, in ns.
pub const TOKEN_LATENCY_P95: &str = "token_latency_p95";
/// Derived: 1e9 / [`TOKEN_TIME`].
pub const TOKENS_PER_S: &str = "tokens_per_s";

/// Metrics in the order in which reports list them.
const ORDER: [&str; 4] = [TOKEN_TIME, KERNEL_TIME, TOKEN_LATENCY_P50, TOKEN_LATENCY_P95];

/// A sort key: known metrics first, in their order, then others by name.
pub fn rank(metric: &str) -> (usize, &str) {
    (ORDER.iter().position(|&known| known == metric).unwrap_or(ORDER.len()), metric)
}

/// What a metric is called in headings.
pub fn title(metric: &str) -> &str {
    match metric {
        TOKEN_TIME => "pipeline",
        KERNEL_TIME => "kernels",
        other => other,
    }
}
