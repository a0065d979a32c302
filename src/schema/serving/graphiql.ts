/** One operation to try, as a tab of the page. */
interface Example {
  readonly query: string;
  readonly variables?: object;
}

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

const CHAT_INPUT = {
  input: {
    model: 'llama3.1:8b',
    messages: [{ role: 'USER', content: [{ text: 'Why is the sky blue?' }] }],
  },
};

/** What most visitors come for, the stream first. */
export const EXAMPLES: readonly Example[] = [
  {
    query: `# An answer, piece by piece as it is made. Stop it at any time: the model stops at once.
subscription StreamAnswer($input: ChatCompletionInput!) {
  chatCompletion(input: $input, coalesceMs: 50) {
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
    variables: CHAT_INPUT,
  },
  {
    query: `# The same in one piece.
mutation Answer($input: ChatCompletionInput!) {
  createChatCompletion(input: $input) {
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
    variables: CHAT_INPUT,
  },
  {
    query: `# Whose key this is, and what is left of its limits.
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
  },
  {
    query: `# Which models there are, and where they are in memory.
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
  },
  {
    query: `# The latest requests.
query Requests {
  requests(first: 10) {
    edges { node { __typename id } }
    pageInfo { hasNextPage endCursor }
  }
}
`,
  },
];

/**
 * GraphiQL as one page of some nine megabytes. It is loaded when it is first asked for, which in production is never.
 * @param key shown in the headers' editor; only for keys that are public anyway.
 */
export async function renderPage(endpoint: string, key: string | undefined): Promise<string> {
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql');
  return renderGraphiQL({
    title: 'LLM gateway',
    endpoint,
    // The one protocol that carries the headers' editor to the server also for subscriptions.
    subscriptionsProtocol: 'SSE',
    defaultHeaders: JSON.stringify({ authorization: `Bearer ${key ?? 'llmgw_…'}` }, undefined, 2),
    defaultEditorToolsVisibility: 'headers',
    shouldPersistHeaders: false,
    schemaDescription: true,
    defaultTabs: EXAMPLES.map(({ query, variables }) => ({
      query,
      ...(variables && { variables: JSON.stringify(variables, undefined, 2) }),
      headers: JSON.stringify({ authorization: `Bearer ${key ?? 'llmgw_…'}` }, undefined, 2),
    })),
  });
}
