//! The tokenizer in a GGUF file, as the `tokenizer.json` that does the same.
//!
//! Two kinds are read, both byte-pair encodings:
//!
//! - `llama` (SentencePiece): a space is `▁`, and one is put before the text; tokens have scores instead
//!   of merges, and of two neighbours those are merged first whose union has the highest score. A merge
//!   for each way to cut a token into two others, in the order of the scores, does the same. A character
//!   without a token is written as its bytes.
//! - `gpt2`: bytes are written as printable characters, the text is cut into words first, and merges are
//!   listed. How it is cut is called the *pre-tokenizer*.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::Gguf;
use super::reader::quoted;
use crate::model::error::Error;

/// Kinds of tokens that are found in a text as wholes; the first two are no text themselves.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Bytes of a token of a SentencePiece tokenizer at most.
const LONGEST_TOKEN: usize = 256;

/// How words are cut out of a text.
struct PreTokenizer {
    /// As files call it.
    names: &'static [&'static str],
    /// A pattern whose matches are words; nothing: the pattern of GPT-2.
    words: Option<&'static str>,
    /// Each digit is a word before the pattern is asked.
    digits: bool,
    /// A word that is a token needs no merges.
    whole_words: bool,
}

const LLAMA3_NAMES: [&str; 3] = ["llama-bpe", "llama3", "llama-v3"];

/// Words of LLaMA 3, and of those that cut as it does.
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Words of Qwen 2: digits one by one.
const QWEN2_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const PRE_TOKENIZERS: [PreTokenizer; 4] = [
    PreTokenizer { names: &["default", "gpt-2"], words: None, digits: false, whole_words: false },
    PreTokenizer { names: &LLAMA3_NAMES, words: Some(LLAMA3_WORDS), digits: false, whole_words: true },
    PreTokenizer { names: &["qwen2"], words: Some(QWEN2_WORDS), digits: false, whole_words: false },
    PreTokenizer { names: &["smollm"], words: None, digits: true, whole_words: false },
];

/// What `tokenizer.json` would hold.
///
/// # Errors
///
/// For a kind of tokenizer or of words that is not read, lists of different lengths, a token that is there
/// twice, and a merge that is none.
pub fn tokenizer_json(file: &Gguf) -> Result<Value, Error> {
    let kind = file.required("tokenizer.ggml.model", file.text("tokenizer.ggml.model")?)?;
    let tokens = file.required("tokenizer.ggml.tokens", file.texts("tokenizer.ggml.tokens")?)?;
    let mut vocabulary = HashMap::new();
    for (id, token) in tokens.iter().enumerate() {
        if let Some(other) = vocabulary.insert(*token, id) {
            let found = format!("{} at {other} and at {id}", quoted(token, '"'));
            return Err(file.refuse("tokenizer.ggml.tokens", found, "each token once"));
        }
    }
    let mut tokenizer = match kind {
        "llama" => sentence_piece(file, &tokens, &vocabulary)?,
        "gpt2" => byte_level(file)?,
        other => return Err(file.refuse("tokenizer.ggml.model", quoted(other, '"'), "llama, gpt2")),
    };
    tokenizer["model"]["type"] = Value::from("BPE");
    let vocabulary: Map<String, Value> =
        vocabulary.into_iter().map(|(token, id)| (token.to_owned(), id.into())).collect();
    tokenizer["model"]["vocab"] = Value::from(vocabulary);
    tokenizer["added_tokens"] = added_tokens(file, &tokens)?;
    Ok(tokenizer)
}

/// Whether the tokenizer puts a token before a text where the file does not say: those of SentencePiece and of LLaMA 3
/// do.
///
/// # Errors
///
/// For keys of another type.
pub fn begins_texts(file: &Gguf) -> Result<bool, Error> {
    let words = file.text("tokenizer.ggml.pre")?.unwrap_or_default();
    Ok(file.text("tokenizer.ggml.model")? == Some("llama") || LLAMA3_NAMES.contains(&words))
}

