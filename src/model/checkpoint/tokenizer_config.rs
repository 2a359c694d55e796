//! `tokenizer_config.json` of a Hugging Face folder: what a text begins and ends with, and the chat template.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bytes::FileBytes;
use crate::model::chat::{self, Chat};
use crate::model::config::Config;
use crate::model::error::Error;

/// What `tokenizer_config.json` says of texts.
#[derive(Default, Deserialize)]
pub struct TokenizerConfig {
    add_bos_token: Option<bool>,
    tokenizer_class: Option<String>,
    chat_template: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// `chat_template` is one template, or several with names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Template>),
}

#[derive(Deserialize)]
struct Template {
    name: String,
    template: String,
}

impl TokenizerConfig {
    /// Reads `file`; a folder need not have it.
    ///
    /// # Errors
    ///
    /// For a file that is no JSON object, or has values of another kind.
    pub fn read(file: Option<&FileBytes>) -> Result<Self, Error> {
        let Some(file) = file else { return Ok(Self::default()) };
        serde_json::from_slice(file).map_err(|cause| Error::Json { file: file.file().to_owned(), cause })
    }

    /// The token that begins a text: that of `config`, unless none is put there. Without an answer it is the class of
    /// the tokenizer that says so, as in Hugging Face's: those of GPT-2 and Qwen 2 put none.
    pub fn bos(&self, config: &Config) -> Option<u32> {
        let begins = |class: &String| !["GPT2", "Qwen2"].iter().any(|none| class.starts_with(none));
        let begins = self.add_bos_token.unwrap_or(self.tokenizer_class.as_ref().is_none_or(begins));
        config.bos.filter(|_| begins)
    }

    /// The text of the token that ends a text. Of a model for chats it ends an answer, which the token that
    /// `config.json` names may not.
    pub fn eos(&self) -> Option<&str> {
        self.others.get("eos_token").and_then(token)
    }

    /// The chat templates that it holds, which was read from `file`, or the one in the file `template`, which
    /// newer models have instead. `folder` serves messages only.
    ///
    /// # Errors
    ///
    /// For templates that are no text, or not UTF-8.
    pub fn chat(&self, file: Option<&FileBytes>, template: Option<&FileBytes>, folder: &Path) -> Result<Chat, Error> {
        let tokens = self.others.iter().filter(|(name, _)| name.ends_with("_token"));
        let tokens = tokens.filter_map(|(name, value)| Some((name.clone(), token(value)?.to_owned())));
        let mut chat = Chat { file: folder.to_owned(), templates: BTreeMap::new(), tokens: tokens.collect() };
        if let Some(template) = template {
            let file = template.file().to_owned();
            let text = str::from_utf8(template).map_err(|error| {
                let (file, reason) = (file.clone(), format!("is not UTF-8: {error}: replace the file, or delete it"));
                Error::ChatTemplate { file, reason }
            })?;
            chat.templates.insert(chat::DEFAULT.to_owned(), text.to_owned());
            chat.file = file;
        } else if let (Some(file), Some(value)) = (file, &self.chat_template) {
            let templates = Templates::deserialize(value).map_err(|_| Error::Config {
                file: file.file().to_owned(),
                key: "chat_template".to_owned(),
                found: "something else".to_owned(),
                valid: "a text, or a list of objects with a `name` and a `template`".to_owned(),
            })?;
            chat.templates = match templates {
                Templates::One(template) => BTreeMap::from([(chat::DEFAULT.to_owned(), template)]),
                Templates::Named(named) => named.into_iter().map(|one| (one.name, one.template)).collect(),
            };
            chat.file = file.file().to_owned();
        }
        Ok(chat)
    }
}

/// The text of a special token, which is described by its text, or by an object that holds it.
fn token(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_template_is_in_a_file_or_in_the_configuration() {
        let json = |name: &str, bytes: &str| FileBytes::owned(PathBuf::from(name), bytes.as_bytes().to_vec());
        let chat = |settings: &str, template: Option<&FileBytes>| {
            let file = json("tokenizer_config.json", settings);
            TokenizerConfig::read(Some(&file))?.chat(Some(&file), template, Path::new("m"))
        };
        let tokens = r#""bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null"#;
        let settings = format!(r#"{{"chat_template": "settings", "add_bos_token": true, {tokens}}}"#);

        let from_settings = chat(&settings, None).expect("valid");
        assert_eq!(from_settings.templates, BTreeMap::from([("default".to_owned(), "settings".to_owned())]));
        assert_eq!(from_settings.file, Path::new("tokenizer_config.json"));
        let expected = [("bos_token", "<s>"), ("eos_token", "</s>")].map(|(name, text)| (name.into(), text.into()));
        assert_eq!(from_settings.tokens, BTreeMap::from(expected));

        let template = json("chat_template.jinja", "file");
        let from_file = chat(&settings, Some(&template)).expect("valid");
        assert_eq!((&*from_file.templates["default"], from_file.tokens.len()), ("file", 2));
        assert_eq!(from_file.file, Path::new("chat_template.jinja"));

        let named = r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#;
        assert_eq!(chat(named, None).expect("valid").templates["default"], "d");
        assert!(chat(r#"{"chat_template": null}"#, None).expect("valid").templates.is_empty());

        let Err(error) = chat(r#"{"chat_template": 5}"#, None) else { panic!("took a number") };
        assert!(error.to_string().contains("tokenizer_config.json: key `chat_template`"), "{error}");
        let binary = FileBytes::owned(PathBuf::from("chat_template.jinja"), vec![0xff]);
        let Err(error) = chat("{}", Some(&binary)) else { panic!("took bytes") };
        assert!(error.to_string().contains("chat_template.jinja: the chat template is not UTF-8"), "{error}");
    }
}
