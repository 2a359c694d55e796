//! The metrics that reports know by name.

use crate::plan::Plan;

/// Time of one whole unit in ns: a token or layer-token of the pipeline, or a product.
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

/// What [`TOKEN_TIME`] times in a run, in the words of its reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Beside `kernels`.
    pub name: &'static str,
    /// The same at the beginning of a heading.
    pub heading: &'static str,
    /// In sentences and legends.
    pub phrase: &'static str,
    /// The same at the beginning of a sentence.
    pub sentence: &'static str,
    /// What [`KERNEL_TIME`] leaves of it.
    pub kernels: &'static str,
    /// What it is, where its name does not say so.
    pub note: Option<&'static str>,
}

impl Whole {
    const PIPELINE: Self = Self {
        name: "pipeline",
        heading: "Pipeline",
        phrase: "whole pipeline",
        sentence: "Whole pipeline",
        kernels: "matrix products only",
        note: None,
    };
    /// Around a matrix alone there is no pipeline.
    const PRODUCT: Self = Self {
        name: "product",
        heading: "Product",
        phrase: "whole product",
        sentence: "Whole product",
        kernels: "kernel only",
        note: Some("A product is the kernel and, before it, the quantization of its operand."),
    };

    /// Of a run with this plan.
    pub fn of(plan: &Plan) -> Self {
        if plan.is_of_matrices() { Self::PRODUCT } else { Self::PIPELINE }
    }
}

/// What a metric is called beside others.
pub fn title(metric: &str, whole: Whole) -> &str {
    match metric {
        TOKEN_TIME => whole.name,
        KERNEL_TIME => "kernels",
        PREFILL_TIME => "prefill",
        other => other,
    }
}
