//! Text to tokens and back, through `tokenizer.json`.

use std::path::Path;

use super::error::Error;

/// Tokenizers emit this while the bytes of a character are incomplete.
const REPLACEMENT: char = '\u{fffd}';

/// The tokenizer of a model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<u32>,
}

impl Tokenizer {
    /// Reads the text of `file`, a `tokenizer.json`, whose path serves messages only; `bos` is the token that
    /// begins a text, of a model of `vocab` tokens.
    ///
    /// # Errors
    ///
    /// When the text is not a tokenizer, or has token ids that the model has no embedding for.
    pub fn parse(json: &[u8], file: &Path, vocab: usize, bos: Option<u32>) -> Result<Self, Error> {
        let inner = tokenizers::Tokenizer::from_bytes(json).map_err(|error| Error::Tokenizer {
            file: file.to_owned(),
            reason: format!("not a tokenizer that this version can read: {error}"),
        })?;
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= vocab {
            return Err(Error::Vocabulary { file: file.to_owned(), largest, vocab });
        }
        Ok(Self { inner, bos })
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The tokens of `text` after the one that begins a text, where the model has one.
    ///
    /// # Errors
    ///
    /// When the tokenizer has no token for a part of the text.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.encode_with(text, true).map(|tokens| self.begun(tokens))
    }

    /// The tokens of a `text` that a chat template wrote. Templates write special tokens themselves; the one that
    /// begins a text is put before those that leave it out.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode_prompt`].
    pub fn encode_chat(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.encode(text).map(|tokens| self.begun(tokens))
    }

    /// The tokens of `text` alone.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode_prompt`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.encode_with(text, false)
    }

    /// The id of the token that is written as `text`.
    pub fn id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// How the token `id` is written.
    pub fn text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// `tokens` after the one that begins a text, once.
    fn begun(&self, mut tokens: Vec<u32>) -> Vec<u32> {
        if let Some(bos) = self.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        tokens
    }

    fn encode_with(&self, text: &str, special: bool) -> Result<Vec<u32>, Error> {
        match self.inner.encode_fast(text, special) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(Error::Tokenizer {
                file: "tokenizer.json".into(),
                reason: format!("can not encode the text: {error}"),
            }),
        }
    }

    /// The text of `tokens`, special ones left out.
    ///
    /// # Errors
    ///
    /// When the tokenizer's decoder refuses them.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Error> {
        self.inner.decode(tokens, true).map_err(|error| Error::Tokenizer {
            file: "tokenizer.json".into(),
            reason: format!("can not decode tokens: {error}"),
        })
    }

    /// A stream that decodes what follows `prompt`.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn stream(&self, prompt: &[u32]) -> Result<TextStream<'_>, Error> {
        Ok(TextStream { tokenizer: self, printed: self.decode(prompt)?, tokens: prompt.to_vec(), fresh: prompt.len() })
    }
}

/// Decodes token by token. Whether a token begins with a space, and which bytes make a character,
/// depends on its neighbours; so the last tokens are decoded again with each new one, and text is
/// given out when its characters are complete.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Context and the tokens not given out yet.
    tokens: Vec<u32>,
    /// Where in `tokens` those not given out begin.
    fresh: usize,
    /// The text of the context, `tokens[..fresh]`.
    printed: String,
}

impl TextStream<'_> {
    /// The text that `token` completes; empty while a character is incomplete.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, token: u32) -> Result<String, Error> {
        self.tokens.push(token);
        let text = self.tokenizer.decode(&self.tokens)?;
        if text.ends_with(REPLACEMENT) {
            return Ok(String::new());
        }
        let new = self.beyond_printed(&text);
        // What was just given out is the context of what follows.
        self.tokens.drain(..self.fresh);
        self.fresh = self.tokens.len();
        self.printed = self.tokenizer.decode(&self.tokens)?;
        Ok(new)
    }

    /// What is left when the text ends: the beginning of a character that was never completed.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn finish(self) -> Result<String, Error> {
        let text = self.tokenizer.decode(&self.tokens)?;
        Ok(self.beyond_printed(&text))
    }

    fn beyond_printed(&self, text: &str) -> String {
        text.get(self.printed.len()..).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::builtin;

    fn tokenizer() -> Tokenizer {
        builtin::load().expect("built-in model").tokenizer
    }

    #[test]
    fn a_prompt_begins_with_bos_once() {
        let tokenizer = tokenizer();
        let tokens = tokenizer.encode_prompt("Once upon a time").expect("encodes");
        assert_eq!(tokenizer.bos(), Some(0));
        assert_eq!(tokens[0], 0);
        assert_eq!(tokenizer.encode("Once upon a time").expect("encodes"), tokens[1..]);
        assert_eq!(tokenizer.decode(&tokens).expect("decodes"), "Once upon a time");
        assert_eq!(tokenizer.encode_prompt("").expect("encodes"), [0]);
        for text in ["Once upon a time", "<|endoftext|>Once upon a time"] {
            assert_eq!(tokenizer.encode_chat(text).expect("encodes"), tokens, "{text}");
        }
    }

    #[test]
    fn streamed_pieces_join_to_the_decoded_text() {
        let tokenizer = tokenizer();
        let text = "Lily said, \"naïve 😀 café\".\nThe end — 日本.";
        let tokens = tokenizer.encode_prompt(text).expect("encodes");
        for prompt in [1, 4] {
            let mut stream = tokenizer.stream(&tokens[..prompt]).expect("decodes");
            let mut joined = tokenizer.decode(&tokens[..prompt]).expect("decodes");
            let mut waits = 0;
            for &token in &tokens[prompt..] {
                let piece = stream.push(token).expect("decodes");
                assert!(!piece.contains(REPLACEMENT));
                waits += usize::from(piece.is_empty());
                joined += &piece;
            }
            assert!(waits > 0, "the text has characters of several tokens");
            joined += &stream.finish().expect("decodes");
            assert_eq!(joined, text);
        }
    }

    #[test]
    fn an_incomplete_character_ends_as_a_replacement() {
        let tokenizer = tokenizer();
        let tokens = tokenizer.encode_prompt("😀").expect("encodes");
        let mut stream = tokenizer.stream(&[0]).expect("decodes");
        assert_eq!(stream.push(tokens[1]).expect("decodes"), "");
        assert_eq!(stream.finish().expect("decodes"), "\u{fffd}");
    }
}
