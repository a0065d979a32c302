import type { ChatRequest, Message } from '../../../src/domain/chat.ts';
import type { Capability, Model } from '../../../src/domain/model.ts';

/** A chat request that asks for nothing special. */
export function chatRequest(change: Partial<ChatRequest> = {}): ChatRequest {
  return {
    kind: 'chat',
    model: 'llama3.1:8b',
    messages: [user('Hello')],
    tools: [],
    toolChoice: { type: 'auto' },
    parallelToolCalls: true,
    responseFormat: { type: 'text' },
    sampling: {},
    choices: 1,
    ...change,
  };
}

export function user(text: string): Message {
  return { role: 'user', content: [{ type: 'text', text }] };
}

export function model(...capabilities: Capability[]): Model {
  return { id: 'llama3.1:8b', capabilities: ['completion', ...capabilities] };
}

export const weather = {
  name: 'weather',
  description: 'The weather of a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
} as const;
