//! A formation's API: through the manager, or straight on its own port.

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::events::Events;
use super::{SDK, answer, http, patient_http, unreachable};
use crate::context::Context;
use crate::exit::Exit;
use crate::fault::{Fault, NO_FORMATION};
use crate::files::bundle::{Bundle, Settings};
use crate::files::defaults::Defaults;
use crate::files::formations::Formations;
use crate::files::profiles::Profiles;
use crate::files::{local_manager, variable};

use super::manager::Manager;
use crate::files::Home;
use crate::files::formations::Saved;
use crate::files::profiles::Chosen;

/// What the manager's proxy tells has no code of its own.
const PROXY_NOT_FOUND: &str = "HTTP404";
const PROXY_NOT_RUNNING: &str = "is not running (status:";

/// Which formation a command is for, and on whose behalf.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FormationArgs {
    /// Formation to speak to [default: the one of this folder]
    #[arg(short, long, value_name = "ID", global = true)]
    pub(crate) formation: Option<String>,
    /// Manager behind which it runs, as `muxi profiles list` names it [env: MUXI_PROFILE]
    #[arg(short, long, value_name = "NAME", global = true)]
    pub(crate) profile: Option<String>,
    /// Address of a formation that runs without a manager [env: MUXI_FORMATION_URL]
    #[arg(long, value_name = "URL", conflicts_with = "profile", global = true)]
    pub(crate) url: Option<String>,
    /// The draft that `muxi up` runs, not what is deployed
    #[arg(long, global = true)]
    pub(crate) draft: bool,
    /// The live formation, also after `muxi up`
    #[arg(long, conflicts_with = "draft", global = true)]
    pub(crate) live: bool,
}

/// A command that is on behalf of one user.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct UserArgs {
    #[command(flatten)]
    pub(crate) formation: FormationArgs,
    /// User on whose behalf [default: tester for drafts, else default]
    #[arg(short, long, value_name = "ID", global = true)]
    pub(crate) user: Option<String>,
}

/// Which of a formation's keys a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Admin,
    Client,
}

#[derive(Debug, Clone)]
pub(crate) struct Formation {
    http: Client,
    /// Ends with `/v1`.
    pub(crate) url: Url,
    pub(crate) id: String,
    /// Empty for everybody, whom only the operator can ask about.
    pub(crate) user: String,
    pub(crate) is_draft: bool,
    /// The manager in front of it, if it is reached through one.
    pub(crate) chosen: Option<Chosen>,
    /// Why the secrets of its folder cannot be read.
    locked: Option<String>,
    admin_key: Option<SecretString>,
    client_key: Option<SecretString>,
}

// === impl FormationArgs ===

impl FormationArgs {
    pub(crate) fn open(&self, context: &Context) -> Result<Formation, Fault> {
        self.open_for(context, None)
    }

    fn open_for(&self, context: &Context, user: Option<&str>) -> Result<Formation, Fault> {
        let home = &context.home;
        let here = Bundle::find(&context.folder);
        let settings = here.as_ref().map(Bundle::settings).transpose()?.unwrap_or_default();
        let direct = self.direct();
        let id = match &self.formation {
            Some(id) => id.clone(),
            None => match &here {
                Some(bundle) => bundle.id()?.to_string(),
                // Its address says which one is meant.
                None if direct.is_some() => String::new(),
                None => return Err(no_formation()),
            },
        };
        // What this folder says is about this folder's formation only.
        let here = here
            .filter(|it| self.formation.is_none() || it.id().is_ok_and(|own| own.as_str() == id));
        let settings = if here.is_some() { settings } else { Settings::default() };
        let saved = Formations::read(home)?.formations.remove(&id).unwrap_or_default();
        let is_draft = !self.live && (self.draft || settings.draft);
        let (url, chosen) = if let Some(direct) = direct {
            let mut url = super::url(&direct)?;
            let before = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
            url.set_path(&format!("{before}/v1"));
            (url, None)
        } else {
            let manager = Manager::new(self.chosen(home, &settings, &saved, is_draft)?)?;
            (manager.formation_url(&id, is_draft), Some(manager.chosen))
        };
        let (admin, client) = here.as_ref().map(Bundle::keys).unwrap_or_default();
        let made = local_manager::formation_keys(home, &id, is_draft);
        let (made_admin, made_client) = made.unzip();
        let key = |variable_name: &str,
                   in_folder: Option<SecretString>,
                   saved: Option<String>,
                   made: Option<String>| {
            let given = variable(variable_name).map(SecretString::from);
            given.or(in_folder).or(saved.map(SecretString::from)).or(made.map(SecretString::from))
        };
        let user = user
            .map(str::to_owned)
            .or_else(|| variable("MUXI_USER_ID"))
            .or(settings.user_id)
            .or(saved.default_user_id);
        let user = match user {
            Some(user) => user,
            None => Defaults::read(home)?
                .user_id
                .unwrap_or_else(|| if is_draft { "tester" } else { "default" }.to_owned()),
        };
        Ok(Formation {
            http: http()?,
            url,
            user,
            is_draft,
            chosen,
            locked: here.and_then(|it| it.vault().err()).map(|it| it.message().to_owned()),
            admin_key: key("MUXI_ADMIN_KEY", admin, saved.admin_key, made_admin),
            client_key: key("MUXI_CLIENT_KEY", client, saved.client_key, made_client),
            id,
        })
    }

