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
  `# Which models there are, and where they are in memory.
query Models {
  models {
    name
    capabilities
    contextLength
    parameterSize
    quantization
    backends { __typename }
  }
}
`,
  `# The latest requests.
query Requests {
  requests(first: 10) {
    edges { node { __typename id } }
    pageInfo { hasNextPage endCursor }
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
