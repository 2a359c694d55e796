//! The decoder against references that other implementations computed, and against bad input.

use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, TensorView};
use septet::arm::{ActivationUse, Epilogue, Regions};
use septet::mixed::{GRANULARITY, MixedFormats, SensitivityTable};
use septet::model::checkpoint::FileBytes;
use septet::model::checkpoint::hugging_face::Shards;
use septet::model::kv_cache::CacheFormat;
use septet::model::perplexity::{Evaluation, Models, Stream, TEXT, Windows};
use septet::model::profile::{Operation, Profile};
use septet::model::shape::{self, PRESETS, Preset, ShapeModel};
use septet::model::{
    Checkpoint, Decoder, Error, Execution, KernelChoice, Linear, LinearSet, ModelParts, Place, Sampler, Storage,
    builtin,
};
use septet::pool::ThreadPool;
use septet_kernels::{Format, Granularity, Isa, Layout, Level, Prefetch, Shape, Unpack, Unroll, registry};
use serde_json::Value;

fn execution(threads: usize) -> Execution {
    Execution::fast(Arc::new(ThreadPool::new(threads).expect("threads")))
}

fn decoder(model: &Checkpoint, threads: usize) -> Decoder {
    let sets = vec![model.linears().expect("finite")];
    let positions = model.parts.config.context;
    Decoder::new(Arc::clone(&model.parts), sets, execution(threads), positions).expect("consistent")
}

/// `n` greedy tokens after `prompt`, whether or not one of them ends a text.
fn greedy(decoder: &mut Decoder, prompt: &[u32], n: usize) -> Vec<u32> {
    decoder.reset();
    let mut token = Sampler::Greedy.sample(decoder.prefill(prompt).expect("finite"));
    let mut tokens = vec![token];
    while tokens.len() < n {
        token = Sampler::Greedy.sample(decoder.forward(token).expect("finite"));
        tokens.push(token);
    }
    tokens
}

/// What `candidates` make of `stream` beside `model` in f32, in windows back to back.
fn evaluate(model: &Checkpoint, candidates: &[LinearSet], kv_cache: CacheFormat, stream: &Stream) -> Evaluation {
    let (reference, windows) = (model.linears().expect("finite"), Windows::BACK_TO_BACK);
    let candidates: Vec<_> = candidates.iter().map(|set| (set.clone(), kv_cache)).collect();
    let models = || Models::alone(&model.parts, Some(&reference), &candidates, windows);
    Evaluation::new(stream, windows, models, || {}).expect("finite")
}

fn embedding(parts: &ModelParts, token: u32) -> Vec<f32> {
    let mut row = vec![0.0; parts.config.hidden];
    parts.embedding.read(token, &mut row).expect("finite");
    row
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("token ids")
}

/// The twenty most likely tokens in order, and their logits within 10⁻³ of the reference.
fn assert_top20(logits: &[f32], expected: impl Iterator<Item = (u32, f64)>) {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    let mut checked = 0;
    for (&token, (id, logit)) in order.iter().zip(expected) {
        assert_eq!(token, id);
        let found = f64::from(logits[id as usize]);
        assert!((found - logit).abs() <= 1e-3 * logit.abs().max(1.0), "{found} for {logit}");
        checked += 1;
    }
    assert_eq!(checked, 20);
}

#[test]
fn the_built_in_model_agrees_with_its_reference() {
    let model = builtin::load().expect("built-in model");
    let reference: Value = serde_json::from_slice(include_bytes!("../models/tiny/reference.json")).expect("JSON");
    let mut decoder = decoder(&model, 1);
    for prompt in reference["prompts"].as_array().expect("prompts") {
        let text = prompt["text"].as_str().expect("text");
        let tokens = model.tokenizer.encode_prompt(text).expect("encodes");
        assert_eq!(tokens, ids(&prompt["ids"]));

        decoder.reset();
        let logits = decoder.prefill(&tokens).expect("finite");
        let values = prompt["top20_logits"].as_array().expect("logits");
        let values = values.iter().map(|v| v.as_f64().expect("number"));
        assert_top20(logits, ids(&prompt["top20_ids"]).into_iter().zip(values));

        let continuation = greedy(&mut decoder, &tokens, 64);
        assert_eq!(continuation, ids(&prompt["greedy64_ids"]));
        let mut stream = model.tokenizer.stream(&tokens).expect("decodes");
        let mut streamed = String::new();
        for token in continuation {
            streamed += &stream.push(token).expect("decodes");
        }
        streamed += &stream.finish().expect("decodes");
        // Special tokens are in the reference's text and not in ours.
        let expected = prompt["greedy64_text"].as_str().expect("text");
        assert_eq!(streamed, expected.replace("<|endoftext|>", ""));
    }
}

