"""Has the appliance write a few tokens, so that its own account tells how fast it does so."""

import openai

from appliance import TLS, TOKEN, URL

http = openai.DefaultHttpxClient(verify=TLS)
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=TOKEN, http_client=http, timeout=600, max_retries=0)
model = client.models.list().data[0].id
answer = client.completions.create(model=model, prompt="Once upon a time", max_tokens=16, temperature=0)
print(answer.usage)
