/** The page brings everything along, runs its editor's workers from blobs, and talks to nobody but its own server. */
export const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'unsafe-inline' blob:",
  "style-src 'unsafe-inline'",
  'img-src data:',
  'font-src data:',
  'worker-src blob:',
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/**
 * What most visitors come for, the stream first: a tab each. Their arguments stand in the documents, because of the
 * variables of the first tab GraphiQL takes no notice.
 */
export const EXAMPLES: readonly string[] = [
  `# An answer, piece by piece as it is made. Stop it at any time: the model stops at once.
subscription StreamAnswer {
  chatCompletion(
    input: {
      model: "llama3.1:8b"
      messages: [{ role: USER, content: [{ text: "Why is the sky blue?" }] }]
    }
    coalesceMs: 50
  ) {
    __typename
    sequence
    ... on ChatStarted { model backend }
    ... on ChatReasoningDelta { reasoning }
    ... on ChatContentDelta { content }
    ... on ChatFinished {
      choices { finishReason }
      usage { promptTokens completionTokens }
      timings { totalMs }
    }
    ... on ChatFailed { error { code message retryable } }
  }
}
`,
  `# The same in one piece.
mutation Answer {
  createChatCompletion(
    input: {
      model: "llama3.1:8b"
      messages: [{ role: USER, content: [{ text: "Why is the sky blue?" }] }]
    }
  ) {
    __typename
    ... on ChatCompletion {
      model
      choices { message { content } finishReason }
      usage { totalTokens }
    }
    ... on Error { code message }
    ... on RateLimitedError { retryAfterMs }
  }
}
`,
  `# A question for which the model may call a tool. Send the result as another message: see docs/graphql.md.
mutation Tools {
  createChatCompletion(
    input: {
      model: "llama3.1:8b"
      messages: [{ role: USER, content: [{ text: "What is the weather in Oslo?" }] }]
      tools: [
        {
          name: "get_weather"
          description: "The weather in a city."
          parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] }
        }
      ]
    }
  ) {
    __typename
    ... on ChatCompletion {
      choices { finishReason message { content toolCalls { id name arguments } } }
    }
    ... on Error { code message }
  }
}
`,
  `# An answer that fits a JSON Schema. It is text all the same: parse it.
mutation StructuredOutput {
  createChatCompletion(
    input: {
      model: "llama3.1:8b"
      messages: [{ role: USER, content: [{ text: "Which is the largest city of Norway?" }] }]
      responseFormat: {
        jsonSchema: {
          name: "city"
          schema: {
            type: "object"
            properties: { name: { type: "string" }, population: { type: "integer" } }
            required: ["name", "population"]
          }
        }
      }
    }
  ) {
    __typename
    ... on ChatCompletion { choices { finishReason message { content } } }
    ... on Error { code message }
  }
}
`,
  `# Texts as vectors: what is alike in meaning is near to each other.
mutation Embeddings {
  createEmbeddings(input: { model: "nomic-embed-text", input: ["The sky is blue.", "Grass is green."] }) {
    __typename
    ... on Embeddings { model data { index vector } usage { promptTokens } }
    ... on Error { code message }
  }
}
`,
  `# Whose key this is, and what is left of its limits.
query Viewer {
  viewer {
    name
    scopes
    models
    limits { requests { limit remaining resetMs } tokens { limit remaining resetMs } }
    usageToday { requests promptTokens completionTokens }
  }
}
`,
  `# The same limits as they change: ask something in another tab.
subscription Limits {
  viewerLimits(everyMs: 1000) {
    mode
    requests { limit remaining resetMs }
    tokens { limit remaining resetMs }
    concurrency { limit remaining }
  }
}
`,
  `# Which models there are, and in whose memory they are now.
query Models {
  models {
    name
    capabilities
    contextLength
    parameterSize
    quantization
    backends { label isHealthy isLoaded inFlight }
  }
}
`,
  `# The latest requests: what became of them, and where their time went.
query Requests {
  requests(first: 10) {
    nodes {
      requestId
      model
      status
      startedAt
      usage { promptTokens completionTokens }
      timings { firstTokenMs totalMs tokensPerSecond }
    }
    pageInfo { hasNextPage endCursor }
  }
}
`,
  `# What each model was used for, day by day. Put in your own days.
query Usage {
  usage(from: "2026-01-01T00:00:00Z", to: "2027-01-01T00:00:00Z", interval: DAY, groupBy: [MODEL]) {
    start
    model
    requests
    errors
    promptTokens
    completionTokens
    totalMs { p50 p99 }
  }
}
`,
  `# All API keys. This needs a key with the scope KEYS_READ; one of the demo's is in src/core/demo-keys.ts.
query Keys {
  apiKeys(first: 20) {
    nodes {
      id
      name
      prefix
      scopes
      models
      limits { requestsPerMinute tokensPerMinute concurrentRequests }
      lastUsedAt
      expiresAt
      revokedAt
    }
    pageInfo { hasNextPage endCursor }
  }
}
`,
  `# A key for an application. This needs a key with the scope KEYS_WRITE. The secret is shown this once.
mutation CreateKey {
  createApiKey(
    input: {
      name: "my application"
      scopes: [CHAT, MODELS]
      limits: { requestsPerMinute: 60, tokensPerMinute: 100000, concurrentRequests: 5 }
    }
  ) {
    __typename
    ... on IssuedApiKey { secret apiKey { id name } }
    ... on Error { code message }
  }
}
`,
];

/**
 * GraphiQL as one page of some nine megabytes. It is loaded when it is first asked for, which in production is never.
 * @param key shown in the headers' editor.
 */
export async function renderPage(endpoint: string, key: string | undefined): Promise<string> {
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql');
  const headers = JSON.stringify({ authorization: `Bearer ${key ?? 'llmgw_…'}` }, undefined, 2);
  return renderGraphiQL({
    title: 'LLM gateway',
    endpoint,
    // The one protocol that carries the headers' editor to the server also for subscriptions.
    subscriptionsProtocol: 'SSE',
    // Of itself it would subscribe by GET, which is for queries only.
    method: 'POST',
    defaultHeaders: headers,
    defaultEditorToolsVisibility: 'headers',
    shouldPersistHeaders: false,
    schemaDescription: true,
    defaultTabs: EXAMPLES.map((query) => ({ query, headers })),
  });
}
