//! The metrics that reports know by name.

/// Time of one whole unit (token or layer-token) of the pipeline, in ns.
pub const TOKEN_TIME: &str = "token_time";
/// Time of the matrix products within one unit, in ns. GB/s and roof shares are made from it.
pub const KERNEL_TIME: &str = "kernel_time";
/// Median latency of a token within a repetition, in ns.
pub const TOKEN_LATENCY_P50: &str = "token_latency_p50";
/// 95th percentile of the latency of a token within a repetition, in ns.
pub const TOKEN_LATENCY_P95: &str = "token_latency_p95";
/// Time of one token of a prompt (of a shape, one layer-token), in ns: until the logits of the last
/// token are there, over the tokens.
pub const PREFILL_TIME: &str = "prefill_time";
/// Derived: 1e9 / [`TOKEN_TIME`].
pub const TOKENS_PER_S: &str = "tokens_per_s";
/// Derived: 1e9 / [`PREFILL_TIME`].
pub const PREFILL_TOKENS_PER_S: &str = "prefill_tokens_per_s";
/// Derived, of a whole model: [`PREFILL_TIME`] times the tokens of the prompt, in ns.
pub const TIME_TO_FIRST_TOKEN: &str = "time_to_first_token";

/// Metrics in the order in which reports list them.
const ORDER: [&str; 5] = [TOKEN_TIME, KERNEL_TIME, TOKEN_LATENCY_P50, TOKEN_LATENCY_P95, PREFILL_TIME];

/// A sort key: known metrics first, in their order, then others by name.
pub fn rank(metric: &str) -> (usize, &str) {
    (ORDER.iter().position(|&known| known == metric).unwrap_or(ORDER.len()), metric)
}

/// What a metric is called in headings.
pub fn title(metric: &str) -> &str {
    match metric {
        TOKEN_TIME => "pipeline",
        KERNEL_TIME => "kernels",
        PREFILL_TIME => "prefill",
        other => other,
    }
}
