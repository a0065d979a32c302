import { type ClientRequest, type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { parseJson } from './json.ts';

/** The deployment did not answer. Its message says how, for people. */
export class NoAnswer extends Error {}

/** Asks one deployment, each time on a connection of its own, so that whatever balances has a choice to make. */
export interface Client {
  /** @throws NoAnswer */
  ask(path: string, asked?: Asked): Promise<Answer>;
  /** Resolves when the status is there. @throws NoAnswer, also from the pieces. */
  stream(path: string, asked?: Asked): Promise<Streamed>;
  /** The address of the WebSocket at a path. */
  socketUrl(path: string): string;
  /** Aborted when what the client is for has taken too long. */
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

export interface Asked {
  /** POST by default where there is a body, else GET. */
  readonly method?: string;
  /** Sent as JSON, or as it is where it is text. */
  readonly body?: unknown;
  /** Instead of the given one; null: none. */
  readonly key?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** The longest wait for the whole answer. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

interface Head {
  readonly status: number;
  /** Every header of that name, as it came: one that was sent twice is there twice. */
  values(name: string): readonly string[];
  header(name: string): string | undefined;
}

export interface Answer extends Head {
  readonly text: string;
  /** Undefined where the body is not JSON. */
  readonly json: unknown;
  readonly ms: number;
}

export interface Streamed extends Head {
  /** The body as it comes, a piece for each read. Leaving the loop ends the connection. */
  readonly pieces: AsyncIterable<string>;
}

export interface ClientOptions {
  readonly url: string;
  readonly key: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** More than any answer to what is asked here. */
const MAX_BODY_LENGTH = 8 * 1024 * 1024;

/** @throws NoAnswer */
export async function readAll(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) {
    text += piece;
    if (text.length > MAX_BODY_LENGTH) throw new NoAnswer('an answer without end');
  }
  return text;
}

export function createClient(options: ClientOptions): Client {
  const { url, signal, timeoutMs } = options;
  const client: Client = {
    async ask(path, asked) {
      const begun = performance.now();
      const { pieces, ...head } = await client.stream(path, asked);
      const text = await readAll(pieces);
      return { ...head, text, json: parseJson(text), ms: performance.now() - begun };
    },
    async stream(path, asked = {}) {
      const limit = AbortSignal.timeout(asked.timeoutMs ?? timeoutMs);
      const signals = [signal, limit, ...(asked.signal ? [asked.signal] : [])];
      const response = await send(url + path, options.key, asked, AbortSignal.any(signals)).catch(fail);
      return { ...headOf(response), pieces: piecesOf(response) };
    },
    socketUrl: (path) => url.replace(/^http/, 'ws') + path,
    signal,
    timeoutMs,
  };
  return client;
}

function send(url: string, key: string, asked: Asked, signal: AbortSignal): Promise<IncomingMessage> {
  const { body, method = body === undefined ? 'GET' : 'POST' } = asked;
  const authorization = asked.key === null ? undefined : `Bearer ${asked.key ?? key}`;
  const headers = {
    ...(authorization && { authorization }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
    ...asked.headers,
  };
  const request = url.startsWith('https:') ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    const sent: ClientRequest = request(url, { method, headers, signal, agent: false }, resolve);
    sent.on('error', reject);
    sent.end(typeof body === 'string' || body === undefined ? body : JSON.stringify(body));
  });
}

function headOf({ statusCode = 0, rawHeaders }: IncomingMessage): Head {
  const values = (name: string) =>
    rawHeaders.filter((_value, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name);
  return { status: statusCode, values, header: (name) => values(name)[0] };
}

async function* piecesOf(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8');
  try {
    for await (const piece of response) yield String(piece);
  } catch (error) {
    fail(error);
  } finally {
    response.destroy();
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ABORT_ERR: 'no answer in time',
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET:
    'the connection was closed without an answer; nginx does so to names it does not serve (server_name)',
  ENOTFOUND: 'the name leads nowhere',
  EHOSTUNREACH: 'the address cannot be reached',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate is not trusted; NODE_EXTRA_CA_CERTS may name its file',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate is not trusted; NODE_EXTRA_CA_CERTS may name its authority',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'the certificate is not trusted; NODE_EXTRA_CA_CERTS may name its authority',
};

function fail(error: unknown): never {
  if (error instanceof NoAnswer) throw error;
  const isError = error instanceof Error;
  const code = isError && 'code' in error ? String(error.code) : '';
  throw new NoAnswer(REASONS[code] ?? (isError ? error.message : String(error)), { cause: error });
}
