"""Holds the OpenAPI document against the standard, against the tools, and against what the console really takes."""

import os
import re
import ssl

import httpx2
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

TLS = ssl.create_default_context(cafile=os.environ["HOUSE_CERTIFICATE"])
HEADERS = {"Authorization": f"Bearer {os.environ['HOUSE_TOKEN']}"}
http = httpx2.Client(verify=TLS, headers=HEADERS, base_url=os.environ["HOUSE_URL"], timeout=60)

answer = http.get("/api/v1/openapi.json")
assert answer.status_code == 200, answer
document = answer.json()
OpenAPIV31SpecValidator(document).validate()
stranger = httpx2.Client(verify=TLS, base_url=os.environ["HOUSE_URL"])
assert stranger.get("/api/v1/openapi.json").status_code == 401

tools = {tool["name"]: tool for tool in http.get("/api/v1/tools").json()}
operations = {
    operation["operationId"]: operation
    for path in document["paths"].values()
    for operation in path.values()
    if "operationId" in operation
}
assert operations.keys() == tools.keys(), operations.keys() ^ tools.keys()


def body_of(operation):
    return operation["requestBody"]["content"]["application/json"]


for name, operation in operations.items():
    body = body_of(operation)
    assert body["schema"]["properties"]["args"] == tools[name]["args_schema"], name
    for example in body["examples"].values():
        Draft202012Validator(body["schema"]).validate(example["value"])

# What a call answers is what its operation says.
for name, args in {"fs.read": {"path": "/etc/hostname"}, "disk.usage": {}, "process.list": {}, "time.now": {}}.items():
    answer = http.post(f"/api/v1/tools/{name}", json={"args": args})
    assert answer.status_code == 200, (name, answer.text)
    schema = operations[name]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator(schema).validate(answer.json())
refused = http.post("/api/v1/tools/fs.read", json={"args": {"path": "/nowhere"}})
Draft202012Validator(
    document["components"]["responses"]["Failure"]["content"]["application/json"]["schema"]
).validate(refused.json())

# OpenAI's routes ignore members that they do not know, and name the first one that they miss.
failure = document["components"]["responses"]["OpenAiFailure"]["content"]["application/json"]["schema"]
theirs = [path for path in document["paths"] if path.startswith("/v1/")]
for path in theirs:
    for operation in document["paths"][path].values():
        if "requestBody" in operation:
            refused = http.post(path, json={"surprise": 1})
            Draft202012Validator(failure).validate(refused.json())
            schema = body_of(operation)["schema"]
            assert refused.status_code == 400 and schema["additionalProperties"], refused.text
            assert refused.json()["error"]["param"] in schema["required"], refused.text
assert len(theirs) == 5, theirs

# The console's own routes name the members that they know when they are given one that they do not.
judged = 0
for path, methods in document["paths"].items():
    for method, operation in methods.items():
        if "operationId" in operation or path in theirs:
            continue
        for field in operation["parameters"]:
            if field["in"] == "path":
                path = path.replace("{" + field["name"] + "}", "1")
        queries = {field["name"] for field in operation["parameters"] if field["in"] == "query"}
        if queries:
            said = http.request(method, path, params={"surprise": "1"}).json()
        elif "requestBody" in operation:
            queries = set(body_of(operation)["schema"]["properties"])
            said = http.request(method, path, json={"surprise": 1}).json()
        else:
            continue
        known = set(re.findall(r"`(\w+)`", said["message"])) - {"surprise"}
        assert said["code"] == "invalid" and known == queries, (path, said, queries)
        judged += 1
assert judged >= 8, judged
print(f"OpenAPI 3.1: valid, {len(operations)} tools, {judged} bodies and queries as the console takes them")
