//! Fetches models into the cache that programs for Hugging Face share.
//!
//! The cache says which commit a name means: what lies there is taken without the network, and what is missing is
//! fetched of the same commit, so that a name is the same model in every process of a run. What updates the cache, as
//! `hf download` does, moves the name on.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::api::{Progress, RepoInfo};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::{ProgressBar, ProgressStyle};

use super::Name;
use crate::digest;
use crate::model::checkpoint::bytes::FileBytes;
use crate::model::checkpoint::hugging_face::{INDEX_FILE, weight_files};
use crate::model::checkpoint::packed::MANIFEST;
use crate::model::error::Error;

/// What a folder must have beside its weights.
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];

/// What is read where it is there.
const OPTIONAL: [&str; 4] = ["tokenizer_config.json", "chat_template.jinja", MANIFEST, INDEX_FILE];

/// Files of a repository that an error shows at most.
const SHOWN: usize = 16;

/// Hexadecimal digits of a commit.
const COMMIT_DIGITS: usize = 40;

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// The folder or GGUF file of `name` in the cache, after what was missing has been fetched. Of the environment,
/// `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` are read.
pub(super) fn fetch(name: &Name) -> Result<PathBuf, Error> {
    let wrong = |file: &str, reason: &str| {
        Err(Error::Hub { model: name.to_string(), file: file.to_owned(), reason: reason.to_owned() })
    };
    // hf-hub would panic.
    if env::var("HF_HOME").is_err() && env::home_dir().is_none() {
        return wrong("its cache", "there is no home folder: set HF_HOME");
    }
    let cache = Cache::from_env();
    let token = env::var("HF_TOKEN").ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    let token = token.or_else(|| cache.token());
    // The error of a malformed header would show it.
    if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return wrong("your token", "it has blanks or other characters that no token has: set HF_TOKEN again");
    }
    Hub::new(name, ApiBuilder::from_env().with_token(token), cache)?.fetch()
}

/// The repository of a model.
struct Hub<'a> {
    name: &'a Name,
    api: Api,
    /// That of `api`.
    cache: Cache,
}

impl<'a> Hub<'a> {
    fn new(name: &'a Name, builder: ApiBuilder, cache: Cache) -> Result<Self, Error> {
        let failed = |error: ApiError| {
            let (model, file) = (name.to_string(), "the client".to_owned());
            Error::Hub { model, file, reason: error.to_string() }
        };
        Ok(Self { name, api: builder.build().map_err(failed)?, cache })
    }

    fn fetch(&self) -> Result<PathBuf, Error> {
        let commit = self.cached_commit();
        match &self.name.file {
            Some(file) => self.gguf(file, commit.as_deref()),
            None => self.folder(commit.as_deref()),
        }
    }

    fn gguf(&self, file: &str, cached: Option<&str>) -> Result<PathBuf, Error> {
        match cached.map(|commit| self.snapshot(commit).join(file)).filter(|path| path.exists()) {
            Some(path) => Ok(path),
            None => self.file(&self.listing(self.ask(cached))?, file),
        }
    }

    fn folder(&self, cached: Option<&str>) -> Result<PathBuf, Error> {
        let usable = cached.map_or(Ok(None), |commit| self.usable(commit))?;
        // A program that fetched this may have left optional files out; it says so of those that do not exist.
        if let (Some(commit), Some(folder)) = (cached, &usable)
            && OPTIONAL.iter().all(|file| folder.join(file).exists() || self.absence(commit, file).exists())
        {
            return Ok(folder.clone());
        }
        let listing = match (self.ask(cached), usable) {
            // Nobody can be asked: what there is must do.
            (Err(error), Some(folder)) if is_unreachable(&error) => return Ok(folder),
            (answer, _) => self.listing(answer)?,
        };
        for file in REQUIRED {
            self.file(&listing, file)?;
        }
        for file in OPTIONAL {
            if is_listed(&listing, file) {
                self.file(&listing, file)?;
            } else {
                // It spares a question next time. A cache that may not be written to has all the same what it has.
                let _ = self.note_absence(&listing.sha, file);
            }
        }
        let folder = self.snapshot(&listing.sha);
        for file in weight_files(&folder)? {
            self.file(&listing, &file)?;
        }
        Ok(folder)
    }

