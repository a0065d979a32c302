import OpenAI from 'openai';
import type { ChatCompletionChunk, ChatCompletionFunctionTool } from 'openai/resources/chat/completions';

/** A running server, as its clients know it. */
export interface Subject {
  /** Without `/v1`. */
  readonly url: string;
  /** A key with the scopes of inference, not limited. */
  readonly key: string;
  /** A model that can call tools, one that can embed, and one whose name has a slash. */
  readonly models: {
    readonly chat: string;
    readonly embedding: string;
    readonly insert: string;
    readonly namespaced: string;
  };
  /** A message at which the chat model, left to itself, calls `get_weather` for some city. */
  readonly weatherQuestion: string;
  close(): Promise<void>;
}

export interface Session {
  readonly subject: Subject;
  readonly client: OpenAI;
}

export function openSession(subject: Subject): Session {
  return {
    subject,
    client: new OpenAI({ baseURL: `${subject.url}/v1`, apiKey: subject.key, maxRetries: 0 }),
  };
}

export const WEATHER: ChatCompletionFunctionTool = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather of a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

export const messages = [{ role: 'user' as const, content: 'Say hello.' }];

/** A request as no SDK would make it. */
export function post(
  { subject }: Session,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(subject.url + path, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { authorization: `Bearer ${subject.key}`, 'content-type': 'application/json', ...headers },
  });
}

export async function collect(stream: AsyncIterable<ChatCompletionChunk>): Promise<ChatCompletionChunk[]> {
  const chunks: ChatCompletionChunk[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}
