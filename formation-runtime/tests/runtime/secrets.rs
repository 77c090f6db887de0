//! Secrets through the API: kept encrypted, shown masked, taken into use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use muxi_testkit::fake_llm::FakeLlm;
use muxi_vault::{KEY_FILE, SECRETS_FILE, Vault};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::admin::admin;
use crate::harness::{ADMIN_KEY, Bundle, CLIENT_KEY, Runtime, manifest};

async fn set(runtime: &Runtime, method: Method, path: &str, body: Value) -> (u16, Value) {
    admin(runtime, method, path, Some(body)).await
}

fn stored(folder: &Path, name: &str) -> Option<String> {
    let vault = Vault::open(folder).unwrap()?;
    vault.get(name).map(|value| value.expose_secret().to_owned())
}

pub(crate) fn put(folder: &Path, name: &str, value: &str) {
    Vault::change(folder, 0, |vault| vault.set(name, value.into())).unwrap();
}

#[tokio::test]
async fn secrets_are_made_shown_masked_changed_and_deleted() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    let long = json!({"key": "github-token", "value": "ghp_abcdefghijkl1234"});
    let (status, created) = set(&runtime, Method::POST, "/v1/secrets", long.clone()).await;
    assert_eq!(
        (status, &created["object"], &created["type"]),
        (201, &json!("secret"), &json!("secret.created"))
    );
    assert_eq!(created["data"]["effective"], "now");
    assert!(created["data"]["message"].as_str().unwrap().contains("GITHUB_TOKEN"));
    let (status, body) = set(&runtime, Method::POST, "/v1/secrets", long).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("SECRET_EXISTS")));
    assert_eq!(body["type"], "error.conflict");

    let (_, list) = admin(&runtime, Method::GET, "/v1/secrets", None).await;
    assert_eq!((&list["object"], &list["type"]), (&json!("secret_list"), &json!("secret.list")));
    let expected = json!({"secrets": {"GITHUB_TOKEN": "ghp_ab••••••1234"}, "count": 1});
    assert_eq!(list["data"], expected);
    let (_, one) = admin(&runtime, Method::GET, "/v1/secrets/github_token", None).await;
    assert_eq!(one["data"], json!({"key": "GITHUB_TOKEN", "value": "ghp_ab••••••1234"}));

    let value = json!({"value": "seven-7"});
    let (status, body) =
        set(&runtime, Method::PUT, "/v1/secrets/github-token", value.clone()).await;
    assert_eq!((status, &body["type"]), (200, &json!("secret.updated")));
    let data = bundle.data_dir();
    assert_eq!(stored(&data, "GITHUB_TOKEN").as_deref(), Some("seven-7"));
    for file in [SECRETS_FILE, KEY_FILE] {
        let mode = data.join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(!bundle.path().join(SECRETS_FILE).exists());

    let (status, body) = admin(&runtime, Method::DELETE, "/v1/secrets/GITHUB_TOKEN", None).await;
    assert_eq!((status, &body["type"]), (200, &json!("secret.deleted")));
    for (method, body) in [(Method::GET, None), (Method::PUT, Some(value)), (Method::DELETE, None)]
    {
        let (status, body) = admin(&runtime, method, "/v1/secrets/GITHUB_TOKEN", body).await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("SECRET_NOT_FOUND")));
    }
    let bad = json!({"key": "--", "value": 5});
    let (status, body) = set(&runtime, Method::POST, "/v1/secrets", bad).await;
    let faults = body["error"]["data"]["validation_errors"].as_array().unwrap();
    assert_eq!((status, faults.len()), (422, 2), "{body}");
    for value in ["x".repeat(70_000), " ".to_owned()] {
        let body = json!({"value": value});
        let (status, body) = set(&runtime, Method::PUT, "/v1/secrets/HUGE", body).await;
        assert_eq!((status, &body["error"]["code"]), (422, &json!("VALIDATION_ERROR")));
    }
}

