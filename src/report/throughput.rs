//! What `bench pipeline` measured: as a table, as CSV, and as JSON. Keys are those of llama-bench where it has them; sizes
//! and numbers of weights are those of the linear layers, and the type of a model is their format.

use serde_json::{Map, Value, json};

use super::figure::{Chart, Share, ShareBar, ShareChart};
use super::grid::{Entry, Grid};
use super::text;
use crate::model::profile::Operation;
use crate::pipeline::{Layers, Measurement};
use crate::stats::student::Estimate;

/// A model as it ran.
#[derive(Clone, Debug)]
pub struct Setting {
    /// File or folder, name of a shape, or `tiny`.
    pub model: String,
    pub weights: String,
    pub kv_cache: &'static str,
    pub threads: usize,
    pub isa: &'static str,
}

/// One test of one setting.
#[derive(Clone, Debug)]
pub struct Throughput {
    pub setting: Setting,
    pub measurement: Measurement,
}

/// A mean, and the standard deviation where there are two values or more.
struct Spread {
    mean: f64,
    deviation: Option<f64>,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        // The interval of the estimate is not used.
        let estimate = Estimate::of(values, 0.95);
        Self {
            mean: estimate.map_or(f64::NAN, |estimate| estimate.mean),
            deviation: estimate.map(|estimate| estimate.spread).filter(|spread| spread.is_finite()),
        }
    }
}

impl Throughput {
    fn bits_per_weight(&self) -> f64 {
        let Layers { weights, stored_bytes, .. } = self.measurement.layers;
        8.0 * stored_bytes as f64 / weights as f64
    }

    fn tokens_per_s(&self) -> Spread {
        Spread::of(&self.measurement.tokens_per_s())
    }

    /// The columns of the CSV, in their order: everything but what each repetition took.
    fn fields(&self, cpu: &str) -> Vec<(&'static str, Value)> {
        let Self { setting, measurement } = self;
        let ns = Spread::of(&measurement.samples.iter().map(|sample| sample.total_ns() as f64).collect::<Vec<_>>());
        let speed = self.tokens_per_s();
        vec![
            ("build_commit", json!(env!("SEPTET_GIT_COMMIT"))),
            ("cpu_info", json!(cpu)),
            ("model_filename", json!(setting.model)),
            ("model_type", json!(setting.weights)),
            ("model_size", json!(measurement.layers.stored_bytes)),
            ("model_n_params", json!(measurement.layers.weights)),
            ("bits_per_weight", json!(self.bits_per_weight())),
            ("type_kv", json!(setting.kv_cache)),
            ("isa", json!(setting.isa)),
            ("n_threads", json!(setting.threads)),
            ("n_prompt", json!(measurement.test.prompt)),
            ("n_gen", json!(measurement.test.text)),
            ("n_depth", json!(measurement.test.depth)),
            ("avg_ns", json!(ns.mean)),
            ("stddev_ns", json!(ns.deviation)),
            ("avg_ts", json!(speed.mean)),
            ("stddev_ts", json!(speed.deviation)),
            ("time_to_first_token_ns", json!(measurement.time_to_first_token())),
            ("token_latency_p50_ns", json!(measurement.token_latency(0.5))),
            ("token_latency_p95_ns", json!(measurement.token_latency(0.95))),
            ("token_latency_p99_ns", json!(measurement.token_latency(0.99))),
            ("roof_share", json!(measurement.roof_share())),
            ("peak_share", json!(measurement.peak_share())),
        ]
    }

