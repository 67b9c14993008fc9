# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of one event loop: requests at ``/``, a WebSocket at ``/ws``, server-sent events at ``/events``."""

from __future__ import annotations

import asyncio
import itertools

from aiohttp import web

count = itertools.count(1)


async def answer(request: web.Request) -> web.Response:
    """Say the client's number, and how many requests there were."""
    return web.Response(text=f"{request.query['n']} {next(count)}")


async def talk(request: web.Request) -> web.WebSocketResponse:
    """Answer each message in the same way."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"{message.data} {next(count)}")
    return socket


async def tell(request: web.Request) -> web.StreamResponse:
    """Count, without being asked."""
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    for number in itertools.count(1):
        await stream.write(f"data: {number}\n\n".encode())
        await asyncio.sleep(0.01)
    return stream


app = web.Application()
app.add_routes([web.get("/", answer), web.get("/ws", talk), web.get("/events", tell)])
web.run_app(app, port=8000, print=None)
