//! septet and candle-transformers agree on every logit of small random models.

use std::ops::Range;

use septet_crosscheck::{Architecture, Folder, Scaling, Spec, Text, distance, favourite, reference, subject};

/// How far apart two logits may be, as a part of the largest of their position. Both sides round to `f32` and add
/// in orders of their own; of ten million logits of other seeds the furthest were apart by 6.3·10⁻⁶.
const TOLERANCE: f64 = 2e-5;

const SEEDS: Range<u64> = 0..4;

/// Lengths of prompts.
const PROMPTS: [usize; 3] = [1, 7, 40];

const LLAMA3: Scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 64 };

/// A random model of each seed.
fn models(architecture: Architecture) -> impl Iterator<Item = Spec> {
    SEEDS.map(move |seed| Spec::random(architecture, seed))
}

/// A random model of each seed and architecture.
fn all_models() -> impl Iterator<Item = Spec> {
    Architecture::ALL.into_iter().flat_map(models)
}

/// The logits of both sides, of septet from one folder and of candle from another: after the prompt of `text`, and
/// after each token that follows it.
fn logits(ours: &Folder, theirs: &Folder, text: &Text) -> Vec<(Vec<f32>, Vec<f32>)> {
    let ours = subject::logits(ours.path(), text);
    let theirs = reference::logits(theirs.path(), text).expect("candle has such a model");
    assert_eq!((ours.len(), theirs.len()), (1 + text.further.len(), 1 + text.further.len()));
    ours.into_iter().zip(theirs).collect()
}

/// Both sides agree on each of `specs`, with prompts of each length.
fn assert_agreement(specs: impl IntoIterator<Item = Spec>) {
    let (mut compared, mut furthest) = (0, 0.0_f64);
    for spec in specs {
        let folder = Folder::of(&spec);
        for length in PROMPTS {
            for (further, (ours, theirs)) in logits(&folder, &folder, &Text::random(&spec, length)).iter().enumerate() {
                let place = format!("{further} tokens after a prompt of {length}, {spec:?}");
                let distance = distance(ours, theirs);
                assert!(distance <= TOLERANCE, "apart by {distance:.1e} {place}");
                let (token, lead) = favourite(theirs);
                assert!(lead <= TOLERANCE || favourite(ours).0 == token, "not token {token} {place}");
                (compared, furthest) = (compared + ours.len(), furthest.max(distance));
            }
        }
    }
    assert!(compared > 0, "nothing was compared");
    println!("{compared} logits, apart by {furthest:.1e} at most");
}

#[test]
fn query_heads_share_key_and_value_heads() {
    let groups = [1, 2, 4, 8].into_iter();
    assert_agreement(groups.flat_map(|group| all_models().map(move |spec| Spec { group, ..spec }.divided())));
}

#[test]
fn heads_are_tied_or_not() {
    let tied = [false, true].into_iter();
    assert_agreement(tied.flat_map(|tied_head| all_models().map(move |spec| Spec { tied_head, ..spec })));
}

/// Biases as small as weights, as large as activations, and larger, as keys of published models have.
#[test]
fn queries_keys_and_values_have_biases() {
    let biases = [0.05, 1.0, 4.0].into_iter();
    assert_agreement(biases.flat_map(|bias| models(Architecture::Qwen2).map(move |spec| Spec { bias, ..spec })));
}

#[test]
fn norms_and_frequencies_have_their_constants() {
    let constants = [1e-6, 1e-5, 1e-3].into_iter().flat_map(|eps| [1e4, 5e5, 1e6].map(|theta| (eps, theta)));
    assert_agreement(
        constants.flat_map(|(norm_eps, theta)| all_models().map(move |spec| Spec { norm_eps, theta, ..spec })),
    );
}

/// Of the implementations in candle, LLaMA's alone can stretch frequencies.
#[test]
fn frequencies_are_stretched() {
    let scalings = [
        Scaling::Linear { factor: 2.0 },
        Scaling::Linear { factor: 3.7 },
        LLAMA3,
        Scaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 32 },
        Scaling::Llama3 { factor: 4.0, low: 0.5, high: 2.5, original: 48 },
    ];
    let stretched = |scaling| models(Architecture::Llama).map(move |spec| Spec { scaling, ..spec });
    assert_agreement(scalings.into_iter().flat_map(stretched));
}

/// Heads that are together wider or narrower than the residual stream. Qwen 2 of candle has none.
#[test]
fn heads_have_a_width_of_their_own() {
    let specs = [Architecture::Llama, Architecture::Mistral].into_iter().flat_map(models);
    assert_agreement(specs.flat_map(|spec| [40, 52, 129, 300].map(|hidden| Spec { hidden, ..spec })));
}

/// Widths around the lanes and tiles that sums and rows are divided into, and those of no power of two. Nine heads
/// keep the residual stream wide enough for its values not to cancel, which would magnify what is rounded.
#[test]
fn widths_are_odd() {
    let widths = [(1, 33), (15, 97), (63, 65), (172, 97), (257, 131)].into_iter();
    let sizes = widths.flat_map(|(ffn, vocab)| [2, 10, 34].map(|head_dim| (ffn, vocab, head_dim)));
    assert_agreement(sizes.flat_map(|(ffn, vocab, head_dim)| {
        all_models().map(move |spec| Spec { ffn, vocab, kv_heads: 3, group: 3, head_dim, ..spec }.divided())
    }));
}

/// A model whose one part is different is further away than any tolerance: agreement says something of each part.
#[test]
fn no_part_is_too_small_to_be_seen() {
    let common = |architecture| {
        let random = Spec::random(architecture, 1);
        Spec { kv_heads: 2, group: 2, head_dim: 16, norm_eps: 1e-5, theta: 1e4, tied_head: false, ..random }.divided()
    };
    let [llama, mistral, qwen2] = Architecture::ALL.map(common);
    for (ours, theirs) in [
        (llama, Spec { norm_eps: 1e-6, ..llama }),
        (mistral, Spec { norm_eps: 1e-6, ..mistral }),
        (qwen2, Spec { norm_eps: 1e-6, ..qwen2 }),
        (llama, Spec { theta: 1.1e4, ..llama }),
        (mistral, Spec { theta: 1.1e4, ..mistral }),
        (qwen2, Spec { theta: 1.1e4, ..qwen2 }),
        (llama, Spec { scaling: Scaling::Linear { factor: 1.1 }, ..llama }),
        (llama, Spec { scaling: LLAMA3, ..llama }),
        (qwen2, Spec { bias: 0.0, ..qwen2 }),
        (qwen2, Spec { bias: 0.45, ..qwen2 }),
        (llama, Spec { tied_head: true, ..llama }),
    ] {
        let both = logits(&Folder::of(&ours), &Folder::of(&theirs), &Text::random(&ours, 7));
        let furthest = both.iter().map(|(ours, theirs)| distance(ours, theirs)).fold(0.0, f64::max);
        assert!(furthest > 10.0 * TOLERANCE, "{ours:?} is only {furthest:.1e} from {theirs:?}");
    }
}
