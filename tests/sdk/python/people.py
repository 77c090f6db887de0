"""Who is who, and the credentials that users give."""

from muxi import errors

from checking import check, equal, refused, result


async def run(way, client):
    await check_identifiers(way, client)
    await check_credentials(way, client)


async def check_identifiers(way, client):
    mail, chat_name = f"ada.{way}@example.com", f"slack-{way}"

    async def identifiers(whom):
        found = await result(client.get_user_identifiers_for_user(whom))
        return sorted(it["identifier"] for it in found["identifiers"])

    with check(f"{way} resolve_user of an unknown one: NotFoundError"):
        await refused(errors.NotFoundError, lambda: client.resolve_user(mail))
    with check(f"{way} resolve_user that makes one"):
        made = await result(client.resolve_user(mail, create_user=True))
        person = made["muxi_user_id"]
        equal((person[:4], made["created"]), ("usr_", True))
        again = await result(client.resolve_user(mail))
        equal((again["muxi_user_id"], again["created"]), (person, False))
    with check(f"{way} link_user_identifier, both names are one person"):
        linked = await result(client.link_user_identifier(person, [[chat_name, "slack"]]))
        equal(linked["muxi_user_id"], person)
        equal((await result(client.resolve_user(chat_name)))["muxi_user_id"], person)
        await result(client.add_memory(mail, "fact", "is one person"))
        found = await result(client.get_memories(chat_name))
        equal([it["content"] for it in found["memories"]], ["is one person"])
    with check(f"{way} get_user_identifiers_for_user"):
        equal(await identifiers(person), sorted([mail, chat_name]))
    with check(f"{way} unlink_user_identifier"):
        await result(client.unlink_user_identifier(chat_name))
        equal(await identifiers(person), [mail])
        await refused(errors.NotFoundError, lambda: client.resolve_user(chat_name))


async def check_credentials(way, client):
    user, other = f"{way}-holder", f"{way}-thief"
    secret = "ghp_0123456789abcdefghij"
    with check(f"{way} list_credential_services"):
        # No tool server can be configured yet, and only those ask for credentials.
        equal((await result(client.list_credential_services()))["services"], [])
    with check(f"{way} create_credential, masked"):
        payload = {"service": "github", "name": "work", "credential": {"token": secret}}
        made = await result(client.create_credential(user, payload))
        equal((made["service"], made["name"]), ("github", "work"))
        assert secret not in str(made) and made["credential_preview"], made
    with check(f"{way} create_credential of the same name: ConflictError"):
        await refused(errors.ConflictError, lambda: client.create_credential(user, payload))
    with check(f"{way} list_credentials, of their user only"):
        listed = await result(client.list_credentials(user))
        equal([it["credential_id"] for it in listed["credentials"]], [made["credential_id"]])
        assert secret not in str(listed), listed
        equal((await result(client.list_credentials(other)))["credentials"], [])
    with check(f"{way} get_credential, masked"):
        found = await result(client.get_credential(made["credential_id"], user))
        equal(found["credential_preview"], made["credential_preview"])
        assert secret not in str(found), found
    for name in ("get_credential", "delete_credential"):
        with check(f"{way} {name} of another user's: NotFoundError"):
            call = getattr(client, name)
            await refused(errors.NotFoundError, lambda: call(made["credential_id"], other))
    with check(f"{way} delete_credential"):
        await result(client.delete_credential(made["credential_id"], user))
        equal((await result(client.list_credentials(user)))["credentials"], [])
