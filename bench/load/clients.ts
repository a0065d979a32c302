import { connect } from 'node:net';
import { WebSocket } from 'ws';

export type Protocol = 'rest' | 'graphql-sse' | 'graphql-ws';

/** One stream to ask for. */
export interface StreamRequest {
  readonly protocol: Protocol;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** JSON: of the request, or of the WebSocket's operation. */
  readonly body: string;
  /** The address to call from, as a server may bound what comes from one. */
  readonly localAddress: string;
}

export interface StreamListener {
  /** Bytes of the answer as they come, framing and all. */
  onBytes(bytes: Buffer): void;
  /** @param failure what went wrong below the stream itself, such as a status. */
  onEnd(failure: string | undefined): void;
}

/** What stands at the end of a stream that has come to its end. */
export const END_MARKS: Readonly<Record<Protocol, string>> = {
  rest: '[DONE]',
  'graphql-sse': 'event: complete',
  'graphql-ws': '"type":"complete"',
};

export function openStream(request: StreamRequest, listener: StreamListener): void {
  if (request.protocol === 'graphql-ws') openWebSocket(request, listener);
  else openHttp(request, listener);
}

const LAST_CHUNK = Buffer.from('0\r\n\r\n');
/** A head may end in a line whose value ends in 0, but not in one that is nothing else. */
const LAST_CHUNK_OF_SEVERAL = Buffer.from('\r\n0\r\n\r\n');

function isEnd(bytes: Buffer): boolean {
  return (
    bytes.equals(LAST_CHUNK) || bytes.subarray(-LAST_CHUNK_OF_SEVERAL.length).equals(LAST_CHUNK_OF_SEVERAL)
  );
}

/** On a connection of its own, which is closed at the end. */
function openHttp({ url, headers, body, localAddress }: StreamRequest, listener: StreamListener): void {
  const { hostname, port, pathname, host } = new URL(url);
  const lines = Object.entries({
    host,
    'content-type': 'application/json',
    accept: 'text/event-stream',
    connection: 'close',
    'content-length': String(Buffer.byteLength(body)),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  const socket = connect({ host: hostname, port: Number(port), localAddress, noDelay: true });
  let failure: string | undefined;
  socket.write(`POST ${pathname} HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
  socket.once('data', (bytes: Buffer) => {
    const status = bytes.toString('latin1', 0, 12).split(' ')[1];
    if (status !== '200') failure = `status ${status}`;
  });
  socket.on('data', (bytes) => {
    listener.onBytes(bytes);
    // Asked to or not, some servers keep the connection.
    if (isEnd(bytes)) socket.destroy();
  });
  socket.once('error', (error: NodeJS.ErrnoException) => {
    failure ??= error.code ?? 'socket error';
  });
  socket.once('close', () => listener.onEnd(failure));
}

function openWebSocket({ url, headers, body, localAddress }: StreamRequest, listener: StreamListener): void {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), 'graphql-transport-ws', {
    perMessageDeflate: false,
    skipUTF8Validation: true,
    localAddress,
  });
  let failure: string | undefined;
  socket.once('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload: headers })));
  // The first message acknowledges that.
  socket.once('message', () => socket.send(`{"id":"1","type":"subscribe","payload":${body}}`));
  socket.on('message', (data) => {
    const bytes = data as Buffer;
    listener.onBytes(bytes);
    if (bytes.includes(END_MARKS['graphql-ws'])) socket.close(1000);
  });
  socket.once('unexpected-response', (_request, response) => {
    failure = `status ${response.statusCode}`;
    socket.terminate();
  });
  socket.once('error', (error: NodeJS.ErrnoException) => {
    failure ??= error.code ?? 'socket error';
  });
  socket.once('close', (code) => {
    if (code !== 1000) failure ??= `closed with ${code}`;
    listener.onEnd(failure);
  });
}
