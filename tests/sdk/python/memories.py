"""What is remembered of users, and the buffers of their conversations."""

from muxi import errors

from checking import check, equal, refused, result


async def run(way, client):
    await check_memories(way, client)
    await check_buffers(way, client)


async def check_memories(way, client):
    user, other = f"{way}-rememberer", f"{way}-stranger"
    with check(f"{way} get_memory_config"):
        config = await result(client.get_memory_config())
        equal(config["buffer"]["size"], 8)
    with check(f"{way} add_memory, listed for its user and for nobody else"):
        added = await result(client.add_memory(user, "preference", "likes herons"))
        equal(added["content"], {"type": "preference", "detail": "likes herons"})
        await result(client.add_memory(user, "fact", "has a boat"))
        listed = await result(client.get_memories(user))
        found = {(it["type"], it["content"]) for it in listed["memories"]}
        equal(found, {("preference", "likes herons"), ("fact", "has a boat")})
        equal((await result(client.get_memories(other)))["memories"], [])
    with check(f"{way} get_memories with a limit"):
        equal((await result(client.get_memories(user, 1)))["count"], 1)
    with check(f"{way} add_memory without a text: ValidationError"):
        await refused(errors.ValidationError, lambda: client.add_memory(user, "fact", ""))
    with check(f"{way} delete_memory of another user's: NotFoundError"):
        await refused(errors.NotFoundError, lambda: client.delete_memory(other, added["id"]))
    with check(f"{way} delete_memory"):
        await result(client.delete_memory(user, added["id"]))
        listed = await result(client.get_memories(user))
        equal([it["content"] for it in listed["memories"]], ["has a boat"])


async def check_buffers(way, client):
    user, other = f"{way}-buffered", f"{way}-other"

    async def say(whom, session):
        await result(client.chat({"message": "greet me", "session_id": session}, user_id=whom))

    async def sessions(whom):
        found = await result(client.get_user_buffer(whom))
        return {it["session_id"]: it["message_count"] for it in found["sessions"]}

    first, second, third = f"{way}-b1", f"{way}-b2", f"{way}-b3"
    await say(user, first)
    await say(user, second)
    await say(other, third)
    with check(f"{way} get_user_buffer"):
        equal(await sessions(user), {first: 2, second: 2})
        equal(await sessions(other), {third: 2})
    with check(f"{way} get_buffer_stats"):
        stats = await result(client.get_buffer_stats())
        assert stats["total_entries"] >= 6 and stats["total_users"] >= 2, stats
    with check(f"{way} clear_session_buffer"):
        cleared = await result(client.clear_session_buffer(user, first))
        equal(cleared["messages_cleared"], 2)
        equal(await sessions(user), {second: 2})
    with check(f"{way} clear_session_buffer of another user's: NotFoundError"):
        await refused(errors.NotFoundError, lambda: client.clear_session_buffer(user, third))
    with check(f"{way} clear_user_buffer leaves other users' alone"):
        equal((await result(client.clear_user_buffer(user)))["messages_cleared"], 2)
        equal((await sessions(user), await sessions(other)), ({}, {third: 2}))
    with check(f"{way} clear_all_buffers"):
        await result(client.clear_all_buffers())
        equal((await sessions(other), await sessions("ada")), ({}, {}))
        equal((await result(client.get_buffer_stats()))["total_entries"], 0)
