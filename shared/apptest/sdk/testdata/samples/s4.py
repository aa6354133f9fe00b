import os, requests
BASE_URL = os.getenv("BASE_URL", "http://127.0.0.1:8000")
API_KEY = os.getenv("APP_API_KEY")
url = f"{BASE_URL}/v1/openai/chat/completions"
headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
payload = {"model": "gpt-4o", "messages": [{"role":"user","content":"Tell me a joke."}]}
r = requests.post(url, headers=headers, json=payload, timeout=60)
print(r.status_code, r.json())