#[test]
fn stories260k_agrees_with_its_reference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/stories260K");
    let Ok(json) = std::fs::read(folder.join("reference.json")) else {
        eprintln!("skipped: ../shared/models/stories260K not found");
        return;
    };
    let reference: Value = serde_json::from_slice(&json).expect("JSON");
    for (name, kind) in [("stories260K-hf", "hf"), ("stories260K-f32.gguf", "gguf")] {
        let model = Checkpoint::open(&folder.join(name)).expect("opens");
        let text = reference["prompt"].as_str().expect("text");
        let tokens = model.tokenizer.encode_prompt(text).expect("encodes");
        assert_eq!(tokens, ids(&reference["prompt_ids"]), "{name}");

        let mut decoder = decoder(&model, 1);
        let pairs = reference[format!("{kind}_logits_top20")].clone();
        let pairs: Vec<(u32, f64)> = serde_json::from_value(pairs).expect("pairs");
        assert_top20(decoder.prefill(&tokens).expect("finite"), pairs.into_iter());

        let expected = ids(&reference[format!("{kind}_greedy_ids")]);
        let continuation = greedy(&mut decoder, &tokens, expected.len());
        assert_eq!(continuation, expected, "{name}");
        let mut stream = model.tokenizer.stream(&tokens).expect("decodes");
        let mut text = text.to_owned();
        for token in continuation {
            text += &stream.push(token).expect("decodes");
        }
        assert_eq!(text, reference["full_text"].as_str().expect("text"), "{name}");
    }
}

/// The two tokenizers of one model: of a folder, and of a GGUF file with scores in place of merges.
#[test]
fn stories260k_has_one_tokenizer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/stories260K");
    if !folder.is_dir() {
        eprintln!("skipped: ../shared/models/stories260K not found");
        return;
    }
    let open = |name| Checkpoint::open(&folder.join(name)).expect("opens").tokenizer;
    let (folder, file) = (open("stories260K-hf"), open("stories260K-f32.gguf"));
    for text in TEXT.split("<|endoftext|>").take(200).chain(["", " ", "naïve 😀 — 日本\t\n", "  two  spaces"]) {
        let tokens = folder.encode_prompt(text).expect("encodes");
        assert_eq!(file.encode_prompt(text).expect("encodes"), tokens, "{text:?}");
        assert_eq!(file.decode(&tokens).expect("decodes"), folder.decode(&tokens).expect("decodes"));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let model = builtin::load().expect("built-in model");
    let bits = |threads| -> Vec<u32> {
        let mut decoder = decoder(&model, threads);
        let logits = decoder.prefill(&[0, 413, 432, 259, 383]).expect("finite");
        logits.iter().map(|logit| logit.to_bits()).collect()
    };
    let one = bits(1);
    for threads in [2, 3, 5] {
        assert_eq!(bits(threads), one, "{threads} threads");
    }
}

/// The bits of the residual stream after some tokens.
fn stream_bits(parts: &Arc<ModelParts>, set: &LinearSet, execution: Execution) -> Vec<u32> {
    let mut decoder = Decoder::new(Arc::clone(parts), vec![set.clone()], execution, usize::MAX).expect("consistent");
    for _ in 0..3 {
        decoder.forward(0).expect("finite");
    }
    decoder.residual().iter().map(|x| x.to_bits()).collect()
}

/// A shape whose sizes are multiples of neither a tile nor a group.
fn odd_shape() -> Preset {
    Preset { name: "odd", about: "", hidden: 172, ffn: 200, heads: 5, kv_heads: 1, head_dim: 36, layers: 2, vocab: 1 }
}