#[tokio::test]
async fn what_is_set_wins_over_the_bundle_at_once_and_after_a_restart() {
    let llm = FakeLlm::start().await;
    llm.script(json!({"api_key": "sk-second", "rules": []}));
    let bundle =
        Bundle::new(&manifest("").replace("{fake: sk-fake}", "{fake: '${{ secrets.model-key }}'}"));
    put(bundle.path(), "MODEL_KEY", "sk-first");
    put(bundle.path(), "SPARE", "of-the-bundle");
    let runtime = bundle.start(&llm);
    let ask = json!({"message": "hi"});
    assert_eq!(runtime.chat(&ask).send().await.unwrap().status(), 502);

    let value = json!({"value": "sk-second"});
    let (status, body) = set(&runtime, Method::PUT, "/v1/secrets/MODEL_KEY", value).await;
    assert_eq!((status, &body["data"]["effective"]), (200, &json!("now")), "{body}");
    runtime.say("hi").await;
    assert_eq!(stored(bundle.path(), "MODEL_KEY").as_deref(), Some("sk-first"));

    let (status, body) = admin(&runtime, Method::DELETE, "/v1/secrets/model_key", None).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("SECRET_IN_USE")));
    let (status, body) = admin(&runtime, Method::DELETE, "/v1/secrets/spare", None).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("OPERATION_FAILED")));
    let (_, config) = admin(&runtime, Method::GET, "/v1/config", None).await;
    assert_eq!(config["data"]["secrets"]["total"], 2);
    runtime.kill9();

    let runtime = bundle.start(&llm);
    runtime.say("hi").await;
    // Written by somebody else, and taken into use when asked to.
    put(&bundle.data_dir(), "MODEL_KEY", "sk-third");
    put(&bundle.data_dir(), "NEW", "x");
    llm.script(json!({"api_key": "sk-third", "rules": []}));
    let (status, body) = admin(&runtime, Method::POST, "/v1/secrets/reload", None).await;
    assert_eq!((status, &body["type"]), (200, &json!("secret.reloaded")), "{body}");
    let data = &body["data"];
    assert_eq!(data["added"], json!(["NEW"]));
    assert_eq!(data["overwritten"], json!(["MODEL_KEY"]));
    assert_eq!((&data["preserved"], &data["count"]), (&json!(["SPARE"]), &json!(3)));
    runtime.say("hi").await;
}

#[tokio::test]
async fn the_formations_own_keys_change_at_its_next_start_and_the_answer_says_so() {
    let llm = FakeLlm::start().await;
    let bundle = Bundle::new(&manifest("").replace(CLIENT_KEY, "'${{ secrets.CLIENT }}'"));
    put(bundle.path(), "CLIENT", CLIENT_KEY);
    let runtime = bundle.start(&llm);
    let value = json!({"value": "fmc_other"});
    let (status, body) = set(&runtime, Method::PUT, "/v1/secrets/CLIENT", value).await;
    assert_eq!((status, &body["data"]["effective"]), (200, &json!("next_start")), "{body}");
    runtime.say("hi").await;
    runtime.kill9();
    let runtime = bundle.start(&llm);
    let refused = runtime.chat(&json!({"message": "hi"})).send().await.unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test]
async fn a_bundle_that_was_edited_is_not_taken_in_by_a_reload() {
    let llm = FakeLlm::start().await;
    let bundle =
        Bundle::new(&manifest("").replace("{fake: sk-fake}", "{fake: '${{ secrets.KEY }}'}"));
    put(bundle.path(), "KEY", "sk-fake");
    let runtime = bundle.start(&llm);
    let file = bundle.path().join("formation.afs");
    let edited = std::fs::read_to_string(&file).unwrap().replace("Be brief.", "Be long.");
    std::fs::write(&file, edited).unwrap();
    let (status, body) = admin(&runtime, Method::POST, "/v1/secrets/reload", None).await;
    assert_eq!((status, &body["error"]["code"]), (500, &json!("SECRETS_RELOAD_FAILED")));
    let value = json!({"value": "sk-other"});
    let (_, body) = set(&runtime, Method::PUT, "/v1/secrets/KEY", value).await;
    assert_eq!(body["data"]["effective"], "next_start");
}

