//! Where a coding job works: in a folder of its own below one of those that the bundle names.
//!
//! Invariant: no part of the way there is a link, so that a job that plants one leads no other astray.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use muxi_contract::{RequestId, UserId};
use sha2::{Digest as _, Sha256};

use crate::jobs::CodingJobs;

/// Jobs of one request, each in a folder of its own.
const PER_REQUEST_MAX: u32 = 100;
const NAME_CHARS_MAX: usize = 64;
/// Of the hash that tells names apart which had to be changed.
const HASH_CHARS: usize = 12;

/// A new folder `<workdir>/<user>/<request>`.
pub(super) fn fresh(
    coding: &CodingJobs,
    workdir: &str,
    user: &UserId,
    request: &RequestId,
) -> Result<PathBuf, String> {
    let root = root(coding, workdir)?;
    let of_user = root.join(name(user.as_str()));
    folder(&of_user)?;
    let request = name(request.as_str());
    for number in 1..=PER_REQUEST_MAX {
        let name = if number == 1 { request.clone() } else { format!("{request}-{number}") };
        let own = of_user.join(name);
        match fs::create_dir(&own) {
            Ok(()) => return inside(&own, &root),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fault(&own, &error)),
        }
    }
    Err(format!("one request can begin {PER_REQUEST_MAX} coding jobs"))
}

/// The folder of an earlier job, made again if it was tidied up.
pub(super) fn again(coding: &CodingJobs, earlier: &Path) -> Result<PathBuf, String> {
    let roots = coding.config.workdirs.iter().filter_map(|it| root(coding, it.as_str()).ok());
    let root = roots
        .into_iter()
        .find(|root| earlier.starts_with(root) && earlier != root)
        .ok_or("its work folder is not one of the formation's any more")?;
    if let Some(of_user) = earlier.parent() {
        folder(of_user)?;
    }
    folder(earlier)?;
    inside(earlier, &root)
}

/// The work folder of a job; the user's own folder goes with its last.
pub(super) async fn remove_of_user(folder: PathBuf) {
    let of_user = folder.parent().map(Path::to_owned);
    remove(folder).await;
    let _others = of_user.map(fs::remove_dir);
}

/// With all that is in it; nobody else works there.
pub(super) async fn remove(folder: PathBuf) {
    match tokio::task::spawn_blocking(move || fs::remove_dir_all(folder)).await {
        Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(error = %error, "the folder of a coding job is left");
        }
        Ok(_) | Err(_) => {}
    }
}

/// A program that is named by its place is below the bundle, as work folders are.
pub(super) fn program(program: &str, bundle: &Path) -> String {
    if program.contains('/') {
        return bundle.join(program).to_string_lossy().into_owned();
    }
    program.to_owned()
}

// === private helpers ===

fn root(coding: &CodingJobs, workdir: &str) -> Result<PathBuf, String> {
    let root = coding.bundle.join(workdir);
    root.canonicalize().map_err(|error| fault(&root, &error))
}

/// Makes it if it is not there.
fn folder(path: &Path) -> Result<(), String> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(fault(path, &error)),
        Ok(()) | Err(_) => match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => {
                Err(format!("`{}` is a link or a file where a folder belongs", path.display()))
            }
            Err(error) => Err(fault(path, &error)),
        },
    }
}

fn inside(path: &Path, root: &Path) -> Result<PathBuf, String> {
    let found = path.canonicalize().map_err(|error| fault(path, &error))?;
    if found == path && found.starts_with(root) {
        return Ok(found);
    }
    Err(format!("`{}` leads out of `{}`", path.display(), root.display()))
}

/// A name of letters, digits, dots, hyphens and underscores; what had to be changed is told apart.
fn name(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
    let plain: String =
        text.chars().take(NAME_CHARS_MAX).map(|it| if is_plain(it) { it } else { '_' }).collect();
    if plain == text && !plain.starts_with('.') {
        return plain;
    }
    let hash = hex::encode(Sha256::digest(text.as_bytes()));
    format!("{}-{}", plain.trim_start_matches('.'), &hash[..HASH_CHARS])
}

fn fault(path: &Path, error: &io::Error) -> String {
    format!("the folder `{}`: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_and_apart() {
        for (text, expected) in [
            ("alice", "alice"),
            ("req_V1-x.2", "req_V1-x.2"),
            ("..", "-"),
            ("a/../b", "a_.._b-"),
            ("alice@example.com", "alice_example.com-"),
            (".hidden", "hidden-"),
        ] {
            let name = name(text);
            assert!(name.starts_with(expected), "{text} became {name}");
            assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
        }
        assert_ne!(name("a@b"), name("a_b"));
        assert_ne!(name("a@b"), name("a#b"));
        assert!(name(&"x".repeat(300)).len() < 80);
    }

    #[test]
    fn a_link_on_the_way_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("alice")).unwrap();
        let fault = super::folder(&root.join("alice")).unwrap_err();
        assert!(fault.ends_with("is a link or a file where a folder belongs"), "{fault}");
        super::folder(&root.join("bob")).unwrap();
        super::folder(&root.join("bob")).unwrap();
        let root = root.canonicalize().unwrap();
        assert_eq!(inside(&root.join("bob"), &root), Ok(root.join("bob")));
        let fault = inside(&root.join("alice"), &root).unwrap_err();
        assert!(fault.contains("leads out of"), "{fault}");
    }
}
