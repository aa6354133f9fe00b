from langchain_openai import ChatOpenAI
from langchain_core.messages import SystemMessage, HumanMessage
llm = ChatOpenAI(base_url="http://127.0.0.1:8000/v1/openai", api_key="YOUR_PROXY_API_KEY", model="gpt-4o")
msgs = [SystemMessage(content="Be brief."), HumanMessage(content="One-line proxy joke.")]
print(llm.invoke(msgs).content)
for ch in llm.stream(msgs):
    if ch.content: print(ch.content, end="")