#[test]
fn every_kernel_gives_the_same_bits() {
    let mut checked = 0;
    for &format in Format::ALL {
        let model = |layout| {
            let storage = Storage::Quantized { format, layout, granularity: Granularity::Group64 };
            ShapeModel::new(&odd_shape(), 2, 1, 3, |_| storage).expect("offered")
        };
        let dense = model(Layout::Dense);
        let expected = stream_bits(&dense.parts, &dense.sets[0], execution(1));
        for kernel in registry::kernels().iter().filter(|kernel| kernel.variant.format == format) {
            if kernel.bind().is_ok() {
                let model = model(kernel.variant.layout);
                let execution = Execution { kernel: kernel.variant.into(), ..execution(1) };
                let bits = stream_bits(&model.parts, &model.sets[0], execution);
                assert_eq!(bits, expected, "{}", kernel.variant);
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
}

#[test]
fn every_way_to_run_a_kernel_gives_the_same_bits() {
    let formats = [Some(Format::W4), Some(Format::W3p5), None, Some(Format::W3)];
    let groups = [Granularity::Group128, Granularity::Group32, Granularity::Channel, Granularity::Tile64];
    let model = ShapeModel::new(&odd_shape(), 3, 1, 5, |_| Storage::F32).expect("valid");
    let set = |mix: &dyn Fn(usize) -> usize| {
        model.sets[0].stored(|place| {
            let Place::Layer(layer, role) = place else { panic!("a shape model has no head") };
            let which = mix(layer + role as usize);
            let quantized =
                |format| Storage::Quantized { format, layout: Layout::Dense, granularity: groups[which % 4] };
            formats[which % 4].map_or(Storage::F32, quantized)
        })
    };
    for set in [set(&|i| i), set(&|i| 3 * i + 1), set(&|_| 1), set(&|_| 2)] {
        let set = set.expect("quantizes");
        let plain = Execution {
            prefetch: Prefetch::None,
            epilogue: Epilogue::Separate,
            activations: ActivationUse::Requantize,
            regions: Regions::Each,
            ..execution(1)
        };
        let expected = stream_bits(&model.parts, &set, plain);
        for threads in [1, 3] {
            for &prefetch in Prefetch::ALL {
                for &epilogue in Epilogue::ALL {
                    for &activations in ActivationUse::ALL {
                        for &regions in Regions::ALL {
                            let execution =
                                Execution { prefetch, epilogue, activations, regions, ..execution(threads) };
                            let bits = stream_bits(&model.parts, &set, execution);
                            assert_eq!(bits, expected, "{threads} {prefetch} {epilogue:?} {activations:?} {regions:?}");
                        }
                    }
                }
            }
        }
    }
}

/// A layer format for each place, in `rows16`, with groups of 128 and of 64 weights side by side.
fn rows16(format: impl Fn(usize) -> Format) -> impl Fn(Place) -> Storage {
    move |place| {
        let number = match place {
            Place::Layer(layer, role) => layer + role as usize,
            Place::Head => 0,
        };
        let granularity = [Granularity::Group128, Granularity::Group64][number % 2];
        Storage::Quantized { format: format(number), layout: Layout::Rows16, granularity }
    }
}

/// The bits of all that a prompt leaves, and of the token behind it.
fn prompt_bits(decoder: &mut Decoder, prompt: &[u32]) -> Vec<u32> {
    decoder.reset();
    let mut values = decoder.prefill(prompt).expect("finite").to_vec();
    values.extend(decoder.residual());
    values.extend(decoder.forward(prompt[0]).expect("finite"));
    values.extend(decoder.residual());
    assert_eq!(decoder.position(), prompt.len() + 1);
    values.extend(decoder.cache().numbers(decoder.position()));
    values.iter().map(|x| x.to_bits()).collect()
}

/// Prompts around the batch, in batches of some sizes on some threads, and token by token.
fn assert_batches_are_tokens(parts: &Arc<ModelParts>, set: &LinearSet, isa: Isa, prompt: &[u32]) {
    let unroll = if isa == Isa::Scalar { Unroll::U1 } else { Unroll::U4 };
    let kernel = KernelChoice { unpack: Unpack::BitParallel, unroll, isa };
    let decoder = |threads, prompt_batch| {
        let execution = Execution { kernel, prompt_batch, ..execution(threads) };
        Decoder::new(Arc::clone(parts), vec![set.clone()], execution, prompt.len() + 2).expect("consistent")
    };
    let mut tokens = decoder(1, 1);
    assert_eq!(tokens.prompt_batch(), 1);
    for (threads, batch) in [(1, 2), (3, 5), (2, 13), (1, 24)] {
        let mut batches = decoder(threads, batch);
        assert_eq!(batches.prompt_batch(), batch);
        for length in [1, 2, batch - 1, batch, batch + 1, 2 * batch + 3] {
            let prompt = &prompt[..length];
            let expected = prompt_bits(&mut tokens, prompt);
            let found = prompt_bits(&mut batches, prompt);
            assert!(found == expected, "{isa}: {length} tokens in batches of {batch} on {threads} threads");
        }
    }
}

/// Instruction sets whose kernels are worth a test of their own here.
fn isas() -> Vec<Isa> {
    Isa::ALL.iter().copied().filter(|isa| isa.is_available()).collect()
}

#[test]
fn batches_of_a_prompt_give_the_bits_of_its_tokens() {
    let model = builtin::load().expect("built-in model");
    let prompt: Vec<u32> = (0..51).map(|i| (i * 397 + 5) % 2048).collect();
    for isa in isas() {
        for &format in Format::ALL {
            let set = model.stored(rows16(|_| format)).expect("quantizes");
            assert_batches_are_tokens(&model.parts, &set, isa, &prompt);
        }
    }
}

#[test]
fn batches_of_a_shape_give_the_bits_of_its_tokens() {
    let parts = Arc::new(shape::parts(&odd_shape(), 2, 3, 51, 2));
    let prompt: Vec<u32> = (0..51).collect();
    let model = ShapeModel::new(&odd_shape(), 2, 1, 3, rows16(|number| Format::ALL[number % 3])).expect("offered");
    for isa in isas() {
        assert_batches_are_tokens(&parts, &model.sets[0], isa, &prompt);
    }
    // Every token of the prompt is a vector of its own, and the first is that of a shape without one.
    let row = |token| embedding(&parts, token);
    assert!(row(0) == embedding(&model.parts, 0) && (1..51).all(|token| row(token) != row(token - 1)));
}

/// As much as a whole context in batches of the size that arms use.
#[test]
fn a_long_prompt_spans_several_batches() {
    let model = builtin::load().expect("built-in model");
    let set = model.stored(rows16(|_| Format::W3p5)).expect("quantizes");
    let prompt: Vec<u32> = (0..400).map(|i| (i * 31 + 7) % 2048).collect();
    let decoder = |execution| {
        Decoder::new(Arc::clone(&model.parts), vec![set.clone()], execution, usize::MAX).expect("consistent")
    };
    let mut batches = decoder(vector_execution(2));
    assert!(batches.prompt_batch() > 12 && prompt.len() > 3 * batches.prompt_batch());
    let mut tokens = decoder(Execution { prompt_batch: 1, ..vector_execution(1) });
    assert!(prompt_bits(&mut batches, &prompt) == prompt_bits(&mut tokens, &prompt));
}

/// The execution of `execution`, which on a CPU without vectors takes `rows16` a row at a time.
fn vector_execution(threads: usize) -> Execution {
    let mut execution = execution(threads);
    if execution.kernel.isa == Isa::Scalar {
        execution.kernel.unroll = Unroll::U1;
    }
    execution
}

#[test]
fn prompts_are_read_token_by_token_where_a_layer_has_no_kernel_for_batches() {
    let model = builtin::load().expect("built-in model");
    let prompt: Vec<u32> = (0..9).map(|i| (i * 397 + 5) % 2048).collect();
    let quantized = |layout, place: Place| match place {
        Place::Layer(1, septet::model::Role::V) => Storage::F32,
        _ => Storage::Quantized { format: Format::W4, layout, granularity: Granularity::Group128 },
    };
    let dense = model.stored(|place| quantized(Layout::Dense, place)).expect("quantizes");
    let mixed = model.stored(|place| quantized(Layout::Rows16, place)).expect("quantizes");
    for set in [&model.linears().expect("finite"), &dense, &mixed] {
        let bits = |prompt_batch| {
            let execution = Execution { prompt_batch, ..vector_execution(2) };
            let mut decoder =
                Decoder::new(Arc::clone(&model.parts), vec![set.clone()], execution, 16).expect("consistent");
            assert_eq!(decoder.prompt_batch(), 1);
            prompt_bits(&mut decoder, &prompt)
        };
        assert_eq!(bits(4), bits(1));
    }
}

/// Each batch, like each token, takes the next copy of the weights; here the copies differ.
#[test]
fn batches_take_the_copies_of_the_weights_in_turn() {
    let model = |seed| ShapeModel::new(&odd_shape(), 1, 1, seed, rows16(|_| Format::W3)).expect("offered");
    let parts = Arc::new(shape::parts(&odd_shape(), 1, 3, 12, 3));
    let (first, second) = (model(3).sets.remove(0), model(4).sets.remove(0));
    let residual = |sets, prompts: &[&[u32]]| {
        let execution = Execution { prompt_batch: 3, ..vector_execution(1) };
        let mut decoder = Decoder::new(Arc::clone(&parts), sets, execution, usize::MAX).expect("consistent");
        for prompt in prompts {
            decoder.reset();
            decoder.prefill(prompt).expect("finite");
        }
        decoder.residual().to_vec()
    };
    let alone = |set: &LinearSet| residual(vec![set.clone()], &[&[0, 1, 2]]);
    let both = || vec![first.clone(), second.clone()];
    assert_ne!(alone(&first), alone(&second));
    assert_eq!(residual(both(), &[&[0, 1, 2]]), alone(&first));
    assert_eq!(residual(both(), &[&[5], &[0, 1, 2]]), alone(&second));
    assert_eq!(residual(both(), &[&[5, 6, 7, 8], &[0, 1, 2]]), alone(&first));
}

/// At 4 bits the built-in model stays close to itself, and every format costs more the fewer bits
/// it has.
#[test]
fn quantization_costs_what_its_bits_suggest() {
    let model = builtin::load().expect("built-in model");
    let stream = Stream::new(&model, &TEXT[..4000]).expect("encodes");
    let candidates = [Format::W4, Format::W3p5, Format::W3].map(|format| {
        let storage = Storage::Quantized { format, layout: Layout::Dense, granularity: Granularity::Group128 };
        model.stored(|_| storage).expect("quantizes")
    });
    let evaluation = evaluate(&model, &candidates, CacheFormat::F32, &stream);
    let qualities = [0, 1, 2].map(|at| evaluation.quality(at));
    println!("{qualities:#?}");
    let klds = qualities.map(|quality| quality.mean_kld);
    assert!(klds.is_sorted() && klds[0] > 0.0 && klds[0] < 0.1 && klds[2] < 0.5);
    assert!(qualities[0].top1_agreement > 0.8);
}

/// What a key/value cache of fewer bits costs, beside weights in f32 and beside the 3.5-bit weights that it
/// would serve.
#[test]
fn caches_of_fewer_bits_stay_near_the_model() {
    let model = builtin::load().expect("built-in model");
    let mut stream = Stream::new(&model, TEXT).expect("encodes");
    stream.truncate(1024);
    let linears = model.linears().expect("finite");
    let kld = |kv_cache| evaluate(&model, std::slice::from_ref(&linears), kv_cache, &stream).quality(0).mean_kld;
    let (f16, int8) = (kld(CacheFormat::F16), kld(CacheFormat::Int8));
    println!("f16 {f16:.2e} nats, int8 {int8:.2e} nats");
    assert!(0.0 < f16 && f16 < 1e-6 && f16 < int8 && int8 < 1e-3);
}

/// On text that the sensitivity table was not measured on, mixed formats are closer to the model
/// than its share of the way from w3 to w3p5 in bits alone would bring them.
#[test]
fn mixed_formats_spend_their_bits_where_they_count() {
    let model = builtin::load().expect("built-in model");
    let mixed = MixedFormats::for_model(&model.parts.config).expect("fits");
    let mut unseen = Stream::new(&model, TEXT).expect("encodes");
    unseen.tokens.drain(..SensitivityTable::builtin().expect("of this model").predictions);
    unseen.truncate(1024);
    let candidate = |format: &dyn Fn(Place) -> Format| {
        let storage =
            |place| Storage::Quantized { format: format(place), layout: Layout::Dense, granularity: GRANULARITY };
        model.stored(storage).expect("quantizes")
    };
    let candidates =
        [candidate(&|_| Format::W3p5), candidate(&|place| mixed.format(place)), candidate(&|_| Format::W3)];
    let evaluation = evaluate(&model, &candidates, CacheFormat::F32, &unseen);
    let [w3p5, mixed_kld, w3] = [0, 1, 2].map(|at| evaluation.quality(at).mean_kld);
    let share = (mixed.bits_per_weight() - 3.125) / 0.5;
    assert!(w3p5 < mixed_kld && mixed_kld < w3 + share * (w3p5 - w3), "{w3p5} {mixed_kld} {w3}");
}

#[test]
fn kernels_that_do_not_exist_are_named() {
    let model = builtin::load().expect("built-in model");
    let storage =
        Storage::Quantized { format: Format::W4, layout: Layout::BytePerPair, granularity: Granularity::Group128 };
    let message = model.stored(|_| storage).expect_err("not offered").to_string();
    assert!(message.contains("Q of layer 0") && message.contains("byte_per_pair"), "{message}");

    let storage = Storage::Quantized { format: Format::W4, layout: Layout::Dense, granularity: Granularity::Group128 };
    let set = model.stored(|_| storage).expect("quantizes");
    let kernel = KernelChoice { unpack: Unpack::Branch, unroll: Unroll::U1, isa: Isa::Avx2 };
    let execution = Execution { kernel, ..execution(1) };
    let Err(error) = Decoder::new(model.parts, vec![set], execution, 8) else { panic!("found a kernel") };
    assert!(error.to_string().contains("gemv/w4/dense/branch/u1/avx2"), "{error}");

    let model = builtin::load().expect("built-in model");
    let set = model.stored(|_| storage).expect("quantizes");
    let kernel = KernelChoice { unpack: Unpack::BitParallel, unroll: Unroll::U4, isa: Isa::Scalar };
    let execution = Execution { kernel, shape: Shape::CompileTime, ..self::execution(1) };
    let Err(error) = Decoder::new(model.parts, vec![set], execution, 8) else { panic!("found a kernel") };
    assert!(error.to_string().contains("is not compiled for K = "), "{error}");
}

#[test]
fn a_model_is_as_far_from_itself_as_nothing() {
    let model = builtin::load().expect("built-in model");
    let stream = Stream::new(&model, "Mina had a red kite.\n<|endoftext|>\nTom saw a dog.\n").expect("encodes");
    assert_eq!((stream.tokens[0], *stream.tokens.last().expect("tokens")), (0, 0));
    let evaluation = evaluate(&model, &[model.linears().expect("finite")], CacheFormat::F32, &stream);
    let quality = evaluation.quality(0);
    assert_eq!(evaluation.predictions(), stream.tokens.len() - 1);
    assert_eq!(quality.nats_per_token, evaluation.reference_nats());
    assert_eq!((quality.perplexity_ratio, quality.mean_kld), (1.0, 0.0));
    assert_eq!(quality.top1_agreement, 1.0);
}

/// In batches and token by token, whatever the threads; a context that overlaps helps, and nothing is predicted twice.
#[test]
fn evaluations_do_not_depend_on_how_they_are_computed() {
    let model = builtin::load().expect("built-in model");
    let mut stream = Stream::new(&model, TEXT).expect("encodes");
    stream.truncate(700);
    let candidates = [(model.stored(rows16(|_| Format::W3p5)).expect("quantizes"), CacheFormat::F32)];
    let evaluate = |windows, threads| {
        let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let models = || Models::alone(&model.parts, None, &candidates, windows);
        workers.install(|| Evaluation::new(&stream, windows, models, || {})).expect("finite")
    };
    let windows = Windows { length: 250, stride: 250 };
    let evaluation = evaluate(windows, 1);
    assert_eq!((evaluation.windows.len(), evaluation.predictions()), (3, 700));
    assert_eq!(evaluate(windows, 3), evaluation);

    let mut tokens = Decoder::new(
        Arc::clone(&model.parts),
        vec![candidates[0].0.clone()],
        Execution { prompt_batch: 1, ..vector_execution(1) },
        250,
    )
    .expect("consistent");
    let mut batches = Decoder::new(Arc::clone(&model.parts), vec![candidates[0].0.clone()], vector_execution(1), 250)
        .expect("consistent");
    let logits = |decoder: &mut Decoder| {
        let mut all: Vec<Vec<u32>> = Vec::new();
        let each = |at: usize, logits: &[f32]| {
            assert_eq!(at, all.len());
            all.push(logits.iter().map(|logit| logit.to_bits()).collect());
        };
        decoder.forward_all(&stream.tokens[..250], each).expect("finite");
        assert!(matches!(decoder.forward_all(&[1], |_, _| ()), Err(Error::ContextFull { position: 250, .. })));
        all
    };
    assert!(logits(&mut tokens) == logits(&mut batches));

    let sliding = evaluate(Windows { length: 250, stride: 125 }, 2);
    assert_eq!((sliding.windows.len(), sliding.predictions()), (5, 700));
    let nats = |evaluation: &Evaluation| evaluation.windows.iter().map(|window| window.candidates[0].nats).sum::<f64>();
    assert!(nats(&sliding) < nats(&evaluation), "{} {}", nats(&sliding), nats(&evaluation));
}

#[test]
fn shape_models_rotate_through_copies_and_wrap() {
    let preset = PRESETS.iter().find(|p| p.name == "llama70b-tp8").expect("known");
    let small = Preset { hidden: 256, ffn: 192, head_dim: 32, ..*preset };
    let model = ShapeModel::new(&small, 2, 3, 7, |_| Storage::F32).expect("valid");
    assert_eq!(model.sets.len(), 3);
    let mut decoder = Decoder::new(model.parts, model.sets, execution(1), usize::MAX).expect("consistent");
    for _ in 0..70 {
        assert!(decoder.forward(0).expect("finite").is_empty());
    }
    assert_eq!(decoder.position(), 70 - 64);
    let profile = decoder.take_profile();
    assert!(profile.ns(Operation::Linear) > 0 && profile.ns(Operation::Attention) > 0);
    assert_eq!(decoder.take_profile(), Profile::default());
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let model = builtin::load().expect("built-in model");
    let mut decoder = decoder(&model, 1);
    assert!(matches!(decoder.prefill(&[]), Err(Error::EmptyPrompt)));
    assert!(matches!(decoder.prefill(&[1; 512]), Err(Error::PromptTooLong { context: 512, .. })));
    assert!(matches!(decoder.forward(2048), Err(Error::Token { vocab: 2048, .. })));
    for _ in 0..512 {
        decoder.advance(1).expect("fits");
    }
    assert!(matches!(decoder.forward(1), Err(Error::ContextFull { position: 512, .. })));
    decoder.reset();
    assert!(decoder.forward(1).is_ok());

    let set = model.stored(rows16(|_| Format::W4)).expect("quantizes");
    let mut batches = Decoder::new(model.parts, vec![set], vector_execution(1), 16).expect("consistent");
    assert!(matches!(batches.prefill(&[1, 2, 2048]), Err(Error::Token { token: 2048, vocab: 2048 })));
    assert!(matches!(batches.prefill(&[1; 16]), Err(Error::PromptTooLong { context: 16, .. })));
    assert_eq!(batches.position(), 0);
    assert!(batches.prefill(&[1; 15]).is_ok());
}

/// Files of a small valid model, to be spoiled one at a time.
struct Files {
    config: Value,
    tokenizer: Vec<u8>,
    /// Name, dtype, shape, bytes.
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl Files {
    fn built_in() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
        let read = |name| std::fs::read(folder.join(name)).expect("in the repository");
        let weights = read("model.safetensors");
        let tensors = safetensors::SafeTensors::deserialize(&weights).expect("valid");
        Self {
            config: serde_json::from_slice(&read("config.json")).expect("JSON"),
            tokenizer: read("tokenizer.json"),
            tensors: tensors
                .iter()
                .map(|(name, view)| {
                    let (shape, data) = (view.shape().to_vec(), view.data().to_vec());
                    (name.to_owned(), view.dtype(), shape, data)
                })
                .collect(),
        }
    }

    fn tensor(&mut self, name: &str) -> &mut (String, Dtype, Vec<usize>, Vec<u8>) {
        let found = self.tensors.iter_mut().find(|tensor| tensor.0 == name);
        found.expect("in the model")
    }

    fn weights(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, dtype, shape, data)| {
            (name, TensorView::new(*dtype, shape.clone(), data).expect("consistent"))
        });
        safetensors::serialize(views, None).expect("serializes")
    }

    /// The message with which the model is refused; it must name `file`.
    fn refusal(&self, weights: Vec<u8>, file: &str) -> String {
        let in_memory = |name: &str, bytes| FileBytes::owned(Path::new("m").join(name), bytes);
        let config = in_memory("config.json", self.config.to_string().into_bytes());
        let tokenizer = in_memory("tokenizer.json", self.tokenizer.clone());
        let model = Shards::new(Path::new("m"), vec![in_memory("model.safetensors", weights)])
            .and_then(|shards| Checkpoint::from_files(&config, &tokenizer, None, None, shards))
            .and_then(|model| model.linears());
        match model {
            Ok(_) => panic!("a spoiled model was accepted"),
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains(file), "{message}");
                message
            }
        }
    }
}

