"""The published Python SDK of A2A as a peer of a formation, in both directions.

peer.py serve          an agent that says the message back; prints its address and serves until it is killed
peer.py ask URL TEXT   asks the agent at URL, at once and as a stream, and prints one JSON object for each
"""

import asyncio
import json
import socket
import sys
import uuid

import httpx
import uvicorn
from a2a.client import A2ACardResolver, ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers.default_request_handler_v2 import DefaultRequestHandlerV2
from a2a.server.routes.agent_card_routes import create_agent_card_routes
from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2 as a2a
from starlette.applications import Starlette


class Parrot(AgentExecutor):
    """Says the message back in two pieces."""

    async def execute(self, context, event_queue):
        if context.current_task is None:
            status = a2a.TaskStatus(state=a2a.TaskState.TASK_STATE_SUBMITTED)
            task = a2a.Task(id=context.task_id, context_id=context.context_id, status=status)
            await event_queue.enqueue_event(task)
        answer = TaskUpdater(event_queue, context.task_id, context.context_id)
        await answer.start_work()
        pieces = ["You said: ", context.get_user_input()]
        for number, piece in enumerate(pieces):
            is_last = number == len(pieces) - 1
            await answer.add_artifact(
                [a2a.Part(text=piece)], artifact_id="answer", append=number > 0, last_chunk=is_last
            )
        await answer.complete()

    async def cancel(self, context, event_queue):
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def serve():
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    interface = a2a.AgentInterface(
        url=f"{address}/rpc", protocol_binding="JSONRPC", protocol_version="1.0"
    )
    card = a2a.AgentCard(
        name="Parrot",
        description="Says the message back",
        version="1",
        supported_interfaces=[interface],
        capabilities=a2a.AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[a2a.AgentSkill(id="say", name="say", description="Says it", tags=["say"])],
    )
    handler = DefaultRequestHandlerV2(
        agent_executor=Parrot(), task_store=InMemoryTaskStore(), agent_card=card
    )
    routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, rpc_url="/rpc")
    print(address, flush=True)
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning"))
    server.run(sockets=[listener])


async def ask(url, text):
    async with httpx.AsyncClient(timeout=60) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        for is_stream in (False, True):
            config = ClientConfig(httpx_client=http, streaming=is_stream)
            client = ClientFactory(config).create(card)
            message = a2a.Message(
                message_id=str(uuid.uuid4()), role=a2a.Role.ROLE_USER, parts=[a2a.Part(text=text)]
            )
            task, events = None, []
            async for event in client.send_message(a2a.SendMessageRequest(message=message)):
                events.append(event.WhichOneof("payload"))
                task = event.task.id or task
            kept = await client.get_task(a2a.GetTaskRequest(id=task))
            said = "".join(part.text for made in kept.artifacts for part in made.parts)
            state = a2a.TaskState.Name(kept.status.state)
            told = {"agent": card.name, "stream": is_stream, "events": events, "state": state, "text": said}
            print(json.dumps(told), flush=True)


if sys.argv[1] == "serve":
    serve()
else:
    asyncio.run(ask(sys.argv[2], sys.argv[3]))
