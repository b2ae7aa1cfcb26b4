"""Asks the Model Context Protocol with the official SDK, over every way that there is, what an assistant would ask."""

import asyncio
import json
import os
import ssl
import sys

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

URL = os.environ["HOUSE_URL"] + "/mcp"
TOKEN = os.environ["HOUSE_TOKEN"]
FILES = os.environ["HOUSE_FILES"]
AIOSCTL = os.environ["HOUSE_AIOSCTL"]
TLS = ssl.create_default_context(cafile=os.environ["HOUSE_CERTIFICATE"])


def web(**headers):
    return httpx2.AsyncClient(verify=TLS, headers={"Authorization": f"Bearer {TOKEN}", **headers}, timeout=60)


async def all_tools(client):
    tools, cursor = {}, None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools.update({tool.name: tool for tool in page.tools})
        cursor = page.next_cursor
        if cursor is None:
            return tools


def refused(result, *words):
    assert result.is_error, result
    text = result.content[0].text
    assert all(word in text for word in words), text


async def converse(client, way):
    tools = await all_tools(client)
    assert {"fs.read", "fs.write", "service.restart", "undo", "audit"} <= tools.keys(), tools.keys()
    assert "why" in client.instructions

    read, write, restart = tools["fs.read"], tools["fs.write"], tools["service.restart"]
    hints = read.annotations
    assert (hints.read_only_hint, hints.idempotent_hint, hints.open_world_hint) == (True, True, False), hints
    assert write.annotations.read_only_hint is False and write.annotations.destructive_hint is False
    assert restart.annotations.destructive_hint is True
    assert tools["net.resolve"].annotations.open_world_hint is True
    assert "path" in read.input_schema["required"] and "why" in write.input_schema["required"]
    for tool in tools.values():
        assert tool.description and tool.output_schema["type"] == "object", tool

    # A look. The SDK itself holds the structured result against the tool's schema.
    path = f"{FILES}/{way}.txt"
    result = await client.call_tool("fs.read", {"path": "/etc/hostname"})
    assert not result.is_error and result.structured_content["result"]["path"] == "/etc/hostname", result
    assert json.loads(result.content[0].text) == result.structured_content

    # A change: refused without a reason, shown by a dry run, made, and taken back.
    wish = {"path": path, "content": "from an assistant\n"}
    refused(await client.call_tool("fs.write", wish), "reason")
    dry = await client.call_tool("fs.write", {**wish, "why": "to try", "dry_run": True})
    assert dry.structured_content["result"]["would"] and not os.path.exists(path), dry
    made = (await client.call_tool("fs.write", {**wish, "why": f"asked over {way}"})).structured_content
    assert made["undoable"] and open(path).read() == wish["content"], made
    undone = await client.call_tool("undo", {"audit": made["audit"], "why": "it was a test"})
    assert undone.structured_content["result"]["undone"] == made["audit"] and not os.path.exists(path), undone
    records = (await client.call_tool("audit", {"from": made["audit"], "limit": 1})).structured_content["records"]
    assert records[0]["entry"]["Begin"]["call"]["why"] == f"asked over {way}", records

    # What goes wrong is told in the broker's own sentence.
    refused(await client.call_tool("fs.read", {"path": "/nowhere"}), "/nowhere")
    refused(await client.call_tool("fs.read", {"path": 7}), "do not fit")
    refused(await client.call_tool("fs.read", {"path": "/etc/hostname", "surprise": 1}), "surprise")
    refused(await client.call_tool("undo", {"audit": 10**9, "why": "x"}), str(10**9))
    refused(await client.call_tool("audit", {"limit": 0}), "limit")
    try:
        await client.call_tool("fs.fly", {})
        raise AssertionError("there is no such tool")
    except MCPError as error:
        assert "fs.fly" in str(error), error

    # Progress, in numbers that grow.
    big = f"{FILES}/big"
    with open(big, "wb") as file:
        file.truncate(256 << 20)
    steps = []

    async def step(progress, total, message):
        steps.append((progress, total, message))

    result = await client.call_tool("fs.hash", {"path": big}, progress_callback=step)
    assert result.structured_content["result"]["size"] == 256 << 20, result
    assert len(steps) > 3 and all(a[0] < b[0] for a, b in zip(steps, steps[1:])), steps
    assert steps[-1][1:] == (100, "reading"), steps[-1]

    # Taken back in the middle: the broker ends the work and says so in its log.
    with open(big, "wb") as file:
        file.truncate(1 << 40)
    begun = anyio.Event()

    async def first(progress, total, message):
        begun.set()

    async with anyio.create_task_group() as group:
        async def hash_it():
            await client.call_tool("fs.hash", {"path": big}, progress_callback=first)

        group.start_soon(hash_it)
        with anyio.fail_after(30):
            await begun.wait()
        group.cancel_scope.cancel()
    os.remove(big)
    with anyio.fail_after(30):
        while True:
            records = (await client.call_tool("audit", {"limit": 20})).structured_content["records"]
            if any("cancelled by the caller" in json.dumps(record) for record in records):
                break
    # So that the next way does not find this one's record.
    for _ in range(20):
        await client.call_tool("fs.read", {"path": "/etc/hostname"})
    print(f"{way}: {client.protocol_version}, {len(tools)} tools, {len(steps)} steps of progress")


