//! The manager's configuration: defaults ← `config.yaml` ← environment ← flags.
//!
//! Every key that is read does something; a key that nothing reads is an error, and one that only
//! the original knew is a warning that names it.

mod audit;
mod auth;
mod confinement;
mod dev;
mod limits;
mod logs;
mod obsolete;
mod proxy;
mod source;
mod telemetry;
mod tls;
mod webhooks;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muxi_contract::FormationId;
use muxi_service::telemetry::LogFormat;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;

pub use self::audit::AuditConfig;
use self::auth::mask;
pub use self::auth::{AuthConfig, KeyConfig};
pub use self::confinement::{
    FormationLimits, FormationOverride, LimitsOverride, SandboxMode, UID_RANGE, UserIsolation,
};
pub use self::dev::DevConfig;
pub use self::limits::Limits;
pub use self::logs::ByteSize;
pub use self::proxy::{BreakerConfig, CorsConfig, ProxyConfig, SdkConfig};
pub use self::source::{Folders, Overrides, Source};
pub use self::telemetry::{MetricsConfig, OtlpConfig, TelemetryConfig};
pub use self::tls::{MinVersion, TlsConfig};
pub use self::webhooks::WebhookConfig;
use crate::client_address::TrustedProxies;

/// The whole of `config.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Config {
    /// Names this manager in `GET /rpc/server/status`; made by `init`.
    pub server_id: String,
    pub server: ServerConfig,
    pub auth: AuthConfig,
    pub audit: AuditConfig,
    pub formations: FormationsConfig,
    pub dev: DevConfig,
    pub proxy: ProxyConfig,
    pub sdk: SdkConfig,
    pub runtime: RuntimeConfig,
    pub logging: LoggingConfig,
    pub metrics: MetricsConfig,
    pub telemetry: TelemetryConfig,
    pub limits: Limits,
    pub webhooks: Vec<WebhookConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    pub host: String,
    pub port: u16,
    /// Networks or addresses of proxies before this manager, whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<String>,
    /// What clients and formations are told to call, such as `https://muxi.example.com`; empty means
    /// this machine and port.
    pub public_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FormationsConfig {
    pub port_range_start: u16,
    /// Inclusive.
    pub port_range_end: u16,
    pub bind_host: String,
    /// Deaths in a row before a formation is given up.
    pub max_restarts: u32,
    /// Seconds before the second restart in a row; later ones wait twice as long each.
    pub restart_delay: u32,
    /// Seconds between liveness probes.
    pub health_check_interval: u32,
    /// Seconds one probe may take.
    pub health_check_timeout: u32,
    /// Failed probes in a row before a hung instance is replaced.
    pub unhealthy_threshold: u32,
    /// Seconds between SIGTERM and SIGKILL.
    pub stop_grace: u32,
    /// Seconds that a replaced instance may finish what it has.
    pub drain: u32,
    /// Generations that are kept to roll back to, the current one included.
    pub keep_generations: u32,
    /// Whether formations end with a manager that is stopped properly.
    pub on_manager_stop: OnManagerStop,
    /// Names of the manager's own environment variables that instances may see.
    pub pass_environment: Vec<String>,
    /// False keeps each formation's log in one file that grows for ever.
    pub log_rotation_enabled: bool,
    /// Size at which a formation's log goes on in a new file.
    pub log_max_size: ByteSize,
    /// Files of one log that are kept.
    pub log_max_files: u32,
    /// Hours after which a log goes on in a new file; lines older than `log_max_files` times that
    /// are deleted, those of formations that are gone included.
    pub log_max_age_hours: u32,
    /// Of each formation that has no override; its own manifest may only lower them.
    pub limits: FormationLimits,
    /// By formation.
    pub overrides: BTreeMap<FormationId, FormationOverride>,
    pub sandbox: SandboxMode,
    /// Further paths that instances may read and run programs from.
    pub sandbox_read: Vec<PathBuf>,
    /// Further paths that instances may read and write.
    pub sandbox_write: Vec<PathBuf>,
    pub user_isolation: UserIsolation,
    /// The first id is the group of all formations; each formation gets one of the next.
    pub uid_range_start: u32,
    pub deployment: DeploymentConfig,
    /// Absolute paths of this machine's folders from which deploys may name a bundle by its path.
    /// Callers on this machine may also name one in the temporary and in the manager's home folder.
    pub bundle_roots: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnManagerStop {
    Stop,
    Keep,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeploymentConfig {
    pub health_check: DeployHealthConfig,
    /// Seconds that a new generation is watched before the old instance goes; a failure goes back.
    pub watch_window: u32,
}

impl Default for DeploymentConfig {
    fn default() -> Self {
        Self { health_check: DeployHealthConfig::default(), watch_window: 5 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployHealthConfig {
    /// Seconds from the start of a process to its first healthy answer; 0 means 300.
    pub timeout: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeConfig {
    /// The runtime's program; empty means `formation-runtime` beside this one, else in `PATH`.
    pub program: String,
    /// Where local models lie; empty means the user's cache folder.
    pub models_dir: String,
    /// Seconds without a request after which the model host ends and frees its memory.
    pub model_host_idle: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingConfig {
    pub level: String,
    pub format: LogFormat,
    /// One line a request, when its answer has ended.
    pub access: bool,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "there is no configuration at {0}\nRun `muxi-server init` to make one with a fresh key, or name \
         another file with --config"
    )]
    Missing(PathBuf),
    #[error("failed to read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {fault}")]
    Yaml { path: PathBuf, fault: String },
    #[error("{path} has faults:\n{}", faults.join("\n"))]
    Faults { path: PathBuf, faults: Vec<String> },
    #[error("the environment has faults:\n{}", .0.join("\n"))]
    Environment(Vec<String>),
}

// === impl Config ===

impl Config {
    /// Reads and checks a file. The second value names what was understood but not used.
    pub fn read(path: &Path) -> Result<(Self, Vec<String>), ConfigError> {
        Source { path: path.to_owned(), overrides: Overrides::default() }.read()
    }

    /// Reads a file without judging its values.
    fn read_unchecked(path: &Path) -> Result<(Self, Vec<String>), ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ConfigError::Missing(path.to_owned()));
            }
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        let (config, mut warnings) = Self::parse(&text)
            .map_err(|fault| ConfigError::Yaml { path: path.to_owned(), fault })?;
        warnings.extend(config.auth.warnings());
        if std::fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o077 != 0) {
            let path = path.display();
            warnings.push(format!("other users can read the keys in it; run `chmod 600 {path}`"));
        }
        Ok((config, warnings))
    }

    /// All keys, the older single pair included.
    pub fn keys(&self) -> Vec<KeyConfig> {
        self.auth.all_keys()
    }

    /// The effective configuration as YAML, secrets masked.
    pub fn to_masked_yaml(&self) -> String {
        serde_yaml::to_string(&self.masked()).expect("our own types always serialise")
    }

    /// The same without its secrets.
    pub(crate) fn masked(&self) -> Self {
        let mut masked = Self { auth: self.auth.masked(), ..self.clone() };
        masked.webhooks.iter_mut().for_each(WebhookConfig::mask);
        masked
    }

    fn parse(text: &str) -> Result<(Self, Vec<String>), String> {
        let mut value: Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        if value.is_null() {
            return Ok((Self::default(), Vec::new()));
        }
        let warnings = obsolete::remove(&mut value);
        let config = serde_yaml::from_value(value).map_err(|error| error.to_string())?;
        Ok((config, warnings))
    }

    /// Everything that is wrong with the values, at once.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |fine: bool, fault: &str| {
            if !fine {
                faults.push(format!("- {fault}"));
            }
        };
        let formations = &self.formations;
        check(
            self.auth.enabled || self.server.is_loopback(),
            "auth.enabled is false, but server.host can be reached from other machines",
        );
        check(
            self.server.public_url.is_empty() || is_http_url(&self.server.public_url),
            "server.public_url must be a URL without a query, such as https://muxi.example.com",
        );
        for fault in self.telemetry.otlp.faults() {
            check(false, fault);
        }
        for fault in self.server.tls.iter().flat_map(TlsConfig::faults) {
            check(false, &fault);
        }
        check(
            formations.port_range_start >= 1024
                && formations.port_range_start <= formations.port_range_end,
            "formations.port_range_start must be 1024 or more and not above port_range_end",
        );
        check(
            formations.bind_host.parse::<std::net::IpAddr>().is_ok(),
            "formations.bind_host must be an IP address, such as 127.0.0.1",
        );
        check(
            formations.health_check_interval > 0,
            "formations.health_check_interval must not be 0",
        );
        check(
            muxi_service::telemetry::is_level(&self.logging.level),
            "logging.level must be error, warn, info, debug or trace, or a filter such as \
             `info,hyper=warn`",
        );
        check(formations.health_check_timeout > 0, "formations.health_check_timeout must not be 0");
        check(formations.unhealthy_threshold > 0, "formations.unhealthy_threshold must not be 0");
        check(
            formations.keep_generations > 0,
            "formations.keep_generations must not be 0: the one that serves is one of them",
        );
        check(
            formations.deployment.watch_window <= 3_600,
            "formations.deployment.watch_window must be 3600 or less",
        );
        check(formations.drain <= 86_400, "formations.drain must be 86400 or less");
        check(
            formations.restart_delay <= 30,
            "formations.restart_delay must be 30 or less, the longest wait between restarts",
        );
        for fault in self.auth.faults().into_iter().chain(self.audit.faults()) {
            check(false, &fault);
        }
        for (name, value, range) in self.limits.ranges() {
            let fault = format!("limits.{name} must be {} to {}", range.start(), range.end());
            check(range.contains(&value), &fault);
        }
        let proxies = TrustedProxies::new(&self.server.trusted_proxies).err().unwrap_or_default();
        let parts = [
            proxies,
            self.proxy.faults(),
            self.sdk.faults(),
            self.dev.faults(),
            dev::absolute("formations.bundle_roots", &formations.bundle_roots),
            webhooks::faults(&self.webhooks),
            confinement::faults(formations, self.limits.bundle_bytes),
        ];
        for fault in parts.concat() {
            check(false, &fault);
        }
        faults.extend(formations.log_faults());
        faults
    }
}

