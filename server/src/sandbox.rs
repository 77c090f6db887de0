//! What confines formations: limits, the fence, users of their own.
//!
//! Decisions are pure (`limits`, `users`, `paths`); this file gathers the facts, prepares the folders
//! of an instance, and tells what the launcher reported. Nothing here says that something is enforced
//! because it was asked for.

mod cgroup;
mod limits;
pub(crate) mod ownership;
mod paths;
mod usage;
mod users;
mod view;

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use muxi_contract::FormationId;
use muxi_contract::launch::{Fence, LaunchUser, ReportTo, ResourceLimits};
use muxi_service::TaskKind;

use self::cgroup::Cgroups;
use self::limits::{Effective, Means};
use self::paths::{Common, Own};
pub(crate) use self::usage::watch;
use self::users::{Facts, Users};
pub(crate) use self::view::{hold_reason, view};
use crate::config::{Config, Folders, FormationsConfig, LimitsOverride, SandboxMode, UID_RANGE};
use crate::jail::{self, KernelSupport};
use crate::layout::Layout;
use crate::store::{Store, StoreError, users as user_rows};
use crate::supervisor::Context;

/// What this host can confine formations with, found out once at the start.
#[derive(Debug)]
pub struct Host {
    cgroups: Result<Cgroups, String>,
    users: Users,
    common: Common,
}

/// What this host could do, for people: without a change to anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSupport {
    pub kernel: KernelSupport,
    /// Whether formations could have users of their own, or why not.
    pub own_users: Result<(), String>,
}

