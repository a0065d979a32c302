/** A client of server-sent events that trusts nothing: the frames as they came, when they came, and how they ended. */
import { Agent, type Dispatcher, request } from 'undici';
import type { Script } from '../../simulator/server.ts';
import type { Asker, Target } from './traffic.ts';

/** Hears when text comes. */
export interface Timing {
  /** From asking to the first text, in milliseconds. */
  firstText(elapsedMs: number): void;
  /** Between two network reads with text, in milliseconds. */
  gap(elapsedMs: number): void;
}

export interface EventStreamOptions {
  readonly timing?: Timing;
  /** The model to ask; by default one that every simulator has. */
  readonly model?: string;
  /** What to ask, where no simulator reads scripts. */
  readonly question?: string;
}

/** An answer of which nothing comes for so long has stalled. The gateway sends comments more often than that. */
const STALL_MS = 60_000;
const MODEL = 'llama3.1:8b';

/**
 * Streams over REST, each on a connection of its own. A request is answered in full when it ended with `[DONE]` after a
 * `finish_reason`. Otherwise the error says what happened in one of few ways, without figures, to be counted by.
 */
export function streamedByEvents(target: Target, options: EventStreamOptions = {}): Asker {
  const dispatcher = new Agent({ pipelining: 0, headersTimeout: STALL_MS, bodyTimeout: STALL_MS });
  return {
    async ask(script, requestId) {
      const askedAt = performance.now();
      const response = await post(target, dispatcher, requestId, bodyOf(script, options)).catch(refuse);
      if (response.statusCode !== 200) {
        const code = /"code":"(\w+)"/.exec(await response.body.text())?.[1];
        throw new Error(`HTTP ${response.statusCode} ${code ?? 'without a code'}`);
      }
      return await readFrames(response.body, askedAt, options.timing);
    },
    close: () => dispatcher.close(),
  };
}

function bodyOf(script: Script, { model = MODEL, question }: EventStreamOptions): string {
  const content = question ?? `Say hello. [[sim:${JSON.stringify(script)}]]`;
  return JSON.stringify({ model, stream: true, messages: [{ role: 'user', content }] });
}

function post({ url, secret }: Target, dispatcher: Dispatcher, requestId: string, body: string) {
  return request(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${secret}`,
      'content-type': 'application/json',
      'x-client-request-id': requestId,
    },
    body,
    dispatcher,
  });
}

async function readFrames(
  body: AsyncIterable<Uint8Array>,
  askedAt: number,
  timing: Timing | undefined,
): Promise<string> {
  const decoder = new TextDecoder();
  const answer: Answer = { text: '', finished: false, done: false };
  let pending = '';
  let lastTextAt: number | undefined;
  try {
    for await (const chunk of body) {
      const frames = (pending + decoder.decode(chunk, { stream: true })).split('\n\n');
      pending = frames.pop() ?? '';
      const length = answer.text.length;
      for (const frame of frames) readFrame(frame, answer);
      if (answer.text.length === length) continue;
      const now = performance.now();
      if (lastTextAt === undefined) timing?.firstText(now - askedAt);
      else timing?.gap(now - lastTextAt);
      lastTextAt = now;
    }
  } catch (thrown) {
    refuse(thrown);
  }
  if (!answer.done) throw new Error('cut: the stream ended without [DONE]');
  if (!answer.finished) throw new Error('[DONE] came without a finish_reason');
  if (pending !== '') throw new Error('something came after [DONE]');
  return answer.text;
}

interface Answer {
  text: string;
  finished: boolean;
  done: boolean;
}

function readFrame(frame: string, answer: Answer): void {
  if (frame.startsWith(':')) return;
  if (answer.done) throw new Error('something came after [DONE]');
  if (!frame.startsWith('data: ')) throw new Error('a frame that is none');
  const data = frame.slice('data: '.length);
  if (data === '[DONE]') {
    answer.done = true;
    return;
  }
  const { choices, error } = JSON.parse(data);
  if (error) throw new Error(`error frame ${error.code}`);
  answer.text += choices?.[0]?.delta?.content ?? '';
  if (choices?.[0]?.finish_reason) answer.finished = true;
}

/** What the network did, in words that are the same for every connection. */
function refuse(thrown: unknown): never {
  const { code, name, message } = thrown as NodeJS.ErrnoException;
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT') throw new Error('stalled');
  if (code === 'ECONNREFUSED') throw new Error('no connection');
  // The end of the connection where more of the answer is due.
  if (name === 'HTTPParserError') throw new Error('cut: the connection ended');
  if (code !== undefined) throw new Error(`cut: the connection broke (${code})`);
  throw thrown instanceof Error ? thrown : new Error(String(message));
}
