"""What a check is made of, and which methods of the SDK were called in those that passed."""

import asyncio
import inspect
import json
import signal
import sys
import threading
import traceback
from concurrent.futures import Future
from contextlib import contextmanager

import muxi
from muxi import errors

import settings

CHECK_SECONDS_MAX = 60

failures = 0
# Methods as `formation.chat`: called in the check under way, in those that passed, and in those that
# passed although the method cannot do what it is for.
under_way, served, refused_methods = set(), set(), set()


class Watched:
    """A client, or a module, whose calls are noted for the check under way."""

    def __init__(self, watched, kind):
        self._watched, self._kind = watched, kind

    def __getattr__(self, name):
        if not name.startswith("_"):
            under_way.add(f"{self._kind}.{name}")
        return getattr(self._watched, name)


def public_methods(server_class, formation_class):
    """Everything that the SDK lets its users call."""

    def names(owner, wanted):
        return {name for name, _ in inspect.getmembers(owner, wanted) if not name.startswith("_")}

    def own_functions(module):
        return lambda it: inspect.isfunction(it) and it.__module__ == module.__name__

    groups = {
        "server": names(server_class, inspect.isfunction),
        "formation": names(formation_class, inspect.isfunction),
        "webhook": names(muxi.webhook, own_functions(muxi.webhook)),
        "muxi": {name for name in muxi.__all__ if inspect.isfunction(getattr(muxi, name))},
    }
    return {f"{kind}.{name}" for kind, found in groups.items() for name in found}


def check_coverage(methods):
    """Each method does what it is for in a passed check, or is known not to and refused as it should be."""
    with open(settings.CANNOT_PASS, encoding="utf-8") as file:
        known = {it["method"] for it in json.load(file) if "python" in it["sdks"]}
    with check(f"every public method was called: {len(methods)}"):
        equal(sorted(methods - served - refused_methods), [])
    with check(f"methods that cannot pass are the {len(known)} that are known"):
        equal((sorted(known - methods), sorted(known & served)), ([], []))
        equal(sorted(known ^ refused_methods), [])


@contextmanager
def check(name, *, covers=served):
    """Prints how the block ended; a failure does not keep later checks from running."""
    global failures
    under_way.clear()
    signal.alarm(CHECK_SECONDS_MAX)
    try:
        yield
    except Exception as error:
        failures += 1
        # The first frame is this one, the second the check's own.
        where = traceback.extract_tb(error.__traceback__)[1]
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"FAILED {name}: {why} (line {where.lineno})")
    else:
        covers |= under_way
        print(f"ok {name}")
    finally:
        signal.alarm(0)
        sys.stdout.flush()


def cannot_pass(name):
    """A check that a method is refused as cannot-pass.json says."""
    return check(name, covers=refused_methods)


def out_of_time(_signal, _frame):
    raise TimeoutError(f"no end within {CHECK_SECONDS_MAX} seconds")


async def result(value):
    """What either client's call comes to."""
    return await value if inspect.isawaitable(value) else value


async def each(stream):
    """The frames of either client's stream."""
    stream = await result(stream)
    if hasattr(stream, "__aiter__"):
        async for frame in stream:
            yield frame
    else:
        for frame in stream:
            yield frame


async def until(stream, is_last):
    """The frames of a stream up to the first that `is_last` says yes to; then it is closed."""
    frames, stream = [], await result(stream)
    try:
        async for frame in each(stream):
            frames.append(frame)
            if is_last(frame):
                return frames
    finally:
        if hasattr(stream, "aclose"):
            await stream.aclose()
        else:
            stream.close()
    raise AssertionError(f"the stream ended with {frames[-3:]}")


async def while_doing(stream, is_last, act):
    """The frames of an endless stream up to `is_last`. No frame tells that it is open, so `act` is done
    until one of its events is heard."""
    stream = await result(stream)
    if hasattr(stream, "__aiter__"):
        listener = asyncio.create_task(until(stream, is_last))
    else:
        # A blocking stream needs a thread; as a daemon, so that none holds the driver up.
        listener = Future()

        def listen():
            try:
                listener.set_result(asyncio.run(until(stream, is_last)))
            except BaseException as error:
                listener.set_exception(error)

        threading.Thread(target=listen, daemon=True).start()
    while not listener.done():
        await act()
        await asyncio.sleep(0.05)
    return listener.result()


async def eventually(call, is_wanted):
    """Calls until the answer is the wanted one; the check's own time ends it."""
    while True:
        answer = await result(call())
        if is_wanted(answer):
            return answer
        await asyncio.sleep(0.05)


async def refused(wanted, call):
    """The error of a call that must end in exactly that class."""
    try:
        value = await result(call())
    except errors.MuxiError as error:
        assert type(error) is wanted, f"{type(error).__name__} {error.status_code}: {error}"
        return error
    raise AssertionError(f"no {wanted.__name__}, but {value!r}")


def equal(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


signal.signal(signal.SIGALRM, out_of_time)
