use muxi_formation::manifest::{
    InboundAuth, OutboundAuth, OverlordRole, PlanApproval, ResponseFormat, Scalar,
};
use muxi_formation::{McpAuth, McpTransport, Resolve, Source, load, tool_table};
use secrecy::ExposeSecret as _;

use crate::bundles::{MINIMAL, bundle, faults, loaded};

fn with(block: &str) -> String {
    format!("{MINIMAL}{block}")
}

fn told(block: &str) -> String {
    faults(&[("formation.afs", &with(block))])
}

fn warned(block: &str) -> String {
    let text = with(block);
    let loaded = loaded(&[("formation.afs", &text)]);
    loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const SERVERS: &str = "mcp:\n  default_timeout_seconds: 9\n  servers:\n  \
    - {id: files, type: command, command: npx, args: [-y, 8080], env: {PORT: 3000, ON: true}}\n  \
    - id: web\n    type: http\n    url: https://h/mcp/\n    timeout_seconds: 5\n    \
    headers: {X-Key: '${{ user.credentials.GitHub }}'}\n    \
    auth: {type: bearer, token: 'a ${{ secrets.T }} ${{user.credentials.gitlab}}'}\n    \
    parameters: {owner: me, count: 3, ratio: 0.5, deep: false}\n    \
    tools: {allow: 'read_*', blacklist: [read_secret]}\n";

#[test]
fn servers_are_read_with_their_defaults_and_wait_for_users() {
    let folder = bundle(&[("formation.afs", &with(SERVERS))]);
    let look_up = |source, _: &str| (source == Source::Secrets).then(|| "hunter22".to_owned());
    let loaded = load(folder.path(), Resolve::With(&look_up)).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter22"));
    let [files, web] = &loaded.mcp_servers[..] else { panic!() };
    let McpTransport::Command { command, args, env, cwd } = &files.transport else { panic!() };
    assert_eq!((command.as_str(), cwd), ("npx", &None));
    assert_eq!(args, &["-y", "8080"]);
    let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect();
    assert_eq!(env, [("ON", "true"), ("PORT", "3000")]);
    assert_eq!((files.timeout_seconds, files.retry_attempts), (9, 3));
    assert_eq!((files.connection_ttl_seconds, files.is_global), (300, true));
    let McpTransport::Http { url, headers } = &web.transport else { panic!() };
    assert_eq!(url.expose_secret(), "https://h/mcp/");
    assert_eq!(headers["X-Key"].expose_secret(), "${{ user.credentials.GitHub }}");
    let McpAuth::Bearer { token } = &web.auth else { panic!() };
    assert_eq!(token.expose_secret(), "a hunter22 ${{ user.credentials.gitlab }}");
    assert_eq!(web.needs_user_credentials, ["github", "gitlab"]);
    assert_eq!(web.timeout_seconds, 5);
    assert!(matches!(&web.parameters["count"], Scalar::Integer(3)));
    assert_eq!(web.parameters["ratio"].to_json(), 0.5);
    assert_eq!(web.parameters["owner"].to_json(), "me");
    assert_eq!(web.parameters["deep"].to_json(), false);
    assert_eq!(web.tools.allow.as_deref(), Some(&["read_*".to_owned()][..]));
    assert!(web.tools.allows("read_a") && !web.tools.allows("read_secret"));
}

#[test]
fn a_server_is_everybodys_until_somebody_attaches_it() {
    let manifest = "schema: 1.0.0\nid: my-team\ndescription: d\nllm: {models: {text: a/b}}\n\
        mcp: {servers: [one, {id: two, type: http, url: 'http://h', tools: {deny: x}}, {id: all, type: http, url: 'http://h'}]}\n\
        agents:\n- {id: a, description: d, mcp_servers: [two, one]}\n\
        - id: b\n  description: d\n  mcp_servers:\n  - {id: two, tools: {allow: [y, z]}}\n  \
        - {id: own, type: command, command: x}\n- {id: c, description: d}\n";
    let server = "schema: 1.0.0\nid: one\ntype: command\ncommand: x\n";
    let loaded = loaded(&[("formation.afs", manifest), ("mcps/one.afs", server)]);
    let table: Vec<(String, Vec<String>)> = tool_table(&loaded)
        .into_iter()
        .map(|row| (row.agent, row.servers.into_iter().map(|(id, _)| id).collect()))
        .collect();
    let row = |agent: &str, servers: &[&str]| {
        (agent.to_owned(), servers.iter().map(|&it| it.to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        table,
        [row("a", &["two", "one", "all"]), row("b", &["two", "own", "all"]), row("c", &["all"])]
    );
    let two = |agent: usize| tool_table(&loaded)[agent].servers[0].1.clone();
    assert!(two(0).allows("y") && two(0).allows("other") && !two(0).allows("x"));
    assert!(two(1).allows("y") && !two(1).allows("other") && !two(1).allows("x"));
    let own = loaded.mcp_servers.iter().find(|it| it.id == "own").unwrap();
    assert_eq!(own.private_to.as_deref(), Some("b"));
}

#[test]
fn every_fault_of_a_server_has_its_place_and_its_mend() {
    for (block, expected) in [
        (
            "mcp: {servers: [{id: a, type: command}]}",
            "6:17: a server of this type needs `command`; add it",
        ),
        ("mcp: {servers: [{id: a, type: http}]}", "needs `endpoint`"),
        ("mcp: {servers: [{id: a}]}", "`mcp.servers[0].type` is missing"),
        ("mcp: {servers: [{id: a, type: htp, url: 'http://h'}]}", "did you mean `http`?"),
        ("mcp: {servers: [{id: a, type: http, url: 'ftp://h'}]}", "not an http or https address"),
        ("mcp: {servers: [ghost]}", "the MCP server `ghost` has no file; add mcp/ghost.afs"),
        (
            "mcp: {servers: [{id: a, type: command, command: x}, {id: a, type: command, command: y}]}",
            "listed twice",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, parameters: {b: [1]}}]}",
            "must be a text, a number or true or false",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, tools: {alow: b}}]}",
            "did you mean `allow`?",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, tools: {allow: b, whitelist: c}}]}",
            "another name of",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, auth: {type: bearer}}]}",
            "`mcp.servers[0].auth.token` is missing",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, auth: {type: magic}}]}",
            "cannot be `magic`",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, auth: {type: env, 'a b': c}}]}",
            "not the name of an environment's variable",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, cwd: ../b}]}",
            "not below the bundle's folder",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: '${{ user.credentials.b }}'}]}",
            "cannot wait for a user's credentials",
        ),
        ("url: '${{ user.credentials.b }}'", "cannot wait for a user's credentials"),
        ("mcp: {watch: {interval: 5}}", "waits for jobs of servers, and none is listed"),
        (
            "mcp: {servers: [{id: a, type: command, command: x}], watch: {interval: true}}",
            "must be a whole number",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x}], watch: {intervall: 1}}",
            "did you mean `interval`?",
        ),
        ("mcp: {}\nmcps: {}", "another name of `mcp`"),
        ("links: {github: {label: x}}", "`links.github.url` is missing"),
        ("links: {github: {url: 'ftp://x'}}", "not an http or https address"),
        ("user_credentials: {mode: dynamic}", "documented but not built"),
        ("approvals: {trusted_servers: [a]}", "not one of the formation's"),
        ("approvals: {rules: [{tool: x, action: maybe}]}", "write `allow`, `ask` or `deny`"),
        ("approvals: {rules: [{tool: x, action: ask, wen: {}}]}", "did you mean `when`?"),
        (
            "a2a: {outbound: {registries: ['http://r']}}",
            "`a2a.outbound.registries` is documented but not built",
        ),
        ("a2a: {outbound: {services: [{id: x, name: n, description: d}]}}", "url` is missing"),
        ("a2a: {inbound: {auth: {type: oauth2}}}", "cannot be `oauth2`"),
        ("a2a: {inbound: {auth: {type: openid, issuer: 'https://i'}}}", "audience` is missing"),
        ("overlord: {llm: {model: a/b}}", "write `overlord.llm.base: {model: provider/model}`"),
        (
            "overlord: {response: {format: html}}",
            "`overlord.response.format: html` is documented but not built",
        ),
        ("overlord: {workflow: {complexity_method: custom}}", "documented but not built"),
        ("overlord: {workflow: {error_recovery: compensate}}", "documented but not built"),
        (
            "overlord: {workflow: {routing_strategy: round_robin}}",
            "documented but not built in this version; write `capability_based`",
        ),
        (
            "overlord: {workflow: {plan_approval_threshold: 11}}",
            "a score from 1 to 10, `never` or `always`",
        ),
        ("overlord: {workflow: {complexity_weights: {heuristic: 0.5, llm: 0.4}}}", "add up to 0.9"),
        ("server: {auth: {}}", "keys are given in `server.api_keys`"),
    ] {
        let told = told(&format!("{block}\n"));
        assert!(told.contains(expected), "{block}\n{told}");
    }
    let unattached = MINIMAL.replace("description: Helps.", "description: d, mcp_servers: [flies]")
        + "mcp: {servers: [{id: files, type: command, command: x}]}\n";
    let told = faults(&[("formation.afs", &unattached)]);
    assert!(
        told.contains("`flies` is not one of the formation's; did you mean `files`?"),
        "{told}"
    );
}