/// Everything of a SentencePiece tokenizer but the vocabulary.
fn sentence_piece(file: &Gguf, tokens: &[&str], vocabulary: &HashMap<&str, usize>) -> Result<Value, Error> {
    let key = "tokenizer.ggml.scores";
    let scores = file.required(key, file.floats(key)?)?;
    if scores.len() != tokens.len() {
        let valid = format!("{}, one for each token", tokens.len());
        return Err(file.refuse(key, format!("a list of {}", scores.len()), &valid));
    }
    if let Some(at) = scores.iter().position(|score| !score.is_finite()) {
        return Err(file.refuse(key, format!("{} at index {at}", scores[at]), "finite numbers"));
    }
    // Each of its cuts may be a merge.
    if let Some(token) = tokens.iter().find(|token| token.len() > LONGEST_TOKEN) {
        let found = format!("a token of {} bytes", token.len());
        return Err(file.refuse("tokenizer.ggml.tokens", found, &format!("at most {LONGEST_TOKEN} bytes")));
    }
    let unknown = match file.integer("tokenizer.ggml.unknown_token_id")? {
        None => None,
        Some(id) => match usize::try_from(id).ok().and_then(|id| tokens.get(id)) {
            Some(token) => Some(*token),
            None => {
                let valid = format!("a token id below {}", tokens.len());
                return Err(file.refuse("tokenizer.ggml.unknown_token_id", id.to_string(), &valid));
            }
        },
    };
    let space_first = file.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if space_first {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "merges": merges_of_scores(tokens, &scores, vocabulary),
            "unk_token": unknown,
            "fuse_unk": true,
            "byte_fallback": true,
        },
    }))
}

/// A merge for each way to cut a token into two others: those of a higher score first, among those of one
/// token (or of one score) in the order of their ids.
fn merges_of_scores(tokens: &[&str], scores: &[f32], vocabulary: &HashMap<&str, usize>) -> Vec<[String; 2]> {
    let mut merges = Vec::new();
    for (token, &score) in tokens.iter().zip(scores) {
        for (cut, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(cut);
            if let (Some(&first), Some(&second)) = (vocabulary.get(left), vocabulary.get(right)) {
                merges.push((score, first, second, [left.to_owned(), right.to_owned()]));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    merges.into_iter().map(|(.., pair)| pair).collect()
}

/// Everything of a GPT-2 tokenizer but the vocabulary.
fn byte_level(file: &Gguf) -> Result<Value, Error> {
    let key = "tokenizer.ggml.merges";
    let mut merges = Vec::new();
    for merge in file.required(key, file.texts(key)?)? {
        let pair = merge.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty());
        let Some((left, right)) = pair else {
            return Err(file.refuse(key, quoted(merge, '"'), "two tokens with a space between them"));
        };
        merges.push([left, right]);
    }
    let key = "tokenizer.ggml.pre";
    let name = file.text(key)?.unwrap_or("default");
    let Some(words) = PRE_TOKENIZERS.iter().find(|known| known.names.contains(&name)) else {
        let valid = PRE_TOKENIZERS.iter().flat_map(|known| known.names).copied().collect::<Vec<_>>().join(", ");
        return Err(file.refuse(key, quoted(name, '"'), &valid));
    };
    let mut cuts = Vec::new();
    if words.digits {
        cuts.push(json!({"type": "Digits", "individual_digits": true}));
    }
    if let Some(pattern) = words.words {
        cuts.push(json!({
            "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
        }));
    }
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    cuts.push(bytes(words.words.is_none()));
    Ok(json!({
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts},
        "decoder": bytes(true),
        "model": {"merges": merges, "ignore_merges": words.whole_words},
    }))
}

/// Tokens that are found in a text before it is cut: those that control, and are no text, and those that a user
/// defined.
fn added_tokens(file: &Gguf, tokens: &[&str]) -> Result<Value, Error> {
    let key = "tokenizer.ggml.token_type";
    let kinds = file.integers(key)?.unwrap_or_default();
    if !kinds.is_empty() && kinds.len() != tokens.len() {
        let valid = format!("{}, one for each token", tokens.len());
        return Err(file.refuse(key, format!("a list of {}", kinds.len()), &valid));
    }
    let added = tokens.iter().zip(kinds).enumerate();
    let added = added.filter(|(_, (_, kind))| [UNKNOWN, CONTROL, USER_DEFINED].contains(kind));
    let added = added.map(|(id, (token, kind))| {
        let mut entry = Map::new();
        entry.insert("id".to_owned(), id.into());
        entry.insert("content".to_owned(), (*token).into());
        for (flag, value) in [
            ("single_word", false),
            ("lstrip", false),
            ("rstrip", false),
            ("normalized", false),
            ("special", kind != USER_DEFINED),
        ] {
            entry.insert(flag.to_owned(), value.into());
        }
        Value::from(entry)
    });
    Ok(added.collect())
}
