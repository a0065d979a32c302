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
