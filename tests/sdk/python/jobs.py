"""Work that begins without a chat: scheduled jobs and triggers."""

import time
from datetime import datetime, timezone

from muxi import errors

from chats import GREETING
from checking import check, equal, eventually, refused, result


async def run(way, client):
    await check_jobs(way, client)
    await check_triggers(way, client)


async def check_jobs(way, client):
    user, other = f"{way}-planner", f"{way}-idler"

    async def listed(whom):
        found = await result(client.get_scheduler_jobs(whom))
        return {it["id"]: it["status"].lower() for it in found["jobs"]}

    with check(f"{way} get_scheduler_config"):
        config = await result(client.get_scheduler_config())
        equal((config["enabled"], config["timezone"]), (True, "Europe/Berlin"))
    with check(f"{way} create_scheduler_job, listed for its user only"):
        job = await result(
            client.create_scheduler_job("recurring", "0 9 * * 1", "greet me", user)
        )
        equal(await listed(user), {job["id"]: "active"})
        equal(await listed(other), {})
    with check(f"{way} create_scheduler_job at a time that is none: ValidationError"):
        await refused(
            errors.ValidationError,
            lambda: client.create_scheduler_job("recurring", "whenever", "greet me", user),
        )
    with check(f"{way} get_scheduler_job"):
        found = await result(client.get_scheduler_job(job["id"]))
        equal((found["original_prompt"], found["cron_expression"]), ("greet me", "0 9 * * 1"))
        assert found["next_run_at"], found
    with check(f"{way} update_scheduler_job"):
        await result(
            client.update_scheduler_job(job["id"], message="greet her", schedule="30 8 * * *")
        )
        found = await result(client.get_scheduler_job(job["id"]))
        equal((found["original_prompt"], found["cron_expression"]), ("greet her", "30 8 * * *"))
    with check(f"{way} pause_scheduler_job, then listed"):
        await result(client.pause_scheduler_job(job["id"]))
        equal(await listed(user), {job["id"]: "paused"})
    with check(f"{way} resume_scheduler_job, then listed"):
        await result(client.resume_scheduler_job(job["id"]))
        equal(await listed(user), {job["id"]: "active"})
    with check(f"{way} delete_scheduler_job"):
        await result(client.delete_scheduler_job(job["id"]))
        equal(await listed(user), {})
        await refused(errors.NotFoundError, lambda: client.get_scheduler_job(job["id"]))
    with check(f"{way} create_scheduler_job, one that runs once has its answer in its session"):
        soon = datetime.fromtimestamp(time.time() + 1, timezone.utc).isoformat()
        job = await result(client.create_scheduler_job("one_time", soon, "greet me", user))
        await eventually(
            lambda: client.get_scheduler_job(job["id"]),
            lambda found: found["total_runs"] == 1 and found["status"].lower() != "active",
        )
        said = await eventually(
            lambda: client.get_session_messages(job["session_id"], user),
            lambda found: found["count"] == 2,
        )
        equal(said["messages"][1]["text"], GREETING)


async def check_triggers(way, client):
    user, data = f"{way}-issues", {"issue": {"title": "It rains"}}
    with check(f"{way} get_triggers"):
        equal((await result(client.get_triggers()))["triggers"], ["digest"])
    with check(f"{way} get_trigger"):
        found = await result(client.get_trigger("digest"))
        assert "${{ data.issue.title }}" in found["content"], found
    with check(f"{way} get_trigger of an unknown one: NotFoundError"):
        error = await refused(errors.NotFoundError, lambda: client.get_trigger("no-such-trigger"))
        equal(error.details["error"]["code"], "TRIGGER_NOT_FOUND")
    with check(f"{way} fire_trigger, answered at once"):
        fired = await result(client.fire_trigger("digest", data, user_id=user))
        equal((fired["status"], fired["content"]), ("completed", GREETING))
        said = await result(client.get_session_messages(fired["session_id"], user))
        asked = said["messages"][0]["text"]
        # What an event says is fenced off from what the trigger's author wrote.
        assert "\nIt rains\n</untrusted-data" in asked, said
    with check(f"{way} fire_trigger, answered later"):
        fired = await result(client.fire_trigger("digest", data, async_mode=True, user_id=user))
        equal(fired["status"], "processing")
        ended = await eventually(
            lambda: client.get_request_status(fired["request_id"], user),
            lambda found: found["status"] == "completed",
        )
        equal(ended["result"], GREETING)
    with check(f"{way} fire_trigger without its data: MuxiError 400"):
        error = await refused(errors.MuxiError, lambda: client.fire_trigger("digest", {}))
        equal(error.status_code, 400)
        assert "data.issue.title" in error.details["error"]["message"], error.details
