/** Chat requests as a client sends them, and streams as it reads them. */
import type { Script } from '../../simulator/server.ts';
import { parseEvents } from './sse.ts';

export interface ChatOptions {
  /** The ledger knows the request by it. */
  readonly requestId?: string;
  /** What the simulator is to do with this request. */
  readonly script?: Script;
  readonly stream?: boolean;
  readonly signal?: AbortSignal;
}

/** A gateway that answers nothing within this time is stuck: a test fails then, and does not hang. */
const PATIENCE_MS = 15_000;

/** Asks for a chat completion with a key's secret. */
export function chat(
  gateway: { readonly url: string },
  secret: string,
  { requestId, script, stream = false, signal }: ChatOptions = {},
): Promise<Response> {
  const content = `Say hello. ${script === undefined ? '' : `[[sim:${JSON.stringify(script)}]]`}`;
  return fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${secret}`,
      'content-type': 'application/json',
      ...(requestId !== undefined && { 'x-client-request-id': requestId }),
    },
    body: JSON.stringify({ model: 'llama3.1:8b', stream, messages: [{ role: 'user', content }] }),
    signal: signal ?? AbortSignal.timeout(PATIENCE_MS),
  });
}

/** Has an Ollama, asked without a gateway in between, read the model of these requests into memory. */
export async function loadModel(ollama: { readonly url: string }): Promise<void> {
  await statusOf(fetch(`${ollama.url}/api/chat`, { method: 'POST', body: '{"model":"llama3.1:8b"}' }));
}

/** The status of an answer whose body is read to the end and of no interest. */
export async function statusOf(answer: Promise<Response>): Promise<number> {
  const response = await answer;
  await response.arrayBuffer();
  return response.status;
}

export interface OpenStream {
  readonly response: Response;
  /** Resolves when so many events have come. */
  untilEvents(count: number): Promise<void>;
  /** How many have come so far. */
  events(): number;
  /** Resolves when it is over. */
  ended(): Promise<EndOfStream>;
  /** Leaves, as a client does whose user has closed the window. */
  leave(): void;
}

export interface EndOfStream {
  /** The text of all deltas. */
  readonly text: string;
  /** The last frame said `[DONE]`. */
  readonly done: boolean;
  /** The code of the error frame, if there was one. */
  readonly errorCode: string | undefined;
  /** The connection broke before the end of the response. */
  readonly broken: boolean;
}

/** Opens a stream that is read as it comes. */
export async function openStream(
  gateway: { readonly url: string },
  secret: string,
  options: Omit<ChatOptions, 'stream' | 'signal'> = {},
): Promise<OpenStream> {
  const leaving = new AbortController();
  const response = await chat(gateway, secret, { ...options, stream: true, signal: leaving.signal });
  let received = '';
  let broken = false;
  let wake = () => {};
  const read = async () => {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body ?? []) {
        received += decoder.decode(chunk, { stream: true });
        wake();
      }
    } catch {
      broken = true;
    }
    wake();
  };
  const reading = read();
  let over = false;
  void reading.then(() => {
    over = true;
    wake();
  });
  return {
    response,
    async untilEvents(count) {
      while (parseEvents(received).data.length < count) {
        if (over) throw new Error(`the stream ended before event ${count}: ${received}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    events: () => parseEvents(received).data.length,
    async ended() {
      await reading;
      return { ...readFrames(parseEvents(received).data), broken };
    },
    leave: () => leaving.abort(),
  };
}

function readFrames(frames: readonly string[]): Omit<EndOfStream, 'broken'> {
  let text = '';
  let errorCode: string | undefined;
  for (const frame of frames) {
    if (frame === '[DONE]') continue;
    const { choices, error } = JSON.parse(frame);
    text += choices?.[0]?.delta?.content ?? '';
    if (error !== undefined) errorCode = error.code;
  }
  return { text, errorCode, done: frames.at(-1) === '[DONE]' };
}
