//! Where a configuration comes from: the folders of an installation, its file, and what wins over it.

use std::path::{Path, PathBuf};

use super::{Config, ConfigError};
use crate::layout::Layout;

/// The folders of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    pub config: PathBuf,
    pub data: PathBuf,
}

/// A file and what wins over it; read again at every reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    pub overrides: Overrides,
}

/// What flags or the environment say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub log_level: Option<String>,
}

/// Variables of the original that nothing here reads, with the reason.
const UNUSED_VARIABLES: &[(&str, &str)] = &[
    ("MUXI_LOG_DIR", "logs lie in the data folder"),
    ("MUXI_CACHE_DIR", "nothing is downloaded; models lie in MUXI_MODELS_DIR"),
    ("MUXI_RUNTIME_TYPE", "there is one kind of runtime"),
    ("MUXI_AUTH_ENABLED", "use auth.enabled in the configuration"),
];

// === impl Folders ===

impl Folders {
    /// `$MUXI_CONFIG_DIR` and `$MUXI_DATA_DIR`, else where this program's place says.
    pub fn from_environment() -> Self {
        // A program that cannot tell its own place is one of its user.
        let program = std::env::current_exe().unwrap_or_default();
        Self::choose(variable, &program)
    }

    fn choose(variable: impl Fn(&str) -> Option<String>, program: &Path) -> Self {
        let path = |name| variable(name).map(PathBuf::from);
        let usual = if program.starts_with("/usr") {
            Self { config: "/etc/muxi/server".into(), data: "/var/lib/muxi".into() }
        } else {
            let home = path("HOME").unwrap_or_else(|| PathBuf::from("/")).join(".muxi/server");
            Self { config: home.clone(), data: home }
        };
        Self {
            config: path("MUXI_CONFIG_DIR").unwrap_or(usual.config),
            data: path("MUXI_DATA_DIR").unwrap_or(usual.data),
        }
    }

    /// Opens what is sealed in the data folder; so it lies beside the configuration.
    pub fn master_key(&self) -> PathBuf {
        self.config.join("manager.key")
    }

    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.yaml")
    }

    /// The data folder, by a path that holds wherever a process goes.
    pub fn layout(&self) -> std::io::Result<Layout> {
        Ok(Layout::new(&std::path::absolute(&self.data)?))
    }
}

// === impl Source ===

impl Source {
    /// Reads and checks the whole. The second value names what was understood but not used.
    pub fn read(&self) -> Result<(Config, Vec<String>), ConfigError> {
        let (mut config, mut warnings) = Config::read_unchecked(&self.path)?;
        self.overrides.apply(&mut config);
        let faults = config.faults();
        if !faults.is_empty() {
            return Err(ConfigError::Faults { path: self.path.clone(), faults });
        }
        warnings.extend(unused_variables(variable));
        Ok((config, warnings))
    }
}

// === impl Overrides ===

impl Overrides {
    /// `MUXI_HOST`, `MUXI_PORT`, `MUXI_LOG_LEVEL`.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::choose(variable)
    }

    fn choose(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let port = match variable("MUXI_PORT").map(|text| (text.parse(), text)) {
            None => None,
            Some((Ok(port), _)) => Some(port),
            Some((Err(_), text)) => {
                let fault = format!("- MUXI_PORT is `{text}`; it must be 0 to 65535");
                return Err(ConfigError::Environment(vec![fault]));
            }
        };
        Ok(Self { host: variable("MUXI_HOST"), port, log_level: variable("MUXI_LOG_LEVEL") })
    }

    /// These, and where they say nothing, the others.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            host: self.host.or(others.host),
            port: self.port.or(others.port),
            log_level: self.log_level.or(others.log_level),
        }
    }

    fn apply(&self, config: &mut Config) {
        let Self { host, port, log_level } = self.clone();
        let (server, logging) = (&mut config.server, &mut config.logging);
        server.host = host.unwrap_or_else(|| std::mem::take(&mut server.host));
        server.port = port.unwrap_or(server.port);
        logging.level = log_level.unwrap_or_else(|| std::mem::take(&mut logging.level));
    }
}

/// An empty variable counts as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn unused_variables(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let set = UNUSED_VARIABLES.iter().filter(|(name, _)| variable(name).is_some());
    set.map(|(name, reason)| format!("`{name}` is not used: {reason}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(set: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let set: Vec<_> = set.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        move |name| set.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn folders_follow_the_environment_then_the_programs_place() {
        let choose = |set: &[(&str, &str)], program: &str| {
            let Folders { config, data } = Folders::choose(environment(set), Path::new(program));
            (config.display().to_string(), data.display().to_string())
        };
        let home = ("HOME", "/home/ada");
        let own = "/home/ada/.muxi/server".to_owned();
        assert_eq!(choose(&[home], "/home/ada/bin/muxi-server"), (own.clone(), own));
        for place in ["/usr/bin/muxi-server", "/usr/local/bin/muxi-server"] {
            let system = ("/etc/muxi/server".to_owned(), "/var/lib/muxi".to_owned());
            assert_eq!(choose(&[home], place), system);
        }
        let set = [home, ("MUXI_DATA_DIR", "/srv/muxi")];
        let mixed = ("/etc/muxi/server".to_owned(), "/srv/muxi".to_owned());
        assert_eq!(choose(&set, "/usr/bin/muxi-server"), mixed);
    }

    #[test]
    fn flags_win_over_the_environment_and_both_over_the_file() {
        let set = environment(&[("MUXI_PORT", "1234"), ("MUXI_HOST", "::1")]);
        let flags = Overrides { port: Some(1), ..Overrides::default() };
        let mut config = Config::default();
        flags.or(Overrides::choose(set).unwrap()).apply(&mut config);
        assert_eq!((config.server.port, config.server.host.as_str()), (1, "::1"));
        assert_eq!(config.logging.level, "info");
        let fault = Overrides::choose(environment(&[("MUXI_PORT", "http")])).unwrap_err();
        assert!(fault.to_string().contains("MUXI_PORT is `http`"), "{fault}");
    }

    #[test]
    fn variables_that_nothing_reads_are_named() {
        let said = unused_variables(environment(&[("MUXI_LOG_DIR", "/var/log/muxi")]));
        assert_eq!(said, ["`MUXI_LOG_DIR` is not used: logs lie in the data folder"]);
    }
}
