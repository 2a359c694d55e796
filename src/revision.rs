//! Programs of two revisions of this repository: what a gate between them runs.
//!
//! The base is checked out in a work tree of its own below the target folder and built there, in a
//! target folder of its own; both are kept, so that the next gate builds only what differs. The
//! candidate is the checkout as it is, uncommitted changes included, built in its usual target
//! folder. Both programs are copied before they run, since the next build replaces what it finds.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use miette::Diagnostic;
use serde::Deserialize;
use thiserror::Error;

use crate::runner::pairs::Program;

/// Lines of a failed command's standard error that are told.
const TAIL: usize = 30;

/// Why a revision has no program.
#[derive(Debug, Error, Diagnostic)]
pub enum RevisionError {
    /// git or cargo is not there.
    #[error("cannot start `{command}`: {cause}")]
    #[diagnostic(help("building revisions needs git and cargo; --bench-a and --bench-b take ready programs"))]
    Start { command: String, cause: io::Error },
    /// Not inside a checkout.
    #[error("this folder is in no git checkout of a package: {said}")]
    #[diagnostic(help("run the gate inside the repository, or give ready programs with --bench-a and --bench-b"))]
    NoCheckout { said: String },
    /// No commit has the name.
    #[error("`{reference}` names no commit of this repository: {said}")]
    #[diagnostic(help(
        "give a branch, tag or commit, such as origin/main; a shallow clone has few: git fetch --unshallow"
    ))]
    Unknown { reference: String, said: String },
    /// The work tree of the base.
    #[error("cannot check out {commit} in {}: {said}", path.display())]
    #[diagnostic(help("remove that folder and run `git worktree prune`"))]
    Checkout { commit: String, path: PathBuf, said: String },
    /// The compiler refused.
    #[error("{what} does not build; the last lines of `cargo build --release` are\n{tail}")]
    #[diagnostic(help("compare with a revision that builds, or give ready programs with --bench-a and --bench-b"))]
    Build { what: String, tail: String },
    /// It built something else.
    #[error("{what} was built, and there is no program in {}: {cause}", path.display())]
    #[diagnostic(help("compare with a revision that has the program `bench`"))]
    NoProgram { what: String, path: PathBuf, cause: io::Error },
    /// The folder below the target folder.
    #[error("cannot write {}: {cause}", path.display())]
    Unwritable { path: PathBuf, cause: io::Error },
}

/// The checkout that a gate runs in.
pub struct Checkout {
    root: PathBuf,
    /// Below the target folder.
    folder: PathBuf,
    target: PathBuf,
}

/// What `cargo metadata` says of the places of a workspace.
#[derive(Deserialize)]
struct Places {
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

impl Checkout {
    /// The checkout of the current folder.
    ///
    /// # Errors
    /// There is none, or git or cargo is missing.
    pub fn here() -> Result<Self, RevisionError> {
        let no_checkout = |said: String| RevisionError::NoCheckout { said };
        let output = run(Path::new("."), "cargo", &["metadata", "--no-deps", "--format-version", "1"])?;
        if !output.status.success() {
            return Err(no_checkout(tail(&output)));
        }
        let places: Places = serde_json::from_slice(&output.stdout).map_err(|error| no_checkout(error.to_string()))?;
        let (root, target) = (places.workspace_root, places.target_directory);
        let output = run(&root, "git", &["rev-parse", "--is-inside-work-tree"])?;
        if !output.status.success() {
            return Err(no_checkout(tail(&output)));
        }
        Ok(Self { folder: target.join("gate"), root, target })
    }

    /// The commit that `reference` names.
    ///
    /// # Errors
    /// It names none.
    pub fn commit(&self, reference: &str) -> Result<String, RevisionError> {
        let commit = format!("{reference}^{{commit}}");
        let output = run(&self.root, "git", &["rev-parse", "--verify", "--end-of-options", &commit])?;
        if output.status.success() {
            return Ok(said(&output.stdout));
        }
        Err(RevisionError::Unknown { reference: reference.to_owned(), said: tail(&output) })
    }