#[test]
fn what_has_no_effect_is_told() {
    for (block, expected) in [
        (
            "mcp: {servers: [{id: a, type: http, url: 'http://h', command: x}]}",
            "`command` has no effect on a server of this type",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, tools: {allow: []}}]}",
            "is empty and filters nothing",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, install: y}]}",
            "`mcp.servers[0].install` has no effect",
        ),
        (
            "mcp: {servers: [{id: a, type: command, command: x, auth: {type: env, A: b, accept_inline: true}}]}",
            "never taken from a chat",
        ),
        ("a2a: {inbound: {port: 8181, host: h}}", "the formation's own port serves it"),
        ("a2a: {receiver: {}}", "did you mean `a2a.inbound`?"),
        ("overlord: {routing: {}}", "`overlord.routing` is not part of the schema"),
        ("overlord: {clarification: {max_questions: 3}}", "did you mean `max_rounds`?"),
        (
            "overlord: {workflow: {complexity_weights: {heuristic: 0.4, llm: 0.4, custom: 0.2}}}",
            "used in proportion",
        ),
        ("clarification: {}\nworkflow: {}", "it belongs under `overlord`"),
        ("approvals: {rules: [{tool: 'ghost/*', action: deny}]}", "fits no server"),
        ("tuning: false\nproactive: {}\ncommands: {}", "`proactive` has no effect in this version"),
        (
            "runtime: {version: '1.2', built_in_mcps: [artifacts]}",
            "`runtime.version` has no effect",
        ),
    ] {
        let told = warned(&format!("{block}\n"));
        assert!(told.contains(expected), "{block}\n{told}");
    }
    let orphan = [("formation.afs", MINIMAL), ("mcp/x.afs", "id: x\n"), ("a2a/y.afs", "id: y\n")];
    let told = format!("{:?}", loaded(&orphan).warnings);
    assert!(
        told.contains("add `x` to `mcp.servers`")
            && told.contains("add `y` to `a2a.outbound.services`")
    );
}

