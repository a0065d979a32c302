import { Pool } from 'undici';
import { GatewayError } from '../../domain/error.ts';
import { decodeFailure, unexpectedAnswer } from './errors.ts';
import { Exchange, type Head } from './exchange.ts';

export interface ClientOptions {
  /** `http://host:port`, with or without a path in front of Ollama's own. */
  readonly url: string;
  /** The backend's label, for errors. */
  readonly label: string;
  readonly connectTimeoutMs: number;
  /** Most connections at a time. Each answer under way holds one; requests beyond wait for one to come free. */
  readonly connections: number;
}

/** One backend over HTTP. It sends what it is told and nothing of the caller's: no headers pass through it. */
export interface OllamaClient {
  /**
   * Sends a request and waits for the head of its answer, which Ollama holds back until the first line is there.
   * Waiting has no limit here: the signal is the only deadline besides connecting.
   * @returns the exchange, of status 200 and a type that was asked for, its body still to be read.
   * @throws GatewayError for everything else, or the signal's reason.
   */
  open(call: Call, signal: AbortSignal): Promise<Exchange>;
  /**
   * Sends a request and reads its whole answer as JSON.
   * @param maxBytes of the answer; more is `upstream_incomplete`.
   */
  json(call: Call, signal: AbortSignal, maxBytes: number): Promise<unknown>;
  /** Ends whatever is under way, with `reason`. */
  close(reason: GatewayError): Promise<void>;
}

/** Without a body it is a GET. */
export interface Call {
  readonly path: `/api/${string}`;
  readonly body?: string;
}

/** Of an error's body this much is read; known texts are much shorter. */
const MAX_FAILURE_BYTES = 64 * 1024;

/** An idle connection is kept this long; Ollama itself never closes one. */
const KEEP_ALIVE_MS = 30_000;

export function createOllamaClient(options: ClientOptions): OllamaClient {
  const { origin, pathname } = new URL(options.url);
  const prefix = pathname.replace(/\/+$/, '');
  const { label } = options;
  const pool = new Pool(origin, {
    connections: options.connections,
    connect: { timeout: options.connectTimeoutMs },
    keepAliveTimeout: KEEP_ALIVE_MS,
    // A model may be loading, or hundreds of requests may be ahead. How long that may take is decided in the core.
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
  });

  const send = (call: Call, signal: AbortSignal): Exchange => {
    const exchange = new Exchange(label, signal);
    if (signal.aborted) return exchange;
    const headers = { accept: 'application/json, application/x-ndjson', 'accept-encoding': 'identity' };
    if (call.body === undefined)
      pool.dispatch({ path: prefix + call.path, method: 'GET', headers }, exchange);
    else {
      pool.dispatch(
        {
          path: prefix + call.path,
          method: 'POST',
          headers: { ...headers, 'content-type': 'application/json' },
          body: call.body,
        },
        exchange,
      );
    }
    return exchange;
  };

  const open = async (call: Call, signal: AbortSignal): Promise<Exchange> => {
    const exchange = send(call, signal);
    const head = await exchange.head();
    const unexpected = findUnexpected(head);
    if (unexpected !== undefined) {
      exchange.cancel();
      throw unexpectedAnswer(unexpected, label);
    }
    if (head.status !== 200) {
      const promptField = call.path === '/api/embed' ? 'input' : 'messages';
      const body = await readText(exchange, MAX_FAILURE_BYTES);
      const origin = { backend: label, promptField, retryAfter: head.headers['retry-after'] } as const;
      throw decodeFailure(head.status, body, origin);
    }
    return exchange;
  };

  return {
    open,
    async json(call, signal, maxBytes) {
      const exchange = await open(call, signal);
      const text = await readText(exchange, maxBytes);
      try {
        return JSON.parse(text);
      } catch {
        throw unreadable(`${label}: an answer to ${call.path} that is not JSON`);
      }
    },
    close: (reason) => pool.destroy(reason),
  };
}

/** What is wrong with the head of an answer that is neither a failure of Ollama's nor what was asked for. */
function findUnexpected({ status, headers }: Head): string | undefined {
  if (status >= 300 && status < 400) return `a redirect (status ${status}), which is not followed`;
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') return 'a compressed body, which was not asked for';
  if (status !== 200) return undefined;
  const type = headers['content-type'];
  if (typeof type === 'string' && /^application\/(x-ndjson|json)\b/i.test(type)) return undefined;
  return 'a body that is not JSON';
}

async function readText(exchange: Exchange, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for (let chunk = await exchange.read(); chunk; chunk = await exchange.read()) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      exchange.cancel();
      throw unreadable(`an answer of more than ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function unreadable(detail: string): GatewayError {
  return new GatewayError('upstream_incomplete', 'The model server sent an answer that cannot be read.', {
    detail,
  });
}
