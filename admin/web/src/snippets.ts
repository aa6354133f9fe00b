import { body, type Ask } from './chat';

// The same call as a program, in the languages of the documentation.

export const languages = ['curl', 'Python', 'Node', 'Go'] as const;
export type Language = (typeof languages)[number];

const indent = (text: string, by: string): string => text.split('\n').join(`\n${by}`);

/** python writes JSON as Python does. */
const python = (v: unknown): string => (v === true ? 'True' : v === false ? 'False' : v === null ? 'None' : JSON.stringify(v));

export function snippet(language: Language, url: string, ask: Ask, stream: boolean): string {
  const request = body(ask, stream);
  switch (language) {
    case 'curl':
      return `curl ${stream ? '-N ' : ''}${url}/v1/chat/completions \\\n  -H "Authorization: Bearer $TOKEN_RELAY_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(request, null, 2).replaceAll("'", "'\\''")}'`;
    case 'Python': {
      const args = Object.entries(request).map(([name, v]) => (name === 'messages' ? `messages=[\n        ${ask.messages.map((m) => JSON.stringify(m)).join(',\n        ')},\n    ]` : `${name}=${python(v)}`));
      const show = stream ? 'for chunk in answer:\n    if chunk.choices and chunk.choices[0].delta.content is not None:\n        print(chunk.choices[0].delta.content, end="", flush=True)' : 'print(answer.choices[0].message.content)';
      return `import os\nfrom openai import OpenAI\n\nclient = OpenAI(api_key=os.environ["TOKEN_RELAY_KEY"], base_url="${url}/v1")\nanswer = client.chat.completions.create(\n    ${args.join(',\n    ')},\n)\n${show}`;
    }
    case 'Node': {
      const show = stream ? "for await (const chunk of answer) process.stdout.write(chunk.choices[0]?.delta?.content ?? '');" : 'console.log(answer.choices[0].message.content);';
      return `import OpenAI from 'openai';\n\nconst client = new OpenAI({ apiKey: process.env.TOKEN_RELAY_KEY, baseURL: '${url}/v1' });\nconst answer = await client.chat.completions.create(${JSON.stringify(request, null, 2)});\n${show}`;
    }
    case 'Go': {
      const roles = { system: 'SystemMessage', user: 'UserMessage', assistant: 'AssistantMessage' };
      const more = Object.entries(request).flatMap(([name, v]) => {
        const field = { temperature: 'Temperature', max_tokens: 'MaxTokens', max_completion_tokens: 'MaxCompletionTokens' }[name];
        return field ? [`${field}: openai.${field === 'Temperature' ? 'Float' : 'Int'}(${String(v)}),`] : [];
      });
      const params = `openai.ChatCompletionNewParams{\n\tModel: ${JSON.stringify(ask.model)},\n\tMessages: []openai.ChatCompletionMessageParamUnion{\n\t\t${ask.messages.map((m) => `openai.${roles[m.role]}(${JSON.stringify(m.content)}),`).join('\n\t\t')}\n\t},\n${more.map((l) => `\t${l}\n`).join('')}}`;
      const call = stream
        ? `stream := client.Chat.Completions.NewStreaming(context.Background(), ${params})\nfor stream.Next() {\n\tif choices := stream.Current().Choices; len(choices) > 0 {\n\t\tfmt.Print(choices[0].Delta.Content)\n\t}\n}\nif err := stream.Err(); err != nil {\n\tpanic(err)\n}`
        : `answer, err := client.Chat.Completions.New(context.Background(), ${params})\nif err != nil {\n\tpanic(err)\n}\nfmt.Println(answer.Choices[0].Message.Content)`;
      return `package main\n\nimport (\n\t"context"\n\t"fmt"\n\t"os"\n\n\t"github.com/openai/openai-go/v3"\n\t"github.com/openai/openai-go/v3/option"\n)\n\nfunc main() {\n\tclient := openai.NewClient(option.WithAPIKey(os.Getenv("TOKEN_RELAY_KEY")), option.WithBaseURL("${url}/v1"))\n\t${indent(call, '\t')}\n}\n`;
    }
  }
}