// === defaults ===

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 7890,
            trusted_proxies: Vec::new(),
            public_url: String::new(),
            tls: None,
        }
    }
}

impl ServerConfig {
    /// Where clients and formations are told to find this manager, without a slash at the end.
    pub fn url(&self) -> String {
        if !self.public_url.is_empty() {
            return self.public_url.trim_end_matches('/').to_owned();
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.port)
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl Default for FormationsConfig {
    fn default() -> Self {
        Self {
            port_range_start: 8000,
            port_range_end: 9000,
            bind_host: "127.0.0.1".to_owned(),
            max_restarts: 10,
            restart_delay: 1,
            health_check_interval: 10,
            health_check_timeout: 5,
            unhealthy_threshold: 3,
            stop_grace: 15,
            drain: 120,
            keep_generations: 5,
            on_manager_stop: OnManagerStop::Stop,
            pass_environment: Vec::new(),
            log_rotation_enabled: true,
            log_max_size: ByteSize(10 << 20),
            log_max_files: 10,
            log_max_age_hours: 24,
            limits: FormationLimits::default(),
            overrides: BTreeMap::new(),
            sandbox: SandboxMode::default(),
            sandbox_read: Vec::new(),
            sandbox_write: Vec::new(),
            user_isolation: UserIsolation::default(),
            uid_range_start: 200_000,
            deployment: DeploymentConfig::default(),
            bundle_roots: Vec::new(),
        }
    }
}

impl FormationsConfig {
    pub fn start_deadline(&self) -> Duration {
        let timeout = self.deployment.health_check.timeout;
        // The original writes zeros here and means its longest patience.
        Duration::from_secs(u64::from(if timeout == 0 { 300 } else { timeout }))
    }
}

impl Default for DeployHealthConfig {
    fn default() -> Self {
        Self { timeout: 30 }
    }
}

impl RuntimeConfig {
    pub fn model_host_idle(&self) -> u32 {
        if self.model_host_idle == 0 { 300 } else { self.model_host_idle }
    }
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text, access: true }
    }
}