    /// The address without a manager. What is said on the command line counts before the environment.
    fn direct(&self) -> Option<String> {
        let says_another = self.profile.is_some() || self.draft || self.live;
        let usual = || variable("MUXI_FORMATION_URL").filter(|_| !says_another);
        self.url.clone().or_else(usual)
    }

    fn chosen(
        &self,
        home: &Home,
        settings: &Settings,
        saved: &Saved,
        is_draft: bool,
    ) -> Result<Chosen, Fault> {
        let (profile, port) = if is_draft {
            settings.draft_place(self.profile.as_ref(), None)
        } else {
            (self.profile.clone(), None)
        };
        let profile = profile.as_ref().or(saved.default_profile.as_ref());
        let chosen = Profiles::choose(home, profile.map(String::as_str), settings)?;
        Ok(chosen.on_port(port))
    }
}

fn no_formation() -> Fault {
    Fault::usage("which formation? This folder has none")
        .mend("name it: --formation ID")
        .mend("muxi remote list   shows those that are deployed")
}

// === impl UserArgs ===

impl UserArgs {
    pub(crate) fn open(&self, context: &Context) -> Result<Formation, Fault> {
        self.formation.open_for(context, self.user.as_deref())
    }

    /// What both keys may ask for: everybody's with the admin key, unless a user is named or only the client
    /// key is known.
    pub(crate) fn open_wide(&self, context: &Context) -> Result<(Formation, Key), Fault> {
        let formation = self.open(context)?;
        if self.user.is_some() || formation.admin_key.is_none() {
            return Ok((formation, Key::Client));
        }
        Ok((Formation { user: String::new(), ..formation }, Key::Admin))
    }
}

// === impl Formation ===

impl Formation {
    /// One that this program started itself.
    pub(crate) fn own(
        url: Url,
        id: String,
        user: String,
        client: SecretString,
    ) -> Result<Self, Fault> {
        let (http, admin_key, client_key) = (http()?, None, Some(client));
        Ok(Self {
            http,
            url,
            id,
            user,
            is_draft: false,
            chosen: None,
            locked: None,
            admin_key,
            client_key,
        })
    }

    /// The same on behalf of another user.
    pub(crate) fn of_user(&self, user: &str) -> Self {
        Self { user: user.to_owned(), ..self.clone() }
    }

    /// The same for answers that may take any time.
    pub(crate) fn patient(&self) -> Result<Self, Fault> {
        Ok(Self { http: patient_http()?, ..self.clone() })
    }

    /// `path` begins with a slash behind `/v1` and may have a query.
    pub(crate) async fn get(&self, key: Key, path: &str) -> Result<Value, Fault> {
        self.ask(key, Method::GET, path, None).await
    }