    /// The columns, and every repetition: nanoseconds of the whole, of the prompt and of each token; read bandwidth in
    /// GB/s and int8 peak in GMAC/s around it; and each operation's share of the time of all.
    fn object(&self, cpu: &str) -> Value {
        let samples = &self.measurement.samples;
        let mut object: Map<String, Value> =
            self.fields(cpu).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let profile: Map<String, Value> =
            self.shares().into_iter().map(|(operation, share)| (operation.name().to_owned(), json!(share))).collect();
        let lists = [
            ("samples_ns", json!(samples.iter().map(|sample| sample.total_ns()).collect::<Vec<_>>())),
            ("samples_ts", json!(self.measurement.tokens_per_s())),
            ("prompt_ns", json!(samples.iter().map(|sample| sample.prompt_ns).collect::<Vec<_>>())),
            ("token_ns", json!(samples.iter().map(|sample| &sample.token_ns).collect::<Vec<_>>())),
            ("roof_gbps", json!(samples.iter().map(|sample| sample.ceilings.roof).collect::<Vec<_>>())),
            ("peak_gmacs", json!(samples.iter().map(|sample| sample.ceilings.peak).collect::<Vec<_>>())),
            ("profile", Value::Object(profile)),
        ];
        object.extend(lists.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(object)
    }

    /// Each operation's share of the time, in their order.
    fn shares(&self) -> [(Operation, f64); Operation::ALL.len()] {
        let profile = &self.measurement.profile;
        let total = profile.total_ns().max(1) as f64;
        Operation::ALL.map(|operation| (operation, profile.ns(operation) as f64 / total))
    }

    /// What tells it from the others of `all`: its test, and what of its setting they do not share.
    fn label(&self, all: &[Self]) -> String {
        let parts: [fn(&Setting) -> String; 4] = [
            |setting| setting.model.clone(),
            |setting| setting.weights.clone(),
            |setting| format!("{} cache", setting.kv_cache),
            |setting| format!("{} thread{}", setting.threads, if setting.threads == 1 { "" } else { "s" }),
        ];
        let own = parts.iter().filter(|part| all.iter().any(|other| part(&other.setting) != part(&self.setting)));
        let own = own.map(|part| part(&self.setting));
        [self.measurement.test.to_string()].into_iter().chain(own).collect::<Vec<_>>().join(", ")
    }
}

/// The table of a terminal.
pub fn grid(all: &[Throughput]) -> Grid {
    let headings = [
        "Model",
        "Weights",
        "Bits/weight >",
        "Size, GB >",
        "KV cache",
        "Threads >",
        "Test",
        "Token/s >",
        "First token, ms >",
        "Token p50, ms >",
        "p95 >",
        "p99 >",
        "Roof >",
        "Peak >",
    ];
    let mut grid = Grid::new("Whole models", &headings);
    let milliseconds = |ns: Option<f64>| text::or_none(ns, |ns| text::significant(ns / 1e6));
    let share = |share: Option<f64>| text::or_none(share, |share| format!("{share:.2}"));
    for one in all {
        let Throughput { setting, measurement } = one;
        let speed = one.tokens_per_s();
        let deviation = text::or_none(speed.deviation, |deviation| format!("± {}", text::significant(deviation)));
        let fields = [
            setting.model.clone(),
            setting.weights.clone(),
            format!("{:.3}", one.bits_per_weight()),
            text::significant(measurement.layers.stored_bytes as f64 / 1e9),
            setting.kv_cache.to_owned(),
            setting.threads.to_string(),
            measurement.test.to_string(),
            format!("{} {deviation}", text::significant(speed.mean)),
            milliseconds(measurement.time_to_first_token()),
            milliseconds(measurement.token_latency(0.5)),
            milliseconds(measurement.token_latency(0.95)),
            milliseconds(measurement.token_latency(0.99)),
            share(measurement.roof_share()),
            share(measurement.peak_share()),
        ];
        grid.push(fields.map(Entry::from));
    }
    grid.notes = vec![
        "Token/s: mean ± standard deviation of the repetitions. Tokens are random. Size and bits: linear layers, with \
         scales and padding."
            .to_owned(),
        "Roof: bytes that the text read (weights with the head, keys, values) over its time, of the read bandwidth \
         around it. Peak: products of the prompt with the layers over its time, of the int8 peak around it. Medians."
            .to_owned(),
        "One process, one model after another; bench run compares arms.".to_owned(),
    ];
    grid
}

/// Where the time went, a row for each test.
pub fn profile_grid(all: &[Throughput]) -> Grid {
    let names = Operation::ALL.map(|operation| format!("{} >", operation.name()));
    let headings: Vec<&str> = ["Test"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut grid = Grid::new("Share of the time, %", &headings);
    for one in all {
        let shares = one.shares().map(|(_, share)| Entry::from(format!("{:.1}", 100.0 * share)));
        grid.push([Entry::from(one.label(all))].into_iter().chain(shares));
    }
    grid.notes = vec![PROFILE_NOTE.to_owned()];
    grid
}

/// What a profile can tell apart.
const PROFILE_NOTE: &str = "Times of the thread that runs the decoder, from the end of one operation to that of the \
                            next. Matrix products unpack weights and apply scales in registers, between their loads \
                            and products: no clock can part these. They include SwiGLU and residual, and quantization \
                            includes norms, where these are fused.";

/// Where the time went, as a picture.
pub fn profile_chart(all: &[Throughput]) -> Chart {
    let bar = |one: &Throughput| ShareBar {
        label: one.label(all),
        shares: one.shares().map(|(operation, share)| Share { name: operation.name(), share }).to_vec(),
    };
    Chart::Shares(ShareChart {
        name: "profile".to_owned(),
        title: "Where the time of a model goes".to_owned(),
        message: "Share of the time of each operation".to_owned(),
        bars: all.iter().map(bar).collect(),
        notes: vec![PROFILE_NOTE.to_owned()],
    })
}

/// A header, and a row for each test.
pub fn csv_grid(all: &[Throughput], cpu: &str) -> Grid {
    let rows: Vec<Vec<(&str, Value)>> = all.iter().map(|one| one.fields(cpu)).collect();
    let headings: Vec<&str> = rows.first().into_iter().flatten().map(|(name, _)| *name).collect();
    let mut grid = Grid::new("Whole models", &headings);
    for row in &rows {
        grid.push(row.iter().map(|(_, value)| match value {
            Value::Null => "".into(),
            Value::String(text) => text.as_str().into(),
            number => number.to_string().into(),
        }));
    }
    grid
}

/// An array with an object for each test.
pub fn objects(all: &[Throughput], cpu: &str) -> Value {
    all.iter().map(|one| one.object(cpu)).collect()
}
