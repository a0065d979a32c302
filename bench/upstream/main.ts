/**
 * The fake model server that every contender asks, as a process: `node bench/upstream/main.ts PORT`. It speaks both wires
 * on bare sockets, so that it costs as little as possible, and answers as the last `POST /script` says (`script.ts`).
 */
import { createServer, type Socket } from 'node:net';
import { createPace, type Pace } from './pace.ts';
import { SCRIPT_PATH, type Script } from './script.ts';
import {
  chunk,
  LAST_CHUNK,
  lastLines,
  OLLAMA_STATE,
  response,
  stamp,
  streamHead,
  tokenLine,
  type Wire,
  wholeAnswer,
} from './wire.ts';

const PATHS: Readonly<Record<string, Wire>> = { '/api/chat': 'ollama', '/v1/chat/completions': 'openai' };
/** Tokens written at a time where they come as fast as they are taken: about 8 kB. */
const BURST = 64;

/** What a script comes to, put together before it is asked for. */
interface Play {
  readonly tokens: number;
  readonly whole: Readonly<Record<Wire, Buffer>>;
  readonly bursts: Readonly<Record<Wire, readonly Buffer[]>>;
  readonly pace: Pace | undefined;
}

const state = new Map([...OLLAMA_STATE].map(([path, body]) => [path, response(body)]));
const done = response('{}');
const notFound = response('{"error":"not found"}', '404 Not Found');
let play = createPlay({ tokens: 1 });

function createPlay({ tokens, periodMs }: Script): Play {
  return {
    tokens,
    whole: {
      ollama: response(wholeAnswer('ollama', tokens)),
      openai: response(wholeAnswer('openai', tokens)),
    },
    bursts: { ollama: burst('ollama', tokens), openai: burst('openai', tokens) },
    pace: periodMs === undefined ? undefined : createPace(periodMs),
  };
}

/** The whole of a stream, where its tokens have no time. */
function burst(wire: Wire, tokens: number): readonly Buffer[] {
  const full = Buffer.from(chunk(tokenLine(wire).repeat(BURST)));
  const rest = tokenLine(wire).repeat(tokens % BURST) + lastLines(wire, tokens);
  const pieces = Array.from({ length: Math.floor(tokens / BURST) }, () => full);
  return [Buffer.from(streamHead(wire)), ...pieces, Buffer.from(chunk(rest) + LAST_CHUNK)];
}

function writeAll(socket: Socket, pieces: readonly Buffer[], from = 0): void {
  for (let at = from; at < pieces.length; at++) {
    if (!socket.write(pieces[at] ?? ''))
      return void socket.once('drain', () => writeAll(socket, pieces, at + 1));
  }
}

function answerStream(socket: Socket, wire: Wire): void {
  const { tokens, bursts, pace } = play;
  if (!pace) {
    socket.cork();
    writeAll(socket, bursts[wire]);
    socket.uncork();
    return;
  }
  let left = tokens;
  socket.write(streamHead(wire));
  const leave = pace.join(() => {
    if (left-- > 0) socket.write(chunk(tokenLine(wire, stamp(now()))));
    else {
      socket.write(chunk(lastLines(wire, tokens)) + LAST_CHUNK);
      leave();
      socket.off('close', leave);
    }
  });
  socket.once('close', leave);
}

function now(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e9 + nanoseconds;
}

function answer(socket: Socket, path: string, body: string): void {
  const wire = PATHS[path];
  if (path === SCRIPT_PATH) {
    play.pace?.end();
    play = createPlay(JSON.parse(body));
    socket.write(done);
  } else if (!wire) socket.write(state.get(path) ?? notFound);
  // Ollama streams unless told otherwise, OpenAI only when told to.
  else if (wire === 'ollama' ? !body.includes('"stream":false') : body.includes('"stream":true')) {
    answerStream(socket, wire);
  } else socket.write(play.whole[wire]);
}

/** One request after the other, each with its body's length. */
function serve(socket: Socket): void {
  let waiting = '';
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (bytes) => {
    waiting += bytes.toString('latin1');
    const head = waiting.indexOf('\r\n\r\n');
    if (head < 0) return;
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(waiting)?.[1] ?? 0);
    if (waiting.length < head + 4 + length) return;
    const path = waiting.slice(waiting.indexOf(' ') + 1, waiting.indexOf(' HTTP/'));
    const body = waiting.slice(head + 4);
    waiting = '';
    answer(socket, path, body);
  });
}

createServer(serve).listen(Number(process.argv[2]), '127.0.0.1', 4096);