    /// The folder of `commit` in the cache, if it has all that a model must have.
    fn usable(&self, commit: &str) -> Result<Option<PathBuf>, Error> {
        let folder = self.snapshot(commit);
        let weights = weight_files(&folder)?;
        let mut files = REQUIRED.into_iter().chain(weights.iter().map(String::as_str));
        Ok(files.all(|file| folder.join(file).exists()).then_some(folder))
    }

    /// What the repository has at `commit`, or at the name's revision as it is now.
    fn ask(&self, commit: Option<&str>) -> Result<RepoInfo, ApiError> {
        self.api.repo(self.at(commit.unwrap_or(self.revision()))).info()
    }

    /// The answer to that, which is of a commit.
    fn listing(&self, answer: Result<RepoInfo, ApiError>) -> Result<RepoInfo, Error> {
        let what = "the list of its files";
        let listing = answer.map_err(|error| self.failed(what, &error))?;
        if is_commit(&listing.sha) {
            Ok(listing)
        } else {
            Err(self.error(what, format!("it is of commit {:?}, which is none: check HF_ENDPOINT", listing.sha)))
        }
    }

    /// A file of the listed commit in the cache, fetched if it is not there.
    fn file(&self, listing: &RepoInfo, file: &str) -> Result<PathBuf, Error> {
        let path = self.snapshot(&listing.sha).join(file);
        if path.exists() {
            return Ok(path);
        }
        if !is_listed(listing, file) {
            let names = listing.siblings.iter().map(|sibling| &sibling.rfilename);
            let weights = names.filter(|name| name.ends_with(".gguf") || name.ends_with(".safetensors"));
            let (model, found) = (self.name.to_string(), weights.take(SHOWN).cloned().collect());
            return Err(Error::HubFile { model, file: file.to_owned(), found });
        }
        let fetched = self.api.repo(self.at(&listing.sha)).download_with_progress(file, Bar::new());
        self.check(file, &fetched.map_err(|error| self.failed(file, &error))?)?;
        self.cache.repo(self.at(self.revision())).create_ref(&listing.sha).map_err(|cause| self.unwritten(cause))?;
        Ok(path)
    }

    /// Removes a file from the cache again that is not what the repository has, which hf-hub does not check.
    fn check(&self, file: &str, fetched: &Path) -> Result<(), Error> {
        let blob = fetched.canonicalize().map_err(|cause| self.unwritten(cause))?;
        // A large file is called by its SHA-256 in the cache; a small one by a Git hash, which is shorter.
        let Some(expected) = blob.file_name().and_then(OsStr::to_str).filter(|name| name.len() == SHA256_DIGITS) else {
            return Ok(());
        };
        let found = digest::sha256([&*FileBytes::map(&blob)?]);
        if found == expected {
            return Ok(());
        }
        for path in [fetched, &blob] {
            fs::remove_file(path).map_err(|cause| self.unwritten(cause))?;
        }
        let reason = format!("what came has SHA-256 {found} in place of {expected} and was removed: try again");
        Err(self.error(file, reason))
    }

