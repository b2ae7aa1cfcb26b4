"""Shows one tool as MCP lists it and as the OpenAPI document has it, as one JSON object."""

import asyncio
import json
import os
import ssl
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(name):
    headers = {"Authorization": f"Bearer {os.environ['HOUSE_TOKEN']}"}
    tls = ssl.create_default_context(cafile=os.environ["HOUSE_CERTIFICATE"])
    url = os.environ["HOUSE_URL"]
    async with httpx2.AsyncClient(verify=tls, headers=headers, timeout=60) as http:
        document = (await http.get(url + "/api/v1/openapi.json")).json()
        async with Client(streamable_http_client(url + "/mcp", http_client=http)) as client:
            page = await client.list_tools()
            tools = page.tools
            while page.next_cursor is not None:
                page = await client.list_tools(cursor=page.next_cursor)
                tools += page.tools
            tool = next(tool for tool in tools if tool.name == name)
            called = await client.call_tool(name, {"path": "/proc/version"})
    operation = document["paths"][f"/api/v1/tools/{name}"]["post"]
    print(json.dumps({"tool": tool.model_dump(), "called": called.structured_content, "operation": operation}))


asyncio.run(main(sys.argv[1]))
