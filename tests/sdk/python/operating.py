"""What an operator asks a formation, what it refuses, and to whom."""

import json
import urllib.request

from muxi import errors

from checking import cannot_pass, check, equal, refused, result
from settings import ADMIN_KEY, CLIENT_KEY, FORMATION_ID, SERVER_URL


async def check_views(way, client):
    with check(f"{way} health"):
        health = await result(client.health())
        equal((health["status"], health["version"]), ("healthy", "1.2.3"))
    with check(f"{way} get_status"):
        status = await result(client.get_status())
        equal(status["formation"]["id"], FORMATION_ID)
        equal(status["agents"]["count"], 1)
        assert status["request_id"] and status["timestamp"] > 0, status
    with check(f"{way} get_agents"):
        agents = await result(client.get_agents())
        equal((agents["count"], [it["id"] for it in agents["agents"]]), (1, ["parrot"]))
    with check(f"{way} get_agent"):
        equal((await result(client.get_agent("parrot")))["name"], "Parrot")
    with check(f"{way} get_agent of an unknown one: NotFoundError"):
        error = await refused(errors.NotFoundError, lambda: client.get_agent("no-such-agent"))
        equal(error.details["error"]["code"], "AGENT_NOT_FOUND")
    with check(f"{way} get_formation_info"):
        shown = await result(client.get_formation_info())
        equal(shown["id"], FORMATION_ID)
        text = json.dumps(shown)
        assert ADMIN_KEY not in text and CLIENT_KEY not in text, "shows the keys"


    with check(f"{way} get_config"):
        config = await result(client.get_config())
        equal((config["formation_id"], config["agents"]["total"]), (FORMATION_ID, 1))
    with check(f"{way} get_mcp_servers and get_mcp_tools: no server, and what the program does itself"):
        equal((await result(client.get_mcp_servers()))["servers"], [])
        tools = (await result(client.get_mcp_tools()))["tools"]
        equal("generate_file" in [tool["name"] for tool in tools], True)
    with check(f"{way} get_overlord_config and get_overlord_soul"):
        soul = (await result(client.get_overlord_soul()))["soul"]
        equal(soul, "You repeat what the script says.")
        equal((await result(client.get_overlord_config()))["soul"], soul)
    with check(f"{way} get_llm_settings"):
        equal((await result(client.get_llm_settings()))["temperature"], 0.5)
    with check(f"{way} get_async_config"):
        equal((await result(client.get_async_config()))["webhook_timeout"], 7)
    with check(f"{way} get_a2a_config: not set up"):
        shown = await result(client.get_a2a_config())
        equal(set(shown), {"request_id", "timestamp"})
    with check(f"{way} get_logging_config and get_logging_destinations"):
        await result(client.get_logging_config())
        shown = await result(client.get_logging_destinations())
        equal(shown["conversation"]["count"], len(shown["conversation"]["destinations"]))
        assert shown["system"]["destination"], shown


async def check_secrets_and_audit(way, client):
    name, value = f"SDK_{way.upper()}", "sk-0123456789abcdefghij"
    with check(f"{way} set_secret of an unknown one: NotFoundError"):
        error = await refused(errors.NotFoundError, lambda: client.set_secret(name, value))
        equal(error.details["error"]["code"], "SECRET_NOT_FOUND")
    create_secret(name)
    with check(f"{way} set_secret, get_secret and get_secrets, masked"):
        before = (await result(client.get_secret(name)))["value"]
        await result(client.set_secret(name, value))
        after = (await result(client.get_secret(name)))["value"]
        assert after != before and after.endswith(value[-4:]) and value not in after, after
        equal((await result(client.get_secrets()))["secrets"][name], after)
    with check(f"{way} delete_secret"):
        await result(client.delete_secret(name))
        await refused(errors.NotFoundError, lambda: client.get_secret(name))
        assert name not in (await result(client.get_secrets()))["secrets"]
    with check(f"{way} get_audit_log shows what was done to the secret"):
        entries = (await result(client.get_audit_log()))["entries"]
        done = [(it["action"], it["outcome"]) for it in entries if it["resource_id"] == name]
        wanted = [
            ("secret.created", "succeeded"),
            ("secret.deleted", "succeeded"),
            ("secret.updated", "failed"),
            ("secret.updated", "succeeded"),
        ]
        equal(sorted(done), wanted)
    with check(f"{way} clear_audit_log"):
        await result(client.clear_audit_log())
        entries = (await result(client.get_audit_log()))["entries"]
        equal([it["action"] for it in entries], ["audit.cleared"])


async def check_unserved(way, client):
    """What cannot-pass.json lists: each is refused by name."""
    with check(f"{way} get_sops is empty"):
        equal((await result(client.get_sops()))["sops"], [])
    with cannot_pass(f"{way} get_sop: NotFoundError"):
        error = await refused(errors.NotFoundError, lambda: client.get_sop("any"))
        equal(error.details["error"]["code"], "SOP_NOT_FOUND")
    with cannot_pass(f"{way} get_mcp_server: NotFoundError"):
        error = await refused(errors.NotFoundError, lambda: client.get_mcp_server("any"))
        equal(error.details["error"]["code"], "MCP_SERVER_NOT_FOUND")


async def check_keys(way, wrong, swapped):
    calls = {
        "chat": lambda client: client.chat({"message": "greet me"}, user_id="ada"),
        "get_sessions": lambda client: client.get_sessions("ada"),
        "get_session_messages": lambda client: client.get_session_messages("any", "ada"),
        "get_status": lambda client: client.get_status(),
        "get_agents": lambda client: client.get_agents(),
        "get_formation_info": lambda client: client.get_formation_info(),
    }
    for kind, client in (("wrong key", wrong), ("the other class's key", swapped)):
        for name, call in calls.items():
            with check(f"{way} {name}, {kind}: AuthenticationError"):
                error = await refused(errors.AuthenticationError, lambda: call(client))
                equal(error.status_code, 401)
                assert error.details["error"]["code"], error.details



def create_secret(name):
    """As the API has it; no SDK can make a secret, only replace its value."""
    request = urllib.request.Request(
        f"{SERVER_URL}/api/{FORMATION_ID}/v1/secrets",
        data=json.dumps({"key": name, "value": "the first value"}).encode(),
        headers={"X-Muxi-Admin-Key": ADMIN_KEY, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10):
        pass
