//! The effects: files, the service's user, and systemctl.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::User;

use super::unit::MARK;
use super::{OWN_USER, Scope, Service, ServiceError};
use crate::auth::master::MasterKey;
use crate::sandbox::ownership;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub unit: PathBuf,
    pub unit_was: Before,
    pub made_user: bool,
}

/// What stood there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Absent,
    /// Our unit, and it said the same.
    Same,
    /// Our unit, and it said something else.
    Other,
}

/// How a service stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub unit: PathBuf,
    /// `None` if there is no unit; false if it is somebody else's.
    pub ours: Option<bool>,
    /// In systemd's words, such as `enabled` and `active`.
    pub enabled: String,
    pub active: String,
}

/// A unit is a page of text; what is longer is not ours.
const UNIT_BYTES_MAX: u64 = 1 << 20;

/// Writes the unit, enables and starts it. Doing it again changes nothing.
pub fn install(service: &Service) -> Result<Installed, ServiceError> {
    service.check()?;
    let path = service.unit_path();
    if is_ours(&path)? == Some(false) {
        return Err(ServiceError::Foreign(path));
    }
    // Before anything is written: without systemd nothing is.
    systemctl(service, &["--version"])?;
    let made_user = match &service.scope {
        Scope::System { user } => prepare(service, user)?,
        Scope::User => {
            make_folder(&service.folders.data)?;
            false
        }
    };
    let text = service.unit();
    let unit_was = match fs::read_to_string(&path) {
        Ok(before) if before == text => Before::Same,
        Ok(_) => Before::Other,
        Err(_) => Before::Absent,
    };
    if unit_was != Before::Same {
        write(&path, &text)?;
    }
    let unit = format!("{}.service", service.name);
    systemctl(service, &["daemon-reload"])?;
    systemctl(service, &["enable", "--now", &unit])?;
    Ok(Installed { unit: path, unit_was, made_user })
}

/// Stops, disables and removes what [`install`] made, but neither data nor the user who owns it.
pub fn uninstall(service: &Service) -> Result<PathBuf, ServiceError> {
    service.check()?;
    let path = service.unit_path();
    match is_ours(&path)? {
        None => return Err(ServiceError::NotInstalled(path)),
        Some(false) => return Err(ServiceError::Foreign(path)),
        Some(true) => {}
    }
    let unit = format!("{}.service", service.name);
    systemctl(service, &["disable", "--now", &unit])?;
    fs::remove_file(&path).map_err(|source| ServiceError::File {
        act: "remove",
        path: path.clone(),
        source,
    })?;
    systemctl(service, &["daemon-reload"])?;
    Ok(path)
}

/// Looks and changes nothing.
pub fn state(service: &Service) -> Result<State, ServiceError> {
    service.check()?;
    let unit = format!("{}.service", service.name);
    // Both fail for units that are off; what they say is the answer all the same.
    let word = |verb| match run(service, &[verb, &unit]) {
        Ok((_, said)) if !said.is_empty() => Ok(said),
        Ok(_) => Ok("unknown".to_owned()),
        Err(error) => Err(error),
    };
    let path = service.unit_path();
    Ok(State {
        ours: is_ours(&path)?,
        unit: path,
        enabled: word("is-enabled")?,
        active: word("is-active")?,
    })
}

/// Makes the user and gives it what it must read and write; whether the user is new.
fn prepare(service: &Service, user: &str) -> Result<bool, ServiceError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(ServiceError::NotRoot);
    }
    let mut made = false;
    if lookup(user).is_none() && user == OWN_USER {
        let home = service.folders.data.as_os_str();
        let arguments = ["--system", "--user-group", "--no-create-home", "--shell"].map(OsStr::new);
        let rest = ["/usr/sbin/nologin", "--home-dir"].map(OsStr::new);
        let arguments = [&arguments[..], &rest[..], &[home, OsStr::new(user)]].concat();
        let (done, said) = output(Command::new(&service.tools.useradd).args(arguments))?;
        if !done {
            return Err(ServiceError::Tool { command: format!("useradd {user}"), said });
        }
        made = true;
    }
    let owner = lookup(user).ok_or_else(|| ServiceError::NoUser(user.to_owned()))?;
    let data = &service.folders.data;
    if make_folder(data)? {
        ownership::give_named(data, &[], owner.uid.as_raw(), owner.gid.as_raw())
            .map_err(|source| owner_failed(data, source))?;
    }
    let found = metadata(data)?.uid();
    if found != owner.uid.as_raw() {
        let (path, user) = (data.clone(), user.to_owned());
        return Err(ServiceError::Owner { path, owner: found, user });
    }
    // The service itself could not make it: to a unit of the machine this folder is read-only.
    MasterKey::load_or_make(&service.folders.master_key())?;
    // Both hold secrets: they belong to whoever runs the service, and to nobody else.
    let (config, names) = (&service.folders.config, ["config.yaml", "manager.key"]);
    ownership::give_named(config, &names, owner.uid.as_raw(), owner.gid.as_raw())
        .map_err(|source| owner_failed(config, source))?;
    Ok(made)
}