    /// The commit that the cache has for the name.
    fn cached_commit(&self) -> Option<String> {
        let reference = self.root().join("refs").join(self.revision());
        // A commit needs no reference.
        let commit = fs::read_to_string(reference).unwrap_or_else(|_| self.revision().to_owned());
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// What marks in the cache that the repository does not have a file.
    fn absence(&self, commit: &str, file: &str) -> PathBuf {
        self.root().join(".no_exist").join(commit).join(file)
    }

    fn note_absence(&self, commit: &str, file: &str) -> io::Result<()> {
        let mark = self.absence(commit, file);
        fs::create_dir_all(mark.parent().unwrap_or(&mark))?;
        fs::write(mark, [])
    }

    /// The files of `commit` in the cache.
    fn snapshot(&self, commit: &str) -> PathBuf {
        self.root().join("snapshots").join(commit)
    }

    /// The repository in the cache.
    fn root(&self) -> PathBuf {
        self.cache.path().join(self.at(self.revision()).folder_name())
    }

    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.name.repository.clone(), RepoType::Model, revision.to_owned())
    }

    fn revision(&self) -> &str {
        self.name.revision.as_deref().unwrap_or("main")
    }

    fn failed(&self, file: &str, error: &ApiError) -> Error {
        let status = match error {
            ApiError::RequestError(cause) => match **cause {
                ureq::Error::Status(status, _) => Some(status),
                _ => None,
            },
            _ => None,
        };
        let (cache, (command, result)) = (self.root(), self.name.by_hand());
        let advice = match (status, error) {
            (Some(401 | 403), _) => {
                "it is private or gated, or there is no such repository: check the name, accept its terms on its page, \
                 and set HF_TOKEN to a token of yours"
                    .to_owned()
            }
            (Some(404), _) => "there is no such repository or revision: check the name".to_owned(),
            // What is there already is as long as the whole, or longer.
            (Some(416), _) | (_, ApiError::InvalidResume) => {
                format!("remove {}/blobs/*.part, which an interrupted download left", cache.display())
            }
            (_, ApiError::LockAcquisition(_)) => "another process fetches it: wait for that".to_owned(),
            _ => format!(
                "check the network, and the space for {}; try again, or run `{command}` elsewhere and take `{result}` \
                 as the model",
                cache.display()
            ),
        };
        self.error(file, format!("{error}; {advice}"))
    }

    fn unwritten(&self, cause: io::Error) -> Error {
        Error::Write { file: self.root(), cause }
    }

    fn error(&self, file: &str, reason: String) -> Error {
        Error::Hub { model: self.name.to_string(), file: file.to_owned(), reason }
    }
}

/// Whether there was no answer at all.
fn is_unreachable(error: &ApiError) -> bool {
    matches!(error, ApiError::RequestError(cause) if matches!(**cause, ureq::Error::Transport(_)))
}

fn is_listed(listing: &RepoInfo, file: &str) -> bool {
    listing.siblings.iter().any(|sibling| sibling.rfilename == file)
}

fn is_commit(text: &str) -> bool {
    text.len() == COMMIT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Progress on stderr, if that is a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{msg} {bar:30} {bytes} of {total_bytes}, {eta} left");
        Self(ProgressBar::new(0).with_style(style.expect("a valid template")))
    }
}

impl Progress for Bar {
    fn init(&mut self, size: usize, filename: &str) {
        self.0.set_length(size as u64);
        self.0.set_message(filename.to_owned());
    }

    fn update(&mut self, size: usize) {
        self.0.inc(size as u64);
    }

