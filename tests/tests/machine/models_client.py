"""Sends a file to the booted appliance as the console's page does, and asks the tactical tier for a text."""

import hashlib
import http.client
import json
import os

from appliance import PLACE, TLS, TOKEN


def ask(method, path, body=None, token=TOKEN, kind="application/octet-stream"):
    connection = http.client.HTTPSConnection(PLACE.hostname, PLACE.port, context=TLS, timeout=120)
    connection.request(method, path, body, {"authorization": f"Bearer {token}", "content-type": kind})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


BASE = "/api/v1/uploads"
sent = os.urandom(3 << 20)
half = len(sent) // 2
status, there = ask("PUT", f"{BASE}/sent.bin?size={len(sent)}&offset=0", sent[:half])
assert (status, there["bytes"], there["complete"]) == (200, half, False), (status, there)
status, error = ask("PUT", f"{BASE}/sent.bin?size={len(sent)}&offset=1", sent[1:])
assert status == 409 and f"offset={half}" in error["message"], (status, error)
status, there = ask("PUT", f"{BASE}/sent.bin?size={len(sent)}&offset={half}", sent[half:])
assert (status, there["complete"]) == (200, True), (status, there)
status, listed = ask("GET", BASE)
assert "sent.bin" in [one["name"] for one in listed["uploads"]], listed
arguments = json.dumps({"args": {"path": there["path"]}, "why": "test"})
status, hashed = ask("POST", "/api/v1/tools/fs.hash", arguments, kind="application/json")
assert hashed["result"]["sha256"] == hashlib.sha256(sent).hexdigest(), (status, hashed)
status, refused = ask("POST", "/api/v1/tools/model.import", arguments, kind="application/json")
assert status == 400 and "is no GGUF file" in refused["message"], (status, refused)
for name, size, token, wanted in [
    ("..%2Fx", 1, TOKEN, 400),
    ("huge", 60 << 30, TOKEN, 503),
    ("x", 1, "nobody", 401),
]:
    status, error = ask("PUT", f"{BASE}/{name}?size={size}", b"x", token)
    assert status == wanted, (name, status, error)
status, _ = ask("DELETE", f"{BASE}/sent.bin")
assert status == 200

asked = {"model": "tactical", "max_tokens": 8, "messages": [{"role": "user", "content": "Who are you?"}]}
status, answer = ask("POST", "/v1/chat/completions", json.dumps(asked), kind="application/json")
assert status == 200 and answer["usage"]["completion_tokens"] > 0, (status, answer)
print(f"sent {len(sent)} bytes in two pieces; the tactical tier wrote {answer['choices'][0]['message']['content']!r}")
