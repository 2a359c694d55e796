//! Chat templates: how messages become the text that a model was made to answer.
//!
//! A template is a program in Jinja's language that comes with the model. It is rendered as Hugging Face's
//! `apply_chat_template` does: a block takes its line with it, methods of Python's strings, lists and
//! dictionaries exist, and so do `raise_exception` and `strftime_now`. One thing differs: a backslash at the end of a
//! line within a string stays, where Jinja joins the two lines.
//!
//! Like all of a model's files it may be damaged or hostile. It sees nothing but what it is given here, is
//! stopped after a number of instructions, and given up after some seconds, for an instruction may be a long one. How
//! much memory it asks for until then is not limited.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::error::Error;

/// Instructions of a template at most. Published ones take some hundred for a message.
const FUEL: u64 = 100_000;

/// How long a template may take. Published ones take less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(10);

/// Filters that repeat something as often as a number says, all in one instruction; nothing would stop them.
const BOUNDLESS: [&str; 4] = ["batch", "format", "indent", "slice"];

/// The name of the template that is taken, and of one that has no other name.
pub const DEFAULT: &str = "default";

/// The chat templates of a model.
#[derive(Clone, Debug)]
pub struct Chat {
    /// Where the templates are, or where the model is that has none.
    pub file: PathBuf,
    /// By name.
    pub templates: BTreeMap<String, String>,
    /// The text of special tokens, by the names that templates know: `bos_token` and its like.
    pub tokens: BTreeMap<String, String>,
}

impl Chat {
    /// What the model reads before it answers the message `user`, before which a message `system` may come. Templates
    /// may write the date of `now`.
    ///
    /// # Errors
    ///
    /// When the model has no template, or it has several of which none is called `default`, and when the template
    /// is no valid one, fails, refuses the messages or does not end.
    pub fn prompt(&self, system: Option<&str>, user: &str, now: DateTime<Utc>) -> Result<String, Error> {
        if self.templates.is_empty() {
            return Err(Error::NoChatTemplate { model: self.file.clone() });
        }
        let refuse = |reason: String| Error::ChatTemplate {
            file: self.file.clone(),
            reason: format!("{reason}: leave `--chat` out, or replace the template"),
        };
        let Some(template) = self.templates.get(DEFAULT) else {
            let names: Vec<&str> = self.templates.keys().map(String::as_str).collect();
            return Err(refuse(format!("is one of {}; valid: one with the name `{DEFAULT}`", names.join(", "))));
        };
        let (template, context) = (template.clone(), self.context(system, user));
        match within(PATIENCE, move || rendered(&template, context, now)) {
            Some(Ok(text)) => Ok(text),
            Some(Err(error)) if error.kind() == ErrorKind::OutOfFuel => {
                Err(refuse(format!("does not end: it was stopped after {FUEL} instructions")))
            }
            Some(Err(error)) => Err(refuse(format!("can not be rendered: {error}"))),
            None => Err(refuse(format!("gave no text within {} s", PATIENCE.as_secs()))),
        }
    }

    /// What the template is given.
    fn context(&self, system: Option<&str>, user: &str) -> BTreeMap<String, Value> {
        let message = |role: &str, content: &str| {
            Value::from(BTreeMap::from([("role", Value::from(role)), ("content", Value::from(content))]))
        };
        let system = system.map(|content| message("system", content));
        let messages: Vec<Value> = system.into_iter().chain([message("user", user)]).collect();
        let tokens = self.tokens.iter().map(|(name, text)| (name.clone(), Value::from(text)));
        let given = [
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(true)),
            // Templates ask whether they are none, not whether they are there.
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value));
        tokens.chain(given).collect()
    }
}

/// What `work` gives, if it gives something within `patience`. Otherwise it is left to itself, and goes on.
fn within<T: Send + 'static>(patience: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // Where nobody waits any more, nothing is lost.
    thread::Builder::new().spawn(move || drop(sender.send(work()))).ok()?;
    receiver.recv_timeout(patience).ok()
}

/// What `template` writes of `context`.
fn rendered(template: &str, context: BTreeMap<String, Value>, now: DateTime<Utc>) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(FUEL));
    BOUNDLESS.iter().for_each(|filter| environment.remove_filter(filter));
    environment.set_unknown_method_callback(method);
    environment.add_function("raise_exception", |message: String| {
        Err::<Value, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", move |format: &str| {
        let mut text = String::new();
        // An error rather than the panic of `to_string`, where the format is none.
        match write!(text, "{}", now.format(format)) {
            Ok(()) => Ok(text),
            Err(_) => {
                let reason = format!("{format:?} is no format of a time");
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
            }
        }
    });
    environment.render_named_str("template", template, context)
}

