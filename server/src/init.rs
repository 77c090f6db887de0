//! `muxi-server init`: a configuration with a fresh key pair.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use muxi_contract::keys::Role;

use crate::auth::keys::{new_secret, random_hex};
use crate::config::{Config, KeyConfig};

/// What `init` made.
#[derive(Debug)]
pub struct Initialised {
    pub path: PathBuf,
    pub key: KeyConfig,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(
        "{0} exists and is left as it is\nStart with `muxi-server start`, or move the file away to \
         make a new one"
    )]
    Exists(PathBuf),
    #[error("failed to write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("the system's random source did not answer")]
    Random(#[from] getrandom::Error),
}

/// Writes `config.yaml`, readable by this user only; an existing one is never touched. Formations below
/// `dev_root` can be run where they lie.
pub fn init(
    path: &Path,
    host: &str,
    port: u16,
    dev_root: Option<&str>,
) -> Result<Initialised, InitError> {
    let key = KeyConfig {
        id: format!("muxi_pk_{}", random_hex::<12>()?),
        secret: new_secret()?,
        label: "made by init".to_owned(),
        role: Role::Admin,
        expires: None,
    };
    let server_id = format!("server-{}", random_hex::<4>()?);
    let text = render(&server_id, host, port, &key, dev_root);
    debug_assert!(serde_yaml::from_str::<Config>(&text).is_ok());
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(Initialised { path: path.to_owned(), key }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(InitError::Exists(path.to_owned()))
        }
        Err(source) => Err(InitError::Write { path: path.to_owned(), source }),
    }
}

fn render(
    server_id: &str,
    host: &str,
    port: u16,
    key: &KeyConfig,
    dev_root: Option<&str>,
) -> String {
    let dev = dev_root.map_or_else(String::new, |root| {
        // A JSON text is a YAML one, whatever the folder is called.
        let root = serde_json::Value::from(root);
        format!("# Whoever has a key may run formations that lie below.\ndev:\n  enabled: true\n  roots: [{root}]\n")
    });
    format!(
        "# The manager's configuration. `muxi-server config show` prints it with every default.\n\
         server_id: {server_id}\n\
         server:\n  host: {host}\n  port: {port}\n\
         auth:\n  keys:\n    - id: {}\n      secret: {}\n      label: {}\n\
         {dev}\
         formations:\n  port_range_start: 8000\n  port_range_end: 9000\n",
        key.id, key.secret, key.label
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_fresh_configuration_is_private_and_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/config.yaml");
        let made = init(&path, "127.0.0.1", 7890, Some("/home/a: b")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (config, warnings) = Config::read(&path).unwrap();
        assert!(warnings.is_empty());
        assert_eq!(config.keys(), [made.key]);
        assert_eq!(
            (config.dev.enabled, &config.dev.roots[..]),
            (true, &["/home/a: b".to_owned()][..])
        );
        assert!(matches!(init(&path, "127.0.0.1", 1, None), Err(InitError::Exists(_))));
    }
}