const UP: &str = "model.layers.2.mlp.up_proj.weight";

#[test]
fn truncated_weights_are_refused() {
    let files = Files::built_in();
    let whole = files.weights();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        files.refusal(whole[..length].to_vec(), "model.safetensors");
    }
}

#[test]
fn spoiled_tensors_are_refused_by_name() {
    let spoil = |change: fn(&mut Files)| {
        let mut files = Files::built_in();
        change(&mut files);
        let message = files.refusal(files.weights(), "model.safetensors");
        assert!(message.contains(UP), "{message}");
        message
    };
    let message = spoil(|files| files.tensor(UP).0 += ".old");
    assert!(message.contains("missing"), "{message}");
    let message = spoil(|files| files.tensor(UP).2 = vec![256, 640]);
    assert!(message.contains("[256, 640]") && message.contains("[640, 256]"), "{message}");
    let message = spoil(|files| files.tensor(UP).1 = Dtype::I16);
    assert!(message.contains("I16") && message.contains("BF16"), "{message}");
    let message = spoil(|files| files.tensor(UP).3[20..22].copy_from_slice(&half::f16::NAN.to_le_bytes()));
    assert!(message.contains("NaN at index 10"), "{message}");
    let message = spoil(|files| files.tensor(UP).3[..2].copy_from_slice(&half::f16::INFINITY.to_le_bytes()));
    assert!(message.contains("inf at index 0"), "{message}");
}