fn is_http_url(text: &str) -> bool {
    text.parse::<axum::http::Uri>().is_ok_and(|uri| {
        let named = uri.host().is_some_and(|host| !host.is_empty());
        matches!(uri.scheme_str(), Some("http" | "https")) && named && uri.query().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_keys_are_read() {
        let text = "auth: {key: old, secret: s1, keys: [{id: new, secret: s2, label: ci}]}";
        let (config, warnings) = Config::parse(text).unwrap();
        let ids: Vec<_> = config.keys().into_iter().map(|key| key.id).collect();
        assert_eq!((ids, warnings.len()), (vec!["new".to_owned(), "old".to_owned()], 0));
    }

    #[test]
    fn the_originals_keys_warn_and_unknown_ones_fail() {
        let (_, warnings) =
            Config::parse("formations: {runtime_type: native}\nrce: {port: 7891}").unwrap();
        assert_eq!(warnings.len(), 2);
        let fault = Config::parse("server: {prot: 1}").unwrap_err();
        assert!(fault.contains("prot") && fault.contains("port"), "{fault}");
    }

    #[test]
    fn all_faults_are_named_at_once() {
        let text =
            "auth: {enabled: false}\nserver: {host: 0.0.0.0}\nformations: {port_range_start: 80}";
        assert_eq!(Config::parse(text).unwrap().0.faults().len(), 2);
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = "muxi_sk_abcdefghijklmnop";
        let auth = format!("{{keys: [{{id: k, secret: {secret}}}], key: o, secret: {secret}}}");
        let (config, _) = Config::parse(&format!("auth: {auth}")).unwrap();
        let shown = config.to_masked_yaml() + &format!("{config:?}");
        assert!(!shown.contains(secret), "{shown}");
    }
}