/// Everything that the launch of one instance needs.
#[derive(Debug)]
pub(crate) struct Jail {
    pub(crate) limits: ResourceLimits,
    pub(crate) cgroup: Option<String>,
    pub(crate) user: Option<LaunchUser>,
    pub(crate) fence: Option<Fence>,
    pub(crate) report: ReportTo,
    /// Its temporary files, gone when it is.
    pub(crate) temp: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("formations.sandbox is `required`, but {0}")]
    NoFence(String),
    #[error("formations.user_isolation is `required`, but {0}")]
    NoUsers(String),
    #[error("no user id is left for `{0}`; set formations.uid_range_start to another range")]
    NoUserLeft(FormationId),
    #[error("failed to keep the user ids")]
    Store(#[from] StoreError),
    #[error("failed to prepare {path}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("failed to make a control group")]
    Cgroup(#[source] io::Error),
}

/// What no instance may reach, wherever it lies: the data folder, the configuration, the key of TLS.
/// The secrets of webhooks are hidden, too, but they may change; see `prepare`.
pub(crate) fn hidden(
    config: &Config,
    layout: &Layout,
    folders: &Folders,
    config_file: &Path,
) -> Vec<PathBuf> {
    let tls = config.server.tls.as_ref().map(|tls| PathBuf::from(&tls.key));
    let paths = [layout.root().to_owned(), folders.config.clone(), config_file.to_owned()];
    real(paths.into_iter().chain(tls))
}

/// Asks this host without changing anything.
pub fn probe(config: &FormationsConfig, layout: &Layout, program: &Path) -> SandboxSupport {
    let facts = Facts::gather(config.uid_range_start, layout.root(), program);
    let own_users = match users::decide(config.user_isolation, config.uid_range_start, &facts) {
        Ok(Users::Own { .. }) => Ok(()),
        Ok(Users::Managers { reason }) | Err(reason) => Err(reason),
    };
    SandboxSupport { kernel: jail::probe(), own_users }
}

/// What the formation may use by the configuration in effect and the manifest of this generation.
pub(crate) fn effective(
    config: &Config,
    layout: &Layout,
    formation: &FormationId,
    generation: u64,
) -> Effective {
    let manifest = muxi_formation::limits(&layout.generation(formation, generation));
    let over = overrides(config, formation);
    limits::effective(&config.formations.limits, &over, &manifest, config.limits.bundle_bytes)
}

/// How large an upload of this formation may be.
pub fn bundle_bytes_max(config: &Config, formation: &FormationId) -> u64 {
    let common = config.limits.bundle_bytes;
    overrides(config, formation).bundle_bytes.unwrap_or(common).min(common)
}

/// Prepares the folders, the user and the control group of an instance that is about to start.
pub(crate) async fn prepare(
    context: &Context,
    formation: &FormationId,
    instance: u64,
    generation: u64,
) -> Result<Jail, SandboxError> {
    let Context { store, layout, sandbox, .. } = context;
    let config = context.live();
    let user = match sandbox.users {
        Users::Managers { .. } => None,
        Users::Own { shared_gid } => {
            let range = uid_range(&config.formations);
            let uid = lease_uid(store, formation, range).await?;
            Some(LaunchUser { uid, shared_gid })
        }
    };
    let temp = layout.temp(formation, instance);
    prepare_folders(layout, formation, generation, &temp, user)?;

    let effective = effective(&config, layout, formation, generation);
    let means = sandbox.means();
    let cgroup = match &sandbox.cgroups {
        Ok(cgroups) => {
            let settings = effective.for_cgroup(cgroups.controllers);
            let group = cgroups.create(&group_name(formation, instance), &settings);
            Some(text(&group.map_err(SandboxError::Cgroup)?))
        }
        Err(_) => None,
    };
    let mode = config.formations.sandbox;
    let own = Own {
        generation: &layout.generation(formation, generation),
        program: &context.runtime,
        data: &layout.formation_data(formation),
        temp: &temp,
    };
    let secrets = real(config.webhooks.iter().filter_map(|it| it.secret_file.clone()));
    let fence = sandbox.common.fence(&own, &secrets, mode == SandboxMode::Required);
    Ok(Jail {
        limits: effective.for_processes(&means),
        cgroup,
        user,
        fence: (mode != SandboxMode::Off).then_some(fence),
        report: ReportTo {
            path: text(&layout.report(formation, instance)),
            limits: effective.view(&means),
            shared_user_reason: match &sandbox.users {
                Users::Own { .. } => None,
                Users::Managers { reason } => Some(reason.clone()),
            },
        },
        temp,
    })
}

/// Why an instance died, where that is a limit of its own.
pub(crate) fn cause_of_death(
    context: &Context,
    formation: &FormationId,
    instance: u64,
    exit: &str,
) -> Option<String> {
    let limits = || view::report(&context.layout, formation, instance).map(|it| it.limits);
    let of = |value: Option<u64>| value.map(limits::bytes_text).unwrap_or_default();
    let by_memory = context
        .sandbox
        .cgroups
        .as_ref()
        .is_ok_and(|cgroups| cgroups.ran_out_of_memory(&group_name(formation, instance)));
    if by_memory {
        let limit = of(limits().and_then(|it| it.memory_bytes.value));
        return Some(format!("it was killed for exceeding its memory limit of {limit}"));
    }
    if exit.contains("SIGXFSZ") {
        let limit = of(limits().and_then(|it| it.disk_bytes.value));
        return Some(format!("it was killed for writing a file beyond its disk limit of {limit}"));
    }
    None
}

/// Removes what an instance that is gone left: its temporary files, its report, its control group.
pub(crate) fn remove_traces(context: &Context, formation: &FormationId, instance: u64) {
    if let Ok(cgroups) = &context.sandbox.cgroups {
        cgroups.remove(&group_name(formation, instance));
    }
    let report = context.layout.report(formation, instance);
    complain(&report, fs::remove_file(&report));
    // Out of the way at once; what they were may be much.
    let temp = context.layout.temp(formation, instance);
    let grave = context.layout.uploads().join(format!("gone-{formation}.{instance}"));
    if let Err(error) = fs::rename(&temp, &grave) {
        complain(&temp, Err(error));
        return;
    }
    let remove = async move {
        let path = grave.clone();
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(&path)).await;
        complain(&grave, removed.unwrap_or_else(|error| Err(io::Error::other(error))));
    };
    context.tasks.spawn(TaskKind::PerFormation, format!("clean up after {formation}"), remove);
}

// === impl Host ===