#[test]
fn the_overlord_is_read_with_the_documented_defaults() {
    let manifest = loaded(&[("formation.afs", MINIMAL)]).manifest;
    let workflow = &manifest.overlord.workflow;
    assert_eq!(workflow.plan_approval_threshold, PlanApproval::At(7.0));
    assert!(
        workflow.plan_approval_threshold.asks(7.0) && !workflow.plan_approval_threshold.asks(6.9)
    );
    assert_eq!((workflow.max_parallel_tasks, workflow.retry.max_attempts), (5, 3));
    assert_eq!((workflow.timeouts.task_seconds, workflow.max_timeout_seconds), (300, 7_200));
    assert_eq!(manifest.overlord.clarification.max_rounds.brainstorm, 10);
    assert_eq!(manifest.mcp.watch.map(|it| it.interval_seconds), Some(30));
    assert_eq!(manifest.approvals.expires_minutes, 1_440);
    assert_eq!(manifest.input_limits.max_tool_output_size, 1_048_576);
    assert!(manifest.skills.has_builtin("compute") && manifest.a2a.callers().is_none());

    let block = "overlord:\n  llm: {base: {model: o/base, settings: {temperature: 0}}}\n  \
        response: {format: json, streaming: true}\n  caching: {ttl: 60}\n  \
        workflow: {plan_approval_threshold: never, error_recovery: fail_fast}\n\
        skills: {disable_builtin: [compute]}\nruntime: {built_in_mcps: [recall]}\n\
        mcp: {watch: false}\n";
    let loaded = loaded(&[("formation.afs", &with(block))]);
    let manifest = &loaded.manifest;
    for (role, expected) in [(OverlordRole::Base, "o/base"), (OverlordRole::Synthesis, "o/base")] {
        assert_eq!(loaded.overlord_model(role).unwrap().model.as_str(), expected);
    }
    assert_eq!(manifest.overlord.workflow.plan_approval_threshold, PlanApproval::Never);
    assert_eq!(manifest.overlord.response.format, ResponseFormat::Json);
    assert_eq!(
        (manifest.overlord.caching.enabled, manifest.overlord.caching.ttl_seconds),
        (true, 60)
    );
    assert!(manifest.runtime.built_in_mcps.includes("recall"));
    assert!(!manifest.runtime.built_in_mcps.includes("generate_file"));
    assert!(
        !manifest.skills.has_builtin("compute") && manifest.skills.has_builtin("generative-ui")
    );
    assert!(manifest.mcp.watch.is_none());
}