#[test]
fn spoiled_configurations_are_refused_by_key() {
    let mut files = Files::built_in();
    files.config["num_hidden_layers"] = Value::Null;
    let message = files.refusal(files.weights(), "config.json");
    assert!(message.contains("`num_hidden_layers` is missing"), "{message}");

    let mut files = Files::built_in();
    files.config["num_hidden_layers"] = Value::from(5);
    let message = files.refusal(files.weights(), "model.safetensors");
    assert!(message.contains("model.layers.4."), "{message}");

    let mut files = Files::built_in();
    files.config["vocab_size"] = Value::from(2000);
    let message = files.refusal(files.weights(), "tokenizer.json");
    assert!(message.contains("2047") && message.contains("2000"), "{message}");

    let mut files = Files::built_in();
    files.tokenizer.truncate(1000);
    files.refusal(files.weights(), "tokenizer.json");
}

#[test]
fn folders_without_the_files_are_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let message = |folder: &Path| match Checkpoint::open(folder) {
        Ok(_) => panic!("loaded a model out of nothing"),
        Err(error) => error.to_string(),
    };
    assert!(message(folder.path()).contains("config.json"));

    let files = Files::built_in();
    std::fs::write(folder.path().join("config.json"), files.config.to_string()).expect("writes");
    assert!(message(folder.path()).contains("tokenizer.json"));
    std::fs::write(folder.path().join("tokenizer.json"), &files.tokenizer).expect("writes");
    assert!(message(folder.path()).contains("model.safetensors"));
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).expect("writes");
    assert!(message(folder.path()).contains("model-00001-of-00002.safetensors"));
}

