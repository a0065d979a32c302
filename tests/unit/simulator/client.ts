import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import type { Simulator } from '../../../simulator/server.ts';

/** An answer, or as much of it as came. */
export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
  /** The pieces as they arrived: one per chunk of the transfer. */
  readonly pieces: readonly Buffer[];
  /** The connection broke before the answer was complete. */
  readonly broken: boolean;
}

export interface Line {
  readonly [key: string]: unknown;
  readonly model: string;
  readonly created_at: string;
  readonly message: {
    readonly content: string;
    readonly thinking?: string;
    readonly tool_calls?: readonly { readonly id?: string; readonly function: Record<string, unknown> }[];
  };
  readonly done: boolean;
  readonly done_reason?: string;
  readonly eval_count?: number;
  readonly error?: string;
}

export interface SendOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request of its own connection that the test can leave at any moment. */
export interface Sent {
  readonly request: ClientRequest;
  /** When the headers are there. Rejects where none come. */
  readonly response: Promise<IncomingMessage>;
  leave(): void;
}

export function send(simulator: Simulator, path: string, body: unknown, options: SendOptions = {}): Sent {
  const sent = request(`${simulator.url}${path}`, {
    method: options.method ?? (body === undefined ? 'GET' : 'POST'),
    headers: { ...options.headers },
    agent: false,
  });
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve);
    // After the response its own end tells the story; an unread error must not end the test run.
    sent.on('error', reject);
  });
  response.catch(() => undefined);
  sent.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
  return { request: sent, response, leave: () => sent.destroy() };
}

/** @throws where the connection ends before headers. */
export async function ask(
  simulator: Simulator,
  path: string,
  body?: unknown,
  options: SendOptions = {},
): Promise<Reply> {
  const response = await send(simulator, path, body, options).response;
  const pieces: Buffer[] = [];
  let broken = false;
  await new Promise<void>((resolve) => {
    response.on('data', (piece: Buffer) => pieces.push(piece));
    response.on('error', () => {
      broken = true;
    });
    response.on('close', resolve);
  });
  const whole = Buffer.concat(pieces);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: whole,
    text: whole.toString('utf8'),
    pieces,
    broken: broken || !response.complete,
  };
}

/** A chat with one message of the user. */
export function chat(said = 'Hello', more: object = {}) {
  return { model: 'llama3.1:8b', messages: [{ role: 'user', content: said }], ...more };
}

export function linesOf(reply: Reply): readonly Line[] {
  return reply.text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

export function contentOf(lines: readonly Line[]): string {
  return lines.map((line) => line.message?.content ?? '').join('');
}

export async function askLines(
  simulator: Simulator,
  body: unknown,
  options?: SendOptions,
): Promise<readonly Line[]> {
  return linesOf(await ask(simulator, '/api/chat', body, options));
}
