from openai import OpenAI

client = OpenAI(
    api_key="YOUR_API_KEY",
    base_url="https://relay.example/v1",
)

response = client.chat.completions.create(
    model="gpt-5.4-mini",
    messages=[
        {"role": "user", "content": "Hello, please introduce yourself."}
    ],
)

print(response.choices[0].message.content)