    /// The program of a commit.
    ///
    /// # Errors
    /// It cannot be checked out or does not build.
    pub fn build_commit(&self, commit: &str) -> Result<Program, RevisionError> {
        let tree = self.folder.join("base");
        let again = ["checkout", "--quiet", "--force", "--detach", commit];
        // Without `.git` in it, git would take the repository around it.
        let kept = tree.join(".git").exists() && run(&tree, "git", &again)?.status.success();
        if !kept {
            self.add_tree(&tree, commit)?;
        }
        let target = self.folder.join("base-target");
        let facts = [("git_commit", commit.to_owned()), ("git_dirty", "clean".to_owned())];
        self.build(&format!("the base {commit}"), &tree, &target, "bench-a", facts.into())
    }

    /// A new work tree of the commit, in place of what is there.
    fn add_tree(&self, tree: &Path, commit: &str) -> Result<(), RevisionError> {
        let path = tree.to_string_lossy();
        match fs::remove_dir_all(tree) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(RevisionError::Unwritable { path: tree.to_owned(), cause });
            }
            Ok(()) | Err(_) => {}
        }
        // A work tree whose folder is gone is still registered.
        run(&self.root, "git", &["worktree", "prune"])?;
        let output = run(&self.root, "git", &["worktree", "add", "--quiet", "--force", "--detach", &path, commit])?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let (commit, path) = (commit.to_owned(), tree.to_owned());
                Err(RevisionError::Checkout { commit, path, said: tail(&output) })
            }
        }
    }

    /// The program of the checkout as it is.
    ///
    /// # Errors
    /// It does not build.
    pub fn build_here(&self) -> Result<Program, RevisionError> {
        let commit = self.commit("HEAD")?;
        let changes = run(&self.root, "git", &["status", "--porcelain", "--untracked-files=no"])?;
        let dirty = if changes.stdout.is_empty() { "clean" } else { "dirty" };
        let facts = [("git_commit", commit), ("git_dirty", dirty.to_owned())];
        self.build("this checkout", &self.root, &self.target, "bench-b", facts.into())
    }

    /// Builds the workspace in `tree` and copies its program to `name`.
    fn build(
        &self,
        what: &str,
        tree: &Path,
        target: &Path,
        name: &str,
        facts: BTreeMap<&str, String>,
    ) -> Result<Program, RevisionError> {
        let folder = target.to_string_lossy();
        let mut arguments = vec!["build", "--release", "--locked", "--bin", "bench", "--target-dir", &folder];
        if cfg!(feature = "peers") {
            arguments.push("--features=peers");
        }
        let output = run(tree, "cargo", &arguments)?;
        if !output.status.success() {
            return Err(RevisionError::Build { what: what.to_owned(), tail: tail(&output) });
        }
        let built = target.join("release/bench").with_extension(std::env::consts::EXE_EXTENSION);
        let path = self.folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
        fs::create_dir_all(&self.folder)
            .map_err(|cause| RevisionError::Unwritable { path: self.folder.clone(), cause })?;
        fs::copy(&built, &path).map_err(|cause| RevisionError::NoProgram {
            what: what.to_owned(),
            path: built,
            cause,
        })?;
        let facts = facts.into_iter().map(|(fact, value)| (fact.to_owned(), value)).collect();
        Ok(Program { path, facts })
    }
}

/// Runs a command in `folder` to its end.
fn run(folder: &Path, command: &str, arguments: &[&str]) -> Result<Output, RevisionError> {
    let output = Command::new(command).args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    output.map_err(|cause| RevisionError::Start { command: command.to_owned(), cause })
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// The last lines of what a command wrote to standard error.
fn tail(output: &Output) -> String {
    let text = said(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