#[test]
fn remote_agents_prove_themselves_and_callers_must() {
    let block = "a2a:\n  outbound:\n    default_timeout_seconds: 7\n    services:\n    - weather\n    \
        - {id: off, name: n, description: d, url: 'https://o', active: false}\n    \
        - id: tax\n      name: Tax\n      description: d\n      url: https://t/\n      retry_attempts: 0\n      \
        auth: {type: oauth2, client_id: a, client_secret: b, token_url: 'https://i/t'}\n  \
        inbound:\n    trusted_endpoints: ['https://peer']\n    \
        auth: {type: openid, issuer: 'https://i/', audience: me}\n";
    let file = "schema: 1.0.0\nservice_id: weather\nname: W\ndescription: d\nurl: https://w\n\
        auth: {type: hmac, secret: s}\n";
    let loaded = loaded(&[("formation.afs", &with(block)), ("a2a/weather.yaml", file)]);
    assert!(loaded.warnings[0].message.contains("`service_id` is an older name"));
    let [weather, tax] = &loaded.remote_agents[..] else { panic!("{:?}", loaded.remote_agents) };
    let OutboundAuth::Hmac(hmac) = &weather.auth else { panic!() };
    assert_eq!((&*hmac.signature_header, hmac.timestamp_tolerance_seconds), ("X-Signature", 300));
    assert_eq!((weather.timeout_seconds, weather.retry_attempts), (7, 3));
    assert_eq!((tax.url.as_str(), tax.retry_attempts), ("https://t", 0));
    assert!(matches!(&tax.auth, OutboundAuth::Oauth2(it) if it.token_url == "https://i/t"));
    let inbound = loaded.manifest.a2a.callers().unwrap();
    let InboundAuth::Openid(openid) = &inbound.auth else { panic!() };
    assert_eq!(openid.jwks_url(), "https://i/.well-known/jwks.json");
    assert_eq!(openid.allowed_algorithms, ["RS256"]);
    let open = format!("{MINIMAL}a2a: {{inbound: {{}}}}\n");
    let manifest = crate::bundles::loaded(&[("formation.afs", &open)]).manifest;
    assert!(matches!(manifest.a2a.callers().unwrap().auth, InboundAuth::ClientKey));
}

#[test]
fn an_agent_behaves_as_it_is_told() {
    let manifest = MINIMAL.replace(
        "description: Helps.",
        "description: d, llm: {settings: {temperature: 0}, models: [{text: c/d}]}, \
         timeout: {default: 5}, \
         system_behavior: {constraints: [No guesses.], interaction_style: formal, response_length: concise}",
    );
    let loaded = loaded(&[("formation.afs", &manifest)]);
    let agent = &loaded.agents[0];
    assert_eq!(
        agent.system_behavior.instructions().unwrap(),
        "What you must keep to:\n- No guesses.\nWrite in a formal tone.\nKeep answers short."
    );
    let capability = muxi_formation::manifest::Capability::Text;
    let model = loaded.manifest.llm.choose(agent, capability).unwrap();
    assert_eq!((model.model.as_str(), model.temperature.to_string()), ("c/d", "0".to_owned()));
    assert_eq!((agent.timeout.default_seconds, agent.timeout.max_seconds), (5, 600));
}
