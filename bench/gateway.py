"""One host's way to the servers: TCP ports that lead to the sockets of PostgreSQL and Valkey and to the sink.

Run as `python gateway.py ADDRESS PORT=TARGET…`, a target being a unix socket's path or a port of 127.0.0.1. It is a
process of its own: stopped (SIGSTOP) it is a network that swallows what is sent, for as long as that lasts.
"""

import asyncio
import contextlib
import functools
import sys

CHUNK_BYTES = 65536


async def serve(address: str, routes: dict[int, str]) -> None:
    """Forward connections until the process is ended."""
    async with contextlib.AsyncExitStack() as stack:
        for port, target in routes.items():
            server = await asyncio.start_server(functools.partial(_forward, target), address, port)
            await stack.enter_async_context(server)
        await asyncio.Event().wait()


async def _forward(target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        if target.startswith("/"):
            there = await asyncio.open_unix_connection(target)
        else:
            there = await asyncio.open_connection("127.0.0.1", int(target))
    except OSError:
        writer.close()
        return
    await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until one side ends, and end the other."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()


def _routes(words: list[str]) -> dict[int, str]:
    pairs = (word.partition("=") for word in words)
    return {int(port): target for port, _, target in pairs}


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], _routes(sys.argv[2:])))
