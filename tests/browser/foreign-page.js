/** What a page of another origin does with the gateway. Loaded by the browser, not by the tests. */
import { createClient } from '/graphql-ws/client.js';

const post = (url, key, body) =>
  fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

/** Reads an answer as it comes. */
export async function streamChat({ gateway, key, body }) {
  const response = await post(`${gateway}/v1/chat/completions`, key, body);
  const chunks = [];
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) chunks.push(chunk);
  return { status: response.status, requestId: response.headers.get('x-request-id'), chunks };
}

export async function query({ gateway, key, body }) {
  const response = await post(`${gateway}/graphql`, key, body);
  return {
    status: response.status,
    requestId: response.headers.get('x-request-id'),
    body: await response.json(),
  };
}

/** Rejects where the gateway lets nothing of this origin in. */
export async function subscribe({ gateway, key, body }) {
  const client = createClient({
    url: `${gateway.replace('http', 'ws')}/graphql`,
    connectionParams: { authorization: `Bearer ${key}` },
    retryAttempts: 0,
  });
  const results = [];
  for await (const result of client.iterate(body)) results.push(result);
  return results;
}

/** What the official SDK gets out of the gateway, and what its errors look like here. */
export async function useOpenAI({ gateway, key, body }) {
  const { default: OpenAI } = await import('/openai/index.mjs');
  const options = { baseURL: `${gateway}/v1`, maxRetries: 0, dangerouslyAllowBrowser: true };
  const client = new OpenAI({ ...options, apiKey: key });
  const models = (await client.models.list()).data.map(({ id }) => id);
  const { data, response } = await client.chat.completions.create(body).withResponse();

  let streamed = '';
  for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
    streamed += chunk.choices[0]?.delta.content ?? '';
  }
  const stranger = new OpenAI({ ...options, apiKey: 'llmgw_thiskeyisnobodys000000000000000' });
  const refusal = await stranger.models.list().catch((error) => error);
  return {
    models,
    content: data.choices[0].message.content,
    remaining: response.headers.get('x-ratelimit-remaining-requests'),
    streamed,
    refusal: { name: refusal.constructor.name, status: refusal.status, requestId: refusal.requestID },
  };
}

/** Leaves a stream that would never end. @returns how many chunks there were. */
export async function leaveOpenAI({ gateway, key, body }) {
  const { default: OpenAI } = await import('/openai/index.mjs');
  const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key, dangerouslyAllowBrowser: true });
  let chunks = 0;
  for await (const _chunk of await client.chat.completions.create({ ...body, stream: true })) {
    if (++chunks === 5) break;
  }
  return chunks;
}