/// The methods of Python, but for the one that repeats a character as often as a number says.
fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, minijinja::Error> {
    if name == "format" {
        return Err(ErrorKind::UnknownMethod.into());
    }
    unknown_method_callback(state, value, name, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(template: &str) -> Chat {
        let pair = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        Chat {
            file: PathBuf::from("chat_template.jinja"),
            templates: BTreeMap::from([pair((DEFAULT, template))]),
            tokens: [("bos_token", "<s>"), ("eos_token", "</s>")].map(pair).into(),
        }
    }

    /// What `template` makes of a message of the user, on the first of January 1970.
    fn written(template: &str, system: Option<&str>) -> String {
        chat(template).prompt(system, " Hi, \"you\" & <me> ", DateTime::UNIX_EPOCH).expect("renders")
    }

    fn refusal(template: &str) -> String {
        let message = chat(template).prompt(Some("Be brief."), "Hi", DateTime::UNIX_EPOCH).expect_err(template);
        let message = message.to_string();
        assert!(message.starts_with("chat_template.jinja: the chat template "), "{message}");
        message
    }

    #[test]
    fn messages_between_marks() {
        let template = "\
            {%- macro said(role, text) %}<|im_start|>{{ role }}\n{{ text }}<|im_end|>\n{% endmacro %}
            {%- for message in messages %}
                {%- if loop.first and message['role'] != 'system' %}{{ said('system', 'Help.') }}{% endif %}
                {{- said(message['role'], message['content']) }}
            {%- endfor %}
            {%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\n";
        let user = "<|im_start|>user\n Hi, \"you\" & <me> <|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(written(template, None), format!("<|im_start|>system\nHelp.<|im_end|>\n{user}"));
        assert_eq!(written(template, Some("Be brief.")), format!("<|im_start|>system\nBe brief.<|im_end|>\n{user}"));
    }

    #[test]
    fn instructions_between_brackets() {
        let template = "\
            {% set system = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}\
            {% set rest = messages[1:] if system else messages %}{% for message in rest %}\
            {% if (message['role'] == 'user') != (loop.index0 is even) %}\
            {{ raise_exception('roles must alternate') }}{% endif %}\
            {% set text = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message.content if system else message.content %}\
            {{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}{% endfor %}";
        assert_eq!(written(template, None), "<s>[INST] Hi, \"you\" & <me> [/INST]");
        let expected = "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hi, \"you\" & <me> [/INST]";
        assert_eq!(written(template, Some("Be brief.")), expected);
    }

    #[test]
    fn headers_and_a_date() {
        let template = "\
            {{- bos_token }}
            {%- if not date is defined %}{% set date = strftime_now('%d %b %Y') %}{% endif %}
            {#- The system message has its own place. #}
            {%- set told = namespace(text='') %}
            {%- for message in messages if message.role == 'system' %}{% set told.text = message.content | trim %}{% endfor %}
            {{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' ~ date ~ '\\n\\n' ~ told.text ~ '<|eot_id|>' }}
            {%- if tools is not none %}{{ tools | tojson }}{% endif %}
            {%- for message in messages if message.role != 'system' %}
                {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim }}
                {{- '<|eot_id|>' }}
            {%- endfor %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' if add_generation_prompt }}";
        let system = "<s><|start_header_id|>system<|end_header_id|>\n\nToday: 01 Jan 1970\n\n";
        let user = "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi, \"you\" & <me><|eot_id|>\
            <|start_header_id|>assistant<|end_header_id|>\n\n";
        assert_eq!(written(template, None), format!("{system}{user}"));
        assert_eq!(written(template, Some(" Be brief. ")), format!("{system}Be brief.{user}"));
    }

    #[test]
    fn blocks_take_their_lines_with_them() {
        let template = "a\n  {% for message in messages %}\n  {{ message.content.split()[0] }}\n  {% endfor %}\nb\n";
        assert_eq!(written(template, None), "a\n  Hi,\nb");
    }

    #[test]
    fn a_template_may_refuse_and_be_wrong() {
        let message = refusal("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}");
        assert!(message.contains("no system"), "{message}");
        for (template, reason) in [
            ("{% for message in messages %}", "syntax error"),
            ("{{ messages[7].content }}", "undefined value"),
            ("{{ strftime_now('%Q') }}", "no format of a time"),
            ("{% include 'secret' %}", "secret"),
        ] {
            let message = refusal(template);
            assert!(message.contains("can not be rendered: ") && message.contains(reason), "{message}");
        }
    }

    #[test]
    fn a_template_comes_to_an_end() {
        for (template, reason) in [
            (
                "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
                "stopped after 100000 instructions",
            ),
            ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "recursion limit"),
            ("{{ 'a' | indent(10 ** 18) }}", "unknown filter"),
            ("{{ '{:1000000000000}'.format(1) }}", "unknown method"),
        ] {
            let message = refusal(template);
            assert!(message.contains(reason), "{message}");
        }
        assert_eq!(within(PATIENCE, || 1), Some(1));
        assert_eq!(within(Duration::ZERO, || thread::sleep(PATIENCE)), None);
    }

    #[test]
    fn of_several_templates_the_default_is_taken() {
        let mut several = chat("one");
        several.templates.insert("tool_use".to_owned(), "two".to_owned());
        assert_eq!(several.prompt(None, "Hi", DateTime::UNIX_EPOCH).expect("renders"), "one");
        several.templates.remove(DEFAULT);
        let error = several.prompt(None, "Hi", DateTime::UNIX_EPOCH).expect_err("not the default").to_string();
        assert!(error.contains("tool_use; valid: ") && error.contains("`default`"), "{error}");
        several.templates.clear();
        let error = several.prompt(None, "Hi", DateTime::UNIX_EPOCH).expect_err("none").to_string();
        assert!(error.contains("no chat template") && error.contains("leave `--chat` out"), "{error}");
    }
}