#[tokio::test]
async fn a_kill_in_the_middle_leaves_the_old_secrets_or_the_new() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let data = bundle.data_dir();
    for round in 0..6 {
        let runtime = bundle.start(&llm);
        let key = format!("ROUND_{round}");
        let (status, _) =
            set(&runtime, Method::POST, "/v1/secrets", json!({"key": key, "value": "0"})).await;
        assert_eq!(status, 201);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/v1/secrets/{key}", runtime.url);
        let writing = async {
            let mut acknowledged = 0;
            for value in 1.. {
                let body = json!({"value": value.to_string()});
                let request = client.put(&url).header("X-Muxi-Admin-Key", ADMIN_KEY).json(&body);
                match request.send().await {
                    Ok(response) if response.status() == 200 => acknowledged = value,
                    Ok(response) => panic!("{}", response.status()),
                    Err(_) => break,
                }
            }
            acknowledged
        };
        let killing = async {
            while stored(&data, &key).is_none_or(|value| value.parse::<u32>().unwrap() < 3) {
                tokio::task::yield_now().await;
            }
            runtime.kill9();
        };
        let (acknowledged, ()) = futures_util::future::join(writing, killing).await;
        let kept: u32 = stored(&data, &key).unwrap().parse().unwrap();
        assert!(kept == acknowledged || kept == acknowledged + 1, "{kept} after {acknowledged}");
        let names = Vault::open(&data).unwrap().unwrap().names().count();
        assert_eq!(names, round + 1);
    }
}

#[tokio::test]
async fn secrets_that_cannot_be_opened_are_neither_shown_nor_overwritten() {
    let (llm, bundle) = (FakeLlm::start().await, Bundle::new(&manifest("")));
    let runtime = bundle.start(&llm);
    std::fs::write(bundle.data_dir().join(SECRETS_FILE), "gAAA").unwrap();
    std::fs::write(bundle.data_dir().join(KEY_FILE), "short").unwrap();
    let body = json!({"key": "A", "value": "b"});
    let (status, body) = set(&runtime, Method::POST, "/v1/secrets", body).await;
    assert_eq!((status, &body["error"]["code"]), (500, &json!("SECRETS_ERROR")));
    assert_eq!(body["type"], "error.internal");
    let (status, _) = admin(&runtime, Method::GET, "/v1/secrets", None).await;
    assert_eq!(status, 500);
    let kept = std::fs::read_to_string(bundle.data_dir().join(SECRETS_FILE)).unwrap();
    assert_eq!(kept, "gAAA");
}

#[tokio::test]
async fn a_formation_without_a_data_folder_keeps_one_file_with_its_key() {
    let llm = FakeLlm::start().await;
    let bundle =
        Bundle::new(&manifest("").replace("{fake: sk-fake}", "{fake: '${{ secrets.KEY }}'}"));
    put(bundle.path(), "KEY", "sk-fake");
    put(bundle.path(), "SPARE", "spare");
    let key = std::fs::read(bundle.path().join(KEY_FILE)).unwrap();
    let mut command = crate::harness::program();
    command.arg(bundle.path()).args(["--port", "0"]).env("FAKE_BASE_URL", llm.base_url());
    let runtime = Runtime::start(command);
    let body = json!({"key": "NEW", "value": "n"});
    assert_eq!(set(&runtime, Method::POST, "/v1/secrets", body).await.0, 201);
    assert_eq!(admin(&runtime, Method::DELETE, "/v1/secrets/SPARE", None).await.0, 200);
    assert_eq!(admin(&runtime, Method::DELETE, "/v1/secrets/KEY", None).await.0, 409);
    let stored = ["KEY", "NEW", "SPARE"].map(|name| stored(bundle.path(), name).is_some());
    assert_eq!(stored, [true, true, false]);
    assert_eq!(std::fs::read(bundle.path().join(KEY_FILE)).unwrap(), key);
}

#[tokio::test]
async fn a_secret_of_the_environment_is_replaced_by_one_that_is_set() {
    let llm = FakeLlm::start().await;
    llm.script(json!({"api_key": "sk-set", "rules": []}));
    let bundle =
        Bundle::new(&manifest("").replace("{fake: sk-fake}", "{fake: '${{ secrets.my-key }}'}"));
    let mut command = bundle.command(&llm);
    command.env("MY_KEY", "sk-outside");
    let runtime = Runtime::start(command);
    let (_, list) = admin(&runtime, Method::GET, "/v1/secrets", None).await;
    assert_eq!(list["data"]["count"], 0);
    let body = json!({"key": "my-key", "value": "sk-set"});
    let (status, body) = set(&runtime, Method::POST, "/v1/secrets", body).await;
    assert_eq!((status, &body["data"]["effective"]), (201, &json!("now")));
    runtime.say("hi").await;
    assert_eq!(admin(&runtime, Method::DELETE, "/v1/secrets/MY_KEY", None).await.0, 409);
}