    pub(crate) async fn ask(
        &self,
        key: Key,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Fault> {
        let response = self.send(self.request(key, method, path, body)?).await?;
        self.data(response).await
    }

    /// A stream of frames; failures are told as everywhere.
    pub(crate) async fn stream(
        &self,
        key: Key,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Events, Fault> {
        let request = self.request(key, method, path, body)?.header(ACCEPT, "text/event-stream");
        let response = self.raw_answer(self.send(request).await?).await?;
        Ok(Events::of(self.url.clone(), response))
    }

    pub(crate) async fn raw(&self, key: Key, path: &str) -> Result<Response, Fault> {
        let response = self.send(self.request(key, Method::GET, path, None)?).await?;
        self.raw_answer(response).await
    }

    async fn raw_answer(&self, response: Response) -> Result<Response, Fault> {
        if response.status().is_success() {
            return Ok(response);
        }
        let silent = || Fault::failed("it refused without a word");
        Err(self.data(response).await.err().unwrap_or_else(silent))
    }

    fn request(
        &self,
        key: Key,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<RequestBuilder, Fault> {
        let (header, value, name) = match key {
            Key::Admin => ("X-Muxi-Admin-Key", &self.admin_key, "ADMIN"),
            Key::Client => ("X-Muxi-Client-Key", &self.client_key, "CLIENT"),
        };
        let Some(value) = value else { return Err(self.no_key(name)) };
        let url = format!("{}{path}", self.url);
        let request = self.http.request(method, url).header(header, value.expose_secret());
        let request = request.header("X-Muxi-SDK", SDK);
        let request = if self.user.is_empty() {
            request
        } else {
            request.header("X-Muxi-User-ID", &self.user)
        };
        Ok(match body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.to_string()),
            None => request,
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Fault> {
        request.send().await.map_err(|error| unreachable(&self.url, &error))
    }

    async fn data(&self, response: Response) -> Result<Value, Fault> {
        answer::data(&self.url, response).await.map_err(|fault| match fault.exit() {
            Exit::NotFound if fault.code() == PROXY_NOT_FOUND => self.not_there(&fault),
            Exit::Unreachable if fault.message().contains(PROXY_NOT_RUNNING) => fault
                .mend(format!("muxi start {}   starts it", self.id))
                .mend(format!("muxi logs {}   may tell why it does not run", self.id)),
            Exit::Refused if self.id.is_empty() => {
                fault.mend("set MUXI_ADMIN_KEY and MUXI_CLIENT_KEY to its keys")
            }
            Exit::Refused => fault.mend(format!(
                "set FORMATION_ADMIN_API_KEY and FORMATION_CLIENT_API_KEY in the bundle's secrets, or: muxi formations add {} --admin-key … --client-key …",
                self.id
            )),
            Exit::Done
            | Exit::Failed
            | Exit::Usage
            | Exit::Unreachable
            | Exit::NotFound
            | Exit::Conflict
            | Exit::NotBuilt
            | Exit::Interrupted => fault,
        })
    }

    fn not_there(&self, fault: &Fault) -> Fault {
        let fault = Fault::new(Exit::NotFound, NO_FORMATION, fault.message());
        if self.is_draft {
            return fault.mend("muxi up   runs the draft; --live speaks to what is deployed");
        }
        fault
            .mend("muxi remote list   shows those that are deployed")
            .mend("muxi deploy   deploys the one of this folder")
    }

    fn no_key(&self, name: &str) -> Fault {
        let lower = name.to_lowercase();
        if let Some(fault) = &self.locked {
            let message = format!("the {lower} key cannot be read: {fault}");
            return Fault::new(Exit::Refused, "NoKey", message)
                .mend("put the .key back that secrets.enc was made with")
                .mend(format!("set MUXI_{name}_KEY"));
        }
        if self.id.is_empty() {
            let message = format!("no {lower} key is known of the formation at {}", self.url);
            return Fault::new(Exit::Refused, "NoKey", message)
                .mend(format!("set MUXI_{name}_KEY"));
        }
        Fault::new(
            Exit::Refused,
            "NoKey",
            format!("no {lower} key of formation {} is known", self.id),
        )
        .mend(format!("go into its folder, whose secrets have FORMATION_{name}_API_KEY"))
        .mend(format!("muxi formations add {} --{lower}-key KEY   keeps it for this user", self.id))
        .mend(format!("set MUXI_{name}_KEY"))
    }
}