#[test]
fn shards_with_an_index_load_like_one_file() {
    let mut files = Files::built_in();
    let folder = tempfile::tempdir().expect("temporary folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("writes");
    let mut map = serde_json::Map::new();
    let second = files.tensors.split_off(20);
    for (name, tensors) in [("a.safetensors", files.tensors.clone()), ("b.safetensors", second)] {
        files.tensors = tensors;
        write(name, &files.weights());
        for (tensor, ..) in &files.tensors {
            map.insert(tensor.clone(), Value::from(name));
        }
    }
    write("model.safetensors.index.json", serde_json::json!({ "weight_map": map }).to_string().as_bytes());
    write("config.json", files.config.to_string().as_bytes());
    write("tokenizer.json", &files.tokenizer);
    let (model, whole) = (Checkpoint::open(folder.path()).expect("loads"), builtin::load().expect("loads"));
    assert!((0..2048).all(|token| embedding(&model.parts, token) == embedding(&whole.parts, token)));
    let weights = |model: &Checkpoint| -> Vec<Vec<f32>> {
        let set = model.linears().expect("finite");
        set.iter()
            .map(|linear| if let Linear::F32(matrix) = linear { matrix.values.clone() } else { Vec::new() })
            .collect()
    };
    assert!(weights(&model) == weights(&whole));
}

#[test]
fn a_text_ends_where_the_tokenizer_says_too() {
    let files = Files::built_in();
    let folder = tempfile::tempdir().expect("temporary folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("writes");
    write("config.json", files.config.to_string().as_bytes());
    write("tokenizer.json", &files.tokenizer);
    write("model.safetensors", &files.weights());
    for (settings, ends) in [(r#"{"eos_token": "!"}"#, 2), (r#"{"eos_token": "<|endoftext|>"}"#, 1), ("{}", 1)] {
        write("tokenizer_config.json", settings.as_bytes());
        let model = Checkpoint::open(folder.path()).expect("loads");
        let eos = &model.parts.config.eos;
        assert_eq!((eos[0], eos.len()), (0, ends), "{settings}");
        assert!(ends == 1 || model.tokenizer.id("!") == Some(eos[1]), "{settings}");
    }
}