async def over_the_web(way, **choice):
    async with web() as http:
        async with Client(streamable_http_client(URL, http_client=http), **choice) as client:
            await converse(client, way)


# A program that is connected to the local socket: what it reads and writes is what the console does.
PIPE = """
import os, socket, sys, threading
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
def back():
    while piece := peer.recv(65536):
        os.write(1, piece)
threading.Thread(target=back, daemon=True).start()
while piece := os.read(0, 65536):
    peer.sendall(piece)
"""


async def strangers_have_no_socket():
    """A process of another user is turned away without a word."""
    path = os.environ["HOUSE_RUN"] + "/mcp.sock"
    for folder in (os.path.dirname(os.path.dirname(path)), os.path.dirname(path)):
        os.chmod(folder, 0o755)
    os.chmod(path, 0o666)
    ask = """
import os, socket, sys
os.setuid(65534)
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
print(len(peer.recv(1)))
"""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    said = await anyio.run_process([*sudo, sys.executable, "-c", ask, path])
    assert said.stdout == b"0\n", said
    print("local socket: a stranger is turned away")


def bridge(*command):
    return StdioServerParameters(command=command[0], args=list(command[1:]), env=dict(os.environ))


async def over_stdio(way, parameters, **choice):
    async with Client(parameters, **choice) as client:
        await converse(client, way)


async def the_door_is_shut():
    """What has no login, comes from another site's page, or belongs to somebody else is refused."""
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    accept = {"Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(verify=TLS, headers=accept) as stranger:
        answer = await stranger.post(URL, json=hello)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer", answer
        wrong = await stranger.post(URL, json=hello, headers={"Authorization": "Bearer x"})
        assert wrong.status_code == 401, wrong
    async with web(**accept) as http:
        for origin in ("https://evil.example", "null", URL.replace("https", "http")):
            answer = await http.post(URL, json=hello, headers={"Origin": origin})
            assert answer.status_code == 403, (origin, answer)
        ours = await http.post(URL, json=hello, headers={"Origin": os.environ["HOUSE_URL"]})
        assert ours.status_code == 200 and "mcp-session-id" in ours.headers, ours
        assert (await http.get(URL)).status_code == 405
        lost = await http.post(URL, json=hello, headers={"Mcp-Session-Id": "made-up"})
        assert lost.status_code == 404, lost
        long = await http.post(URL, content=b" " * 300_000, headers={"Content-Type": "application/json"})
        assert long.status_code == 413, long
        for nonsense in (b"{", b"[]", b"null", b'{"jsonrpc":"2.0"}', b"\xff"):
            answer = await http.post(URL, content=nonsense, headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500, (nonsense, answer)
        # Sessions are bounded, and come back when they are ended.
        names = []
        while True:
            answer = await http.post(URL, json=hello)
            if answer.status_code != 200:
                assert answer.status_code == 429 and answer.json()["code"] == "busy", answer
                break
            names.append(answer.headers["mcp-session-id"])
            assert len(names) <= 64, "sessions without end"
        for name in [*names, ours.headers["mcp-session-id"]]:
            assert (await http.delete(URL, headers={"Mcp-Session-Id": name})).status_code in (200, 202, 204)
        assert (await http.post(URL, json=hello)).status_code == 200
    print(f"the door: shut, {len(names)} sessions at most")


async def main():
    await the_door_is_shut()
    await over_the_web("https")
    await over_the_web("https-before-2026", mode="legacy")
    await over_stdio("aiosctl", bridge(AIOSCTL, "mcp"))
    await over_stdio("aiosctl-before-2026", bridge(AIOSCTL, "mcp"), mode="legacy")
    await over_stdio("local-socket", bridge(sys.executable, "-c", PIPE, os.environ["HOUSE_RUN"] + "/mcp.sock"))
    await strangers_have_no_socket()


asyncio.run(main())
