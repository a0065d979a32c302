/** What the fake model server says, in Ollama's words and in OpenAI's. Nothing is put together twice. */

export type Wire = 'ollama' | 'openai';

/** The one model that there is. */
export const MODEL = 'bench';

/**
 * Every token is a stamp: this character and the time of its sending, in nanoseconds of the machine's monotonic clock,
 * with as many digits as last for eleven days of uptime. Nothing else in any protocol has the character.
 */
export const STAMP = '@';
export const STAMP_DIGITS = 15;

export function stamp(nanoseconds: number): string {
  return STAMP + String(Math.trunc(nanoseconds)).padStart(STAMP_DIGITS, '0');
}

/** Where nobody looks at the time. */
const NO_TIME = stamp(0);

const SECONDS = 1_767_225_600;
const DATE = new Date(SECONDS * 1000).toISOString();

const OLLAMA_TOKEN: readonly [string, string] = [
  `{"model":"${MODEL}:latest","created_at":"${DATE}","message":{"role":"assistant","content":"`,
  ' "},"done":false}\n',
];
const OPENAI_HEAD = `"id":"chatcmpl-bench","created":${SECONDS},"model":"${MODEL}"`;
const OPENAI_TOKEN: readonly [string, string] = [
  `data: {${OPENAI_HEAD},"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"`,
  ' "},"logprobs":null,"finish_reason":null}]}\n\n',
];
const TOKENS: Readonly<Record<Wire, readonly [string, string]>> = {
  ollama: OLLAMA_TOKEN,
  openai: OPENAI_TOKEN,
};

/** One token as a line of a stream. */
export function tokenLine(wire: Wire, stamped = NO_TIME): string {
  const [before, after] = TOKENS[wire];
  return before + stamped + after;
}

/** What ends a stream of so many tokens. */
export function lastLines(wire: Wire, tokens: number): string {
  if (wire === 'openai') {
    const choice = '{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}';
    return `data: {${OPENAI_HEAD},"object":"chat.completion.chunk","choices":[${choice}]}\n\ndata: [DONE]\n\n`;
  }
  const message = '"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"';
  return `{"model":"${MODEL}:latest","created_at":"${DATE}",${message},${ollamaCounts(tokens)}}\n`;
}

/** A whole answer in one object. */
export function wholeAnswer(wire: Wire, tokens: number): string {
  const text = `${NO_TIME} `.repeat(tokens);
  if (wire === 'openai') {
    const message = `{"role":"assistant","content":"${text}","refusal":null}`;
    const usage = `{"prompt_tokens":9,"completion_tokens":${tokens},"total_tokens":${9 + tokens}}`;
    const choices = `[{"index":0,"message":${message},"logprobs":null,"finish_reason":"stop"}]`;
    return `{${OPENAI_HEAD},"object":"chat.completion","choices":${choices},"usage":${usage}}`;
  }
  const message = `"message":{"role":"assistant","content":"${text}"},"done":true,"done_reason":"stop"`;
  return `{"model":"${MODEL}:latest","created_at":"${DATE}",${message},${ollamaCounts(tokens)}}`;
}

function ollamaCounts(tokens: number): string {
  const durations = '"total_duration":5000000,"load_duration":1000000,"prompt_eval_duration":1000000';
  return `${durations},"prompt_eval_count":9,"eval_count":${tokens},"eval_duration":3000000`;
}

/** What Ollama answers to whoever asks how it is and what it has. */
export const OLLAMA_STATE: ReadonlyMap<string, string> = new Map([
  ['/api/version', '{"version":"0.13.0"}'],
  ['/api/tags', JSON.stringify({ models: [describeModel()] })],
  ['/api/ps', JSON.stringify({ models: [describeModel()] })],
]);

function describeModel() {
  const name = `${MODEL}:latest`;
  const details = { family: 'bench', parameter_size: '1B', quantization_level: 'Q4_0' };
  const capabilities = ['completion'];
  return { name, model: name, modified_at: DATE, size: 1, digest: 'ab'.repeat(32), details, capabilities };
}

const STREAM_TYPES: Readonly<Record<Wire, string>> = {
  ollama: 'application/x-ndjson',
  openai: 'text/event-stream',
};

export function streamHead(wire: Wire): string {
  return `HTTP/1.1 200 OK\r\nContent-Type: ${STREAM_TYPES[wire]}\r\nTransfer-Encoding: chunked\r\n\r\n`;
}

/** Lines are ASCII, so that their length is that of their bytes. */
export function chunk(lines: string): string {
  return `${lines.length.toString(16)}\r\n${lines}\r\n`;
}

export const LAST_CHUNK = '0\r\n\r\n';

export function response(body: string, status = '200 OK'): Buffer {
  const head = `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  return Buffer.from(head + body, 'latin1');
}
