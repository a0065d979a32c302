/** What every example begins with: where the gateway is, and what to ask it. */
import type { ChatCompletionInput } from './generated/graphql.ts';

export interface Gateway {
  /** With its path: `http://localhost:3000/graphql`. */
  readonly url: string;
  readonly key: string;
}

/** The key is the one that a gateway without configuration has for trying it out. */
export const gateway: Gateway = {
  url: process.env['GATEWAY_URL'] ?? 'http://localhost:3000/graphql',
  key: process.env['GATEWAY_KEY'] ?? 'llmgw_test123456789abcdef0123456789abcdef0123456789abcdef0123456789',
};

/** The question of the command line. */
export const question: ChatCompletionInput = {
  model: process.env['MODEL'] ?? 'llama3.1:8b',
  messages: [{ role: 'USER', content: [{ text: process.argv[2] ?? 'Why is the sky blue?' }] }],
};
