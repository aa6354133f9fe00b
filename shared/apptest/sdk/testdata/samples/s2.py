from openai import OpenAI

client = OpenAI(
    api_key="YOUR_API_KEY",
    base_url="https://relay.example/v1",
)

resp = client.chat.completions.create(
    model="claude-sonnet-4-5",  # or gpt-4o, gemini-2.5-pro, deepseek-reasoner…
    messages=[{"role": "user", "content": "Prove there are infinitely many primes."}],
)
print(resp.choices[0].message.content)
