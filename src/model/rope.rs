//! The rotary frequencies that a model was trained with (Su et al. 2021, arXiv:2104.09864), and how
//! they are stretched for longer contexts.

use std::f64::consts::TAU;

use septet_kernels::ops::rope;
use serde_json::Value;

use super::config::Keys;
use super::error::Error;

/// Base and stretching of the rotary frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    pub theta: f64,
    pub scaling: Scaling,
}

/// How the frequencies of a base are stretched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    None,
    /// All are divided by `factor` (Chen et al. 2023, arXiv:2306.15595).
    Linear {
        factor: f64,
    },
    /// Those that turn less than `low` times within the `original` context are divided by `factor`, those
    /// that turn more than `high` times are kept, and between them the share of both is linear in the
    /// number of turns (LLaMA 3.1, arXiv:2407.21783).
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
}

impl Rope {
    /// `rope_theta` and `rope_scaling`; newer files keep both in `rope_parameters`.
    pub(super) fn of(keys: &Keys) -> Result<Self, Error> {
        let parameters = keys.present("rope_parameters");
        // One table for each kind of layer, or only a part of a head that is rotated.
        let part = |value: &Value| value.get("partial_rotary_factor").is_some_and(|share| share.as_f64() != Some(1.0));
        let nested = |value: &Value| value.as_object().is_some_and(|table| table.values().any(Value::is_object));
        if let Some(found) = parameters.filter(|value| part(value) || nested(value)) {
            let valid = "one table for all layers, without partial_rotary_factor or with 1".to_owned();
            return Err(keys.unsupported("rope_parameters", found, valid));
        }
        let theta = match parameters.and_then(|parameters| parameters.get("rope_theta")) {
            Some(theta) => match theta.as_f64() {
                Some(theta) if theta > 0.0 => theta,
                _ => return Err(keys.unsupported("rope_parameters", theta, "a positive rope_theta".to_owned())),
            },
            None => keys.present("rope_theta").map_or(Ok(10_000.0), |_| keys.positive("rope_theta"))?,
        };
        let scaling = match (parameters, keys.present("rope_scaling")) {
            (Some(parameters), _) => Scaling::of(keys, "rope_parameters", parameters)?,
            (None, Some(scaling)) => Scaling::of(keys, "rope_scaling", scaling)?,
            (None, None) => Scaling::None,
        };
        Ok(Self { theta, scaling })
    }

    /// What each pair of a head turns by from one position to the next: (head_dim / 2).
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let mut frequencies = rope::frequencies(head_dim, self.theta);
        for frequency in &mut frequencies {
            *frequency = self.scaling.scaled(*frequency);
        }
        frequencies
    }
}

impl Scaling {
    /// The value of `key`: an object with a kind and its numbers.
    fn of(keys: &Keys, key: &str, value: &Value) -> Result<Self, Error> {
        let number = |name: &str| value.get(name).and_then(Value::as_f64).filter(|number| *number > 0.0);
        let kind = value.get("rope_type").or_else(|| value.get("type"));
        let kind = if value.is_object() { kind.map_or(Some("default"), Value::as_str) } else { None };
        let scaling = match kind {
            Some("default") => Some(Self::None),
            Some("linear") => number("factor").map(|factor| Self::Linear { factor }),
            Some("llama3") => (|| {
                let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
                let original = number("original_max_position_embeddings")?;
                (low < high).then_some(Self::Llama3 { factor: number("factor")?, low, high, original })
            })(),
            _ => None,
        };
        let valid = "rope_type \"default\", \"linear\" with a positive factor, or \"llama3\" with positive factor, \
                     low_freq_factor < high_freq_factor and original_max_position_embeddings";
        scaling.ok_or_else(|| keys.unsupported(key, value, valid.to_owned()))
    }

    fn scaled(self, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low, high, original } => {
                let turns = original * frequency / TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rope(json: Value) -> Result<Rope, Error> {
        let Value::Object(object) = json else { panic!("an object") };
        Rope::of(&Keys { file: Path::new("config.json"), object, spelling: &str::to_owned })
    }

    #[test]
    fn older_and_newer_files_say_the_same() {
        let old = rope(serde_json::json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}}));
        let new = rope(serde_json::json!({
            "rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 4.0}
        }));
        let expected = Rope { theta: 5e5, scaling: Scaling::Linear { factor: 4.0 } };
        assert_eq!((old.expect("valid"), new.expect("valid")), (expected, expected));
        let plain = Rope { theta: 1e4, scaling: Scaling::None };
        assert_eq!(rope(serde_json::json!({"rope_scaling": null})).expect("valid"), plain);
        assert_eq!(rope(serde_json::json!({"rope_parameters": {"rope_type": "default"}})).expect("valid"), plain);
    }

    #[test]
    fn what_is_not_implemented_or_incomplete_is_refused() {
        for scaling in [
            serde_json::json!({"type": "yarn", "factor": 4.0}),
            serde_json::json!({"type": "linear"}),
            serde_json::json!({"type": "linear", "factor": 0.0}),
            serde_json::json!({"rope_type": "llama3", "factor": 8.0}),
            serde_json::json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0,
                "original_max_position_embeddings": 8192}),
            serde_json::json!("linear"),
        ] {
            let message = rope(serde_json::json!({ "rope_scaling": scaling })).expect_err("refused").to_string();
            assert!(message.contains("`rope_scaling`") && message.contains("llama3"), "{message}");
        }
        for parameters in [
            serde_json::json!({"rope_theta": -1.0}),
            serde_json::json!({"rope_theta": 1e4, "partial_rotary_factor": 0.5}),
            serde_json::json!({"full_attention": {"rope_theta": 1e4}}),
        ] {
            assert!(rope(serde_json::json!({ "rope_parameters": parameters })).is_err());
        }
    }

    /// The published parameters of LLaMA 3.1, head_dim 128: the fastest pairs are kept, the slowest turn an
    /// eighth as fast, and those between them lie between.
    #[test]
    fn llama3_keeps_fast_pairs_and_slows_slow_ones() {
        let scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let base = Rope { theta: 5e5, scaling: Scaling::None }.frequencies(128);
        let scaled = Rope { theta: 5e5, scaling }.frequencies(128);
        let ratios: Vec<f64> = base.iter().zip(&scaled).map(|(base, scaled)| scaled / base).collect();
        assert!(ratios.is_sorted_by(|a, b| a >= b), "{ratios:?}");
        assert_eq!((ratios[0], ratios[63]), (1.0, 0.125));
        // A pair that turns twice within the original context: a third of the way from slow to fast.
        let frequency = 2.0 * TAU / 8192.0;
        let expected = frequency * (1.0 / 3.0 + 2.0 / 3.0 / 8.0);
        assert!((scaling.scaled(frequency) - expected).abs() < 1e-12 * expected);
    }
}