fn lookup(user: &str) -> Option<User> {
    User::from_name(user).ok().flatten()
}

/// Makes a private folder; whether it is new.
fn make_folder(path: &Path) -> Result<bool, ServiceError> {
    if path.is_dir() {
        return Ok(false);
    }
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| ServiceError::File { act: "make", path: path.to_owned(), source })?;
    Ok(true)
}

fn owner_failed(path: &Path, source: io::Error) -> ServiceError {
    ServiceError::File { act: "change the owner of", path: path.to_owned(), source }
}

fn metadata(path: &Path) -> Result<fs::Metadata, ServiceError> {
    fs::metadata(path).map_err(|source| ServiceError::File {
        act: "look at",
        path: path.to_owned(),
        source,
    })
}

/// Whether a unit bears our mark; `None` if there is none.
fn is_ours(path: &Path) -> Result<Option<bool>, ServiceError> {
    let failed = |source| ServiceError::File { act: "read", path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        // A link is how units are masked.
        Ok(it) if !it.is_file() || it.len() > UNIT_BYTES_MAX => Ok(Some(false)),
        Ok(_) => Ok(Some(fs::read_to_string(path).map_err(failed)?.starts_with(MARK))),
    }
}

/// All of it or nothing, readable by everyone as units are.
fn write(path: &Path, text: &str) -> Result<(), ServiceError> {
    let failed = |source| ServiceError::File { act: "write", path: path.to_owned(), source };
    let folder = path.parent().expect("a unit lies in a folder");
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn systemctl(service: &Service, arguments: &[&str]) -> Result<(), ServiceError> {
    match run(service, arguments)? {
        (true, _) => Ok(()),
        (false, said) => {
            let command = format!("systemctl {}", arguments.join(" "));
            Err(ServiceError::Tool { command, said })
        }
    }
}

fn run(service: &Service, arguments: &[&str]) -> Result<(bool, String), ServiceError> {
    let mut command = Command::new(&service.tools.systemctl);
    if service.scope == Scope::User {
        command.arg("--user");
    }
    output(command.args(arguments))
}

/// Whether it succeeded, and what it said.
fn output(command: &mut Command) -> Result<(bool, String), ServiceError> {
    let tool = Path::new(command.get_program()).display().to_string();
    let output = match command.stdin(std::process::Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ServiceError::NoTool { tool });
        }
        Err(error) => return Err(ServiceError::Tool { command: tool, said: error.to_string() }),
    };
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::Folders;
    use crate::service::Tools;

    #[test]
    fn a_service_of_the_machine_finds_its_master_key() {
        // Only root can give files away.
        let Some(nobody) = lookup("nobody").filter(|_| nix::unistd::geteuid().is_root()) else {
            return;
        };
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let service = Service {
            name: "muxi-server".into(),
            scope: Scope::System { user: "nobody".into() },
            program: "/usr/bin/muxi-server".into(),
            folders: Folders { config: at("config"), data: at("data") },
            low_port: false,
            unit_folder: at("units"),
            tools: Tools { systemctl: "true".into(), useradd: "false".into() },
        };
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        let file = service.folders.config_file();
        fs::create_dir(at("config")).unwrap();
        fs::write(&file, "").unwrap();
        install(&service).unwrap();
        for path in [at("config"), at("data"), file.clone(), service.folders.master_key()] {
            assert_eq!(owner(&path), nobody.uid.as_raw(), "{}", path.display());
        }
        // What that user puts in the place of its file does not become its own.
        fs::write(at("of root"), "").unwrap();
        fs::remove_file(&file).unwrap();
        symlink(at("of root"), &file).unwrap();
        install(&service).unwrap();
        assert_eq!(owner(&at("of root")), 0);
    }
}