    fn finish(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::thread;

    use tempfile::TempDir;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// What a server does besides sending files.
    #[derive(Clone, Copy, Default)]
    struct Fault {
        /// Answers everything with this status.
        status: Option<u16>,
        /// Ends connections after so many bytes of a file.
        cut: Option<usize>,
        /// Sends files with their first byte changed.
        changes: bool,
    }

    /// A repository `o/n` as Hugging Face serves it: requests are sent on, for weights by a whole URL.
    struct Server {
        endpoint: String,
        /// The requests so far that were for a file's content: its name and the range.
        sent: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        fn start(files: &[(&str, &str)], fault: Fault) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
            let files: BTreeMap<String, String> = files.iter().map(|&(f, t)| (f.to_owned(), t.to_owned())).collect();
            let server = Self { endpoint: endpoint.clone(), sent: Arc::default() };
            let sent = Arc::clone(&server.sent);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    // A client that goes away is not the server's business.
                    drop(stream.and_then(|stream| answer(stream, &endpoint, &files, fault, &sent)));
                }
            });
            server
        }

        /// The model called `name` from this server, through the cache in `folder`.
        fn fetch(&self, name: &str, folder: &TempDir) -> Result<PathBuf, Error> {
            fetch_from(&self.endpoint, name, folder)
        }

        /// The files whose content was sent since the last call.
        fn sent(&self) -> Vec<String> {
            std::mem::take(&mut self.sent.lock().expect("no panic"))
        }
    }

    fn fetch_from(endpoint: &str, name: &str, folder: &TempDir) -> Result<PathBuf, Error> {
        let cache = Cache::new(folder.path().join("hub"));
        let builder = ApiBuilder::from_cache(cache.clone()).with_endpoint(endpoint.to_owned());
        Hub::new(&Name::parse(name)?, builder, cache)?.fetch()
    }

    /// Where nobody listens.
    fn nowhere() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("bound"))
    }

    fn answer(
        stream: TcpStream,
        endpoint: &str,
        files: &BTreeMap<String, String>,
        fault: Fault,
        sent: &Mutex<Vec<String>>,
    ) -> io::Result<()> {
        let mut lines = BufReader::new(&stream).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let target = request.split(' ').nth(1).unwrap_or_default();
        let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let header = |name: &str| {
            let named =
                |line: &String| Some(line.to_ascii_lowercase().strip_prefix(name)?.strip_prefix(": ")?.to_owned());
            headers.iter().find_map(named).unwrap_or_default()
        };
        let mut stream = &stream;
        let mut reply = |status: u16, headers: &str, length: usize, body: &[u8]| {
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)
        };
        if let Some(status) = fault.status {
            return reply(status, "", 0, b"");
        }
        if ["main", "v1%2Fx", COMMIT].iter().any(|revision| target == format!("/api/models/o/n/revision/{revision}")) {
            let siblings: Vec<_> = files.keys().map(|file| serde_json::json!({ "rfilename": file })).collect();
            let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings, "private": false }).to_string();
            return reply(200, "", body.len(), body.as_bytes());
        }
        let resolved = target.strip_prefix(&format!("/o/n/resolve/{COMMIT}/"));
        let file = resolved.or(target.strip_prefix("/cached/")).or(target.strip_prefix("/weights/"));
        let Some((file, text)) = file.and_then(|file| files.get_key_value(file)) else {
            return reply(404, "", 0, b"");
        };
        let hash = digest::sha256([text.as_bytes()]);
        let mut headers = format!("x-repo-commit: {COMMIT}\r\netag: \"{}\"\r\n", &hash[..40]);
        if resolved.is_some() {
            headers += &match file.ends_with("json") {
                true => format!("location: /cached/{file}\r\n"),
                false => format!("location: {endpoint}/weights/{file}\r\nx-linked-etag: \"{hash}\"\r\n"),
            };
            return reply(302, &headers, 0, b"");
        }
        // Who takes compressed text gets the whole.
        if header("accept-encoding").contains("gzip") {
            return reply(200, &headers, text.len(), text.as_bytes());
        }
        let range = header("range").replace("bytes=", "");
        let (start, end) = range.split_once('-').unwrap_or_default();
        let start: usize = start.parse().unwrap_or(0);
        let end = end.parse().map_or(text.len(), |last: usize| last + 1);
        if range != "0-0" {
            sent.lock().expect("no panic").push(format!("{file} {range}"));
        }
        headers += &format!("content-range: bytes {start}-{}/{}\r\n", end.saturating_sub(1), text.len());
        let mut body = text.as_bytes()[start..end].to_vec();
        if fault.changes && start == 0 {
            body[0] ^= 1;
        }
        let length = body.len();
        body.truncate(fault.cut.unwrap_or(length));
        reply(206, &headers, length, &body)
    }

    const INDEX: &str = r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "a.safetensors"}}"#;

    fn sharded(index: &'static str) -> Vec<(&'static str, &'static str)> {
        vec![
            ("README.md", "text"),
            ("a.safetensors", "shard a"),
            ("b.safetensors", "shard b"),
            ("chat_template.jinja", "{{ messages }}"),
            ("config.json", "{}"),
            ("model.safetensors.index.json", index),
            ("other.safetensors", "not named by the index"),
            ("pytorch_model.bin", "other weights"),
            ("tokenizer.json", "{ }"),
        ]
    }

    fn message(result: Result<PathBuf, Error>) -> String {
        let message = result.expect_err("fails").to_string();
        assert!(!message.contains(char::is_control), "{message}");
        message
    }

    #[test]
    fn a_folder_is_what_a_model_needs_and_comes_once() {
        let (server, folder) = (Server::start(&sharded(INDEX), Fault::default()), TempDir::new().expect("folder"));
        let path = server.fetch("o/n", &folder).expect("fetches");
        assert_eq!(path, folder.path().join("hub/models--o--n/snapshots").join(COMMIT));
        let all =
            ["config.json", "tokenizer.json", "chat_template.jinja", INDEX_FILE, "a.safetensors", "b.safetensors"];
        assert_eq!(server.sent(), all.map(|file| format!("{file} 0-")));
        for (file, text) in sharded(INDEX).into_iter().filter(|(file, _)| all.contains(file)) {
            assert_eq!(fs::read_to_string(path.join(file)).expect("there"), text);
        }
        assert_eq!(fs::read_dir(&path).expect("a folder").count(), all.len());
        for name in ["o/n", "o/n@main", &format!("o/n@{COMMIT}")] {
            assert_eq!(fetch_from(&nowhere(), name, &folder).expect("in the cache"), path);
        }
        // Another revision of the same commit needs its list alone.
        assert_eq!(server.fetch("o/n@v1/x", &folder).expect("listed"), path);
        assert_eq!(server.sent(), [""; 0]);
    }

    #[test]
    fn one_file_of_weights_needs_no_index() {
        let files = [("config.json", "{}"), ("model.safetensors", "weights"), ("tokenizer.json", "{ }")];
        let (server, folder) = (Server::start(&files, Fault::default()), TempDir::new().expect("folder"));
        let path = server.fetch("o/n@v1/x", &folder).expect("fetches");
        assert_eq!(fs::read_to_string(path.join("model.safetensors")).expect("there"), "weights");
        assert_eq!(fetch_from(&nowhere(), "o/n@v1/x", &folder).expect("in the cache"), path);
    }

    #[test]
    fn one_gguf_file_comes_alone() {
        let files = [("x.gguf", "weights"), ("y.gguf", "others")];
        let (server, folder) = (Server::start(&files, Fault::default()), TempDir::new().expect("folder"));
        let path = server.fetch("o/n/x.gguf", &folder).expect("fetches");
        assert_eq!(fs::read_to_string(&path).expect("there"), "weights");
        assert_eq!(server.sent(), ["x.gguf 0-"]);
        assert_eq!(fetch_from(&nowhere(), "o/n/x.gguf", &folder).expect("in the cache"), path);

        for (name, missing) in [("o/n", r#"no file "config.json""#), ("o/n/z.gguf", r#"no file "z.gguf""#)] {
            let message = message(server.fetch(name, &folder));
            assert!(message.contains(missing) && message.contains(r#"["x.gguf", "y.gguf"]"#), "{message}");
        }
        assert_eq!(server.sent(), [""; 0]);
    }

    #[test]
    fn what_another_program_left_out_is_fetched_if_somebody_can_be_asked() {
        let (server, folder) = (Server::start(&sharded(INDEX), Fault::default()), TempDir::new().expect("folder"));
        let root = folder.path().join("hub/models--o--n");
        let snapshot = root.join("snapshots").join(COMMIT);
        for path in [&root.join("refs"), &snapshot] {
            fs::create_dir_all(path).expect("new");
        }
        fs::write(root.join("refs/main"), COMMIT).expect("writes");
        let left_out = ["chat_template.jinja", "README.md", "other.safetensors", "pytorch_model.bin"];
        for (file, text) in sharded(INDEX).into_iter().filter(|(file, _)| !left_out.contains(file)) {
            fs::write(snapshot.join(file), text).expect("writes");
        }
        assert_eq!(fetch_from(&nowhere(), "o/n", &folder).expect("enough"), snapshot);
        // Who answers with an error has been asked.
        let refusing = Server::start(&[], Fault { status: Some(401), ..Fault::default() });
        assert!(refusing.fetch("o/n", &folder).is_err());
        assert_eq!(server.fetch("o/n", &folder).expect("fetches"), snapshot);
        assert_eq!(server.sent(), ["chat_template.jinja 0-"]);

        fs::remove_file(snapshot.join("b.safetensors")).expect("removes");
        assert!(fetch_from(&nowhere(), "o/n", &folder).is_err());
        assert_eq!(server.fetch("o/n", &folder).expect("fetches"), snapshot);
        assert_eq!(server.sent(), ["b.safetensors 0-"]);
    }

    #[test]
    fn an_index_leads_nowhere_else() {
        for shard in ["../../../escaped", "/etc/passwd", "..", "folder/a.safetensors"] {
            let index = serde_json::json!({ "weight_map": { "x": shard } }).to_string();
            let files = [("config.json", "{}"), (INDEX_FILE, &*index), ("tokenizer.json", "{}"), (shard, "weights")];
            let (server, folder) = (Server::start(&files, Fault::default()), TempDir::new().expect("folder"));
            let message = message(server.fetch("o/n", &folder));
            assert!(message.contains("it names the shard") && message.contains(shard), "{message}");
            assert_eq!(server.sent().len(), 3);
        }
        for (shard, shown) in [("absent.safetensors", r#""absent.safetensors""#), ("a\nb?c", r#""a\nb?c""#)] {
            let index = serde_json::json!({ "weight_map": { "x": shard } }).to_string();
            let files = [("config.json", "{}"), (INDEX_FILE, &*index), ("tokenizer.json", "{}")];
            let (server, folder) = (Server::start(&files, Fault::default()), TempDir::new().expect("folder"));
            let message = message(server.fetch("o/n", &folder));
            assert!(message.contains(shown), "{message}");
        }
    }

    #[test]
    fn an_interrupted_file_is_continued() {
        let files = [("x.gguf", "0123456789")];
        let folder = TempDir::new().expect("folder");
        let cut = Server::start(&files, Fault { cut: Some(4), ..Fault::default() });
        let text = message(cut.fetch("o/n/x.gguf", &folder));
        assert!(text.contains("x.gguf: ") && text.contains("try again"), "{text}");
        let server = Server::start(&files, Fault::default());
        let path = server.fetch("o/n/x.gguf", &folder).expect("fetches the rest");
        assert_eq!(
            (fs::read_to_string(path).expect("there"), server.sent()),
            ("0123456789".into(), vec!["x.gguf 4-".into()])
        );
    }

    #[test]
    fn a_damaged_part_of_a_file_is_named() {
        let (server, folder) =
            (Server::start(&[("x.gguf", "0123")], Fault::default()), TempDir::new().expect("folder"));
        let blobs = folder.path().join("hub/models--o--n/blobs");
        fs::create_dir_all(&blobs).expect("new");
        fs::write(blobs.join(digest::sha256([b"0123".as_slice()]) + ".part"), "longer").expect("writes");
        let message = message(server.fetch("o/n/x.gguf", &folder));
        assert!(message.contains(&format!("remove {}/*.part", blobs.display())), "{message}");
    }

    #[test]
    fn a_file_that_is_not_what_was_promised_does_not_stay() {
        let files = [("x.gguf", "0123456789")];
        let folder = TempDir::new().expect("folder");
        let wrong = Server::start(&files, Fault { changes: true, ..Fault::default() });
        let text = message(wrong.fetch("o/n/x.gguf", &folder));
        assert!(text.contains(&digest::sha256([b"0123456789".as_slice()])) && text.contains("try again"), "{text}");
        let path = Server::start(&files, Fault::default()).fetch("o/n/x.gguf", &folder).expect("fetches again");
        assert_eq!(fs::read_to_string(path).expect("there"), "0123456789");
    }

    #[test]
    fn what_can_not_be_had_is_said_with_the_remedy() {
        for (status, remedy) in [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "check the name"), (500, "try again")] {
            let fault = Fault { status: Some(status), ..Fault::default() };
            let (server, folder) = (Server::start(&[], fault), TempDir::new().expect("folder"));
            let message = message(server.fetch("o/n/x.gguf@v1", &folder));
            let said = ["hf:o/n/x.gguf@v1: ", &status.to_string(), remedy];
            assert!(said.iter().all(|text| message.contains(text)), "{message}");
            assert!(fs::read_dir(folder.path()).expect("there").next().is_none(), "{status} left something");
        }
        let folder = TempDir::new().expect("folder");
        for endpoint in [nowhere(), "http://no host".to_owned(), String::new()] {
            let message = message(fetch_from(&endpoint, "o/n", &folder));
            let said = ["hf:o/n: ", "check the network", "`hf download o/n --local-dir DIR`"];
            assert!(said.iter().all(|text| message.contains(text)), "{message}");
        }
    }
}