impl Host {
    /// Finds out what there is; an error where the configuration requires more.
    pub fn new(
        config: &FormationsConfig,
        layout: &Layout,
        program: &Path,
        hidden: Vec<PathBuf>,
    ) -> Result<Self, SandboxError> {
        if config.sandbox == SandboxMode::Required {
            jail::probe().whole_fence().map_err(SandboxError::NoFence)?;
        }
        let facts = Facts::gather(config.uid_range_start, layout.root(), program);
        let users = users::decide(config.user_isolation, config.uid_range_start, &facts)
            .map_err(SandboxError::NoUsers)?;
        let cgroups = Cgroups::claim();
        match &cgroups {
            Ok(cgroups) => cgroups.sweep(),
            Err(reason) => tracing::info!("limits are held without control groups: {reason}"),
        }
        if let Users::Own { .. } = users {
            open_the_way(layout)?;
        } else if let (Users::Managers { reason }, true) = (&users, facts.is_root) {
            tracing::warn!("formations run as the manager's own user, root: {reason}");
        }
        let as_root = facts.is_root && matches!(users, Users::Managers { .. });
        let common = Common::new(
            as_root,
            hidden,
            ["SSL_CERT_FILE", "SSL_CERT_DIR"]
                .into_iter()
                .filter_map(std::env::var_os)
                .map(Into::into),
            &config.sandbox_read,
            &config.sandbox_write,
        );
        Ok(Self { cgroups, users, common })
    }

    /// Lets every formation's user connect to a socket, and nobody else.
    pub fn share_with_formations(&self, socket: &Path) -> io::Result<()> {
        if let Users::Own { shared_gid } = self.users {
            std::os::unix::fs::chown(socket, None, Some(shared_gid))?;
            fs::set_permissions(socket, fs::Permissions::from_mode(0o660))?;
        }
        Ok(())
    }

    fn means(&self) -> Means {
        Means {
            cgroup: self.cgroups.as_ref().map(|it| it.controllers).map_err(Clone::clone),
            own_user: matches!(self.users, Users::Own { .. }),
        }
    }
}

/// Where paths lead; what is not there has no other name.
fn real(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    paths.map(|path| path.canonicalize().unwrap_or(path)).collect()
}

/// Makes the formation's folders and brings them to whom they belong.
fn prepare_folders(
    layout: &Layout,
    formation: &FormationId,
    generation: u64,
    temp: &Path,
    user: Option<LaunchUser>,
) -> Result<(), SandboxError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| SandboxError::Folder { path, source }
    };
    let data = layout.formation_data(formation);
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    for folder in [data.as_path(), temp] {
        private.create(folder).map_err(at(folder))?;
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // Without a user of its own, the files may still be of one that it had before.
    let own = rustix::process::geteuid().as_raw();
    let (uid, gid) = user.map_or((own, own), |user| (user.uid, user.uid));
    for folder in [data.as_path(), temp] {
        ownership::give(folder, uid, gid).map_err(at(folder))?;
    }
    if user.is_some() {
        let bundle = layout.generation(formation, generation);
        ownership::share(&bundle, gid).map_err(at(&bundle))?;
        let above = [bundle.parent(), temp.parent(), data.parent()];
        for folder in above.into_iter().flatten() {
            pass_through(folder, gid).map_err(at(folder))?;
        }
    }
    Ok(())
}

fn complain(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "could not be removed");
    }
}

/// Ids for formations; the first of the range is their common group.
fn uid_range(config: &FormationsConfig) -> Range<u32> {
    config.uid_range_start + 1..config.uid_range_start + UID_RANGE
}

async fn lease_uid(
    store: &Store,
    formation: &FormationId,
    range: Range<u32>,
) -> Result<u32, SandboxError> {
    let (id, ids) = (formation.clone(), range.clone());
    // Nearly always it has one; only a new one costs a write.
    if let Some(uid) = store.read(move |db| user_rows::get(db, &id, &ids)).await? {
        return Ok(uid);
    }
    let id = formation.clone();
    let leased = store.write(move |tx| user_rows::lease(tx, &id, &range)).await?;
    leased.ok_or_else(|| SandboxError::NoUserLeft(formation.clone()))
}

/// Users of formations must pass the folders above their own. They cannot list them.
fn open_the_way(layout: &Layout) -> Result<(), SandboxError> {
    for folder in layout.shared_folders() {
        let opened = fs::metadata(&folder).and_then(|it| {
            let mode = it.permissions().mode() | 0o001;
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode))
        });
        opened.map_err(|source| SandboxError::Folder { path: folder, source })?;
    }
    Ok(())
}

/// A folder of root that one group may pass and nobody may list.
fn pass_through(folder: &Path, gid: u32) -> io::Result<()> {
    std::os::unix::fs::chown(folder, None, Some(gid))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o710))
}

fn overrides(config: &Config, formation: &FormationId) -> LimitsOverride {
    config.formations.overrides.get(formation).map(|it| it.limits).unwrap_or_default()
}

fn group_name(formation: &FormationId, instance: u64) -> String {
    format!("{formation}.{instance}")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
