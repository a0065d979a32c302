import type { Abortable } from '../../core/signal.ts';
import { GatewayError } from '../../domain/error.ts';
import { createConnections } from './connections.ts';
import { decodeFailure, unexpectedAnswer } from './errors.ts';
import { Exchange } from './exchange.ts';
import type { Head } from './response.ts';

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
  open(call: Call, signal: Abortable): Promise<Exchange>;
  /**
   * Sends a request and reads its whole answer as JSON.
   * @param maxBytes of the answer; more is `upstream_incomplete`.
   */
  json(call: Call, signal: Abortable, maxBytes: number): Promise<unknown>;
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

export function createOllamaClient(options: ClientOptions): OllamaClient {
  const { label, connectTimeoutMs, connections: most } = options;
  const url = new URL(options.url);
  const prefix = url.pathname.replace(/\/+$/, '');
  const connections = createConnections({ url, connectTimeoutMs, most });
  const headers = `Host: ${url.host}\r\nAccept: application/json, application/x-ndjson\r\nAccept-Encoding: identity\r\n`;

  const encode = ({ path, body }: Call): string => {
    const target = `${prefix}${path} HTTP/1.1\r\n${headers}`;
    if (body === undefined) return `GET ${target}\r\n`;
    const length = Buffer.byteLength(body);
    return `POST ${target}Content-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${body}`;
  };

  const send = (call: Call, signal: Abortable): Exchange => {
    const exchange = new Exchange(label, signal);
    if (!signal.aborted) exchange.attach(connections.send(encode(call), exchange));
    return exchange;
  };

  const open = async (call: Call, signal: Abortable): Promise<Exchange> => {
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
    close: (reason) => connections.close(reason),
  };
}

/** What is wrong with the head of an answer that is neither a failure of Ollama's nor what was asked for. */
function findUnexpected({ status, headers }: Head): string | undefined {
  if (status >= 300 && status < 400) return `a redirect (status ${status}), which is not followed`;
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') return 'a compressed body, which was not asked for';
  if (status !== 200) return undefined;
  if (/^application\/(x-ndjson|json)\b/i.test(headers['content-type'] ?? '')) return undefined;
  return 'a body that is not JSON';
}

function readText(exchange: Exchange, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  return new Promise((resolve, reject) => {
    exchange.read({
      push(bytes, start, end) {
        length += end - start;
        if (length <= maxBytes) chunks.push(Buffer.from(bytes.subarray(start, end)));
      },
      onRead() {
        if (length <= maxBytes) return false;
        reject(unreadable(`an answer of more than ${maxBytes} bytes`));
        exchange.cancel();
        return true;
      },
      onEnd: () => resolve(Buffer.concat(chunks).toString('utf8')),
      onFailure: reject,
    });
  });
}

function unreadable(detail: string): GatewayError {
  return new GatewayError('upstream_incomplete', 'The model server sent an answer that cannot be read.', {
    detail,
  });
}
