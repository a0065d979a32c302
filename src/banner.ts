/** What a newcomer sees first: where it listens, which key to use, and three things to paste. */
export interface BannerFacts {
  /** E.g. `http://localhost:3000`. */
  readonly url: string;
  /** The key to show; absent where there is none that everybody may know. */
  readonly demoKey?: string;
  readonly simulated: boolean;
  readonly embeddedDatabase: boolean;
  readonly model: string;
}

export function banner(facts: BannerFacts): string {
  const { url, simulated, embeddedDatabase, model } = facts;
  const key = facts.demoKey ?? '$LLM_GATEWAY_KEY';
  const body = JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: 'Hello!' }] });
  const lines = [
    '',
    `  LLM gateway   ${url}/v1`,
    `  Key           ${facts.demoKey ? `${key}   (a public demo key)` : 'make one: npm run keys -- create --name me'}`,
    `  Database      ${embeddedDatabase ? 'embedded (set DATABASE_URL for PostgreSQL)' : 'PostgreSQL'}`,
    ...(simulated
      ? [
          '  Models        SIMULATED: no Ollama answers at http://127.0.0.1:11434, so a simulator does.',
          '                No model is running. Start Ollama, or set OLLAMA_URLS, and restart.',
        ]
      : []),
    '',
    '  curl:',
    `    curl -N ${url}/v1/chat/completions -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" -d '${body}'`,
    '',
    '  OpenAI SDK:',
    `    node -e 'new (require("openai"))({ baseURL: "${url}/v1", apiKey: "${key}" }).chat.completions.create({ model: "${model}", messages: [{ role: "user", content: "Hello!" }] }).then((answer) => console.log(answer.choices[0].message.content))'`,
    '',
    '  Browser:',
    `    ${url}/docs`,
    '',
  ];
  return lines.join('\n');
}
