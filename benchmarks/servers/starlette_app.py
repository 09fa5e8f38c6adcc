"""The contender ``starlette``: a token in the first frame, rooms, and ``send_text`` to each member of the room."""

import itertools
import os
import time
from collections import defaultdict

import jwt
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

rooms: defaultdict[str, set[WebSocket]] = defaultdict(set)
numbers = itertools.count(1)


async def serve(websocket: WebSocket) -> None:
    await websocket.accept()
    first = msgspec.json.decode(await websocket.receive_text())
    user = jwt.decode(first["token"], os.environ["BENCH_SECRET"], ["HS256"], audience="skillhub-chat")["sub"]
    room = first["room"]
    rooms[room].add(websocket)
    await websocket.send_text("ok")
    try:
        while True:
            sent = msgspec.json.decode(await websocket.receive_text())
            event = {
                "room": room,
                "seq": next(numbers),
                "ts": time.time_ns() // 1_000_000,
                "sender": user,
                "text": sent["text"],
            }
            text = msgspec.json.encode(event).decode()
            for member in tuple(rooms[room]):
                await member.send_text(text)
    except WebSocketDisconnect:
        return
    finally:
        rooms[room].discard(websocket)


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/ws", serve)]),
        host="127.0.0.1",
        port=int(os.environ["BENCH_PORT"]),
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
        backlog=4096,
    )
