/**
 * A relay from OpenAI's wire to Ollama's, and nothing else: `node bench/contenders/relay-server.ts PORT UPSTREAM`.
 * It trusts everybody, checks nothing and fails by ending; it is here to show what Node costs.
 */
import { createServer, type ServerResponse } from 'node:http';
import { type Dispatcher, Pool } from 'undici';

const [port, upstream] = process.argv.slice(2);
const pool = new Pool(String(upstream), { connections: 2048, headersTimeout: 0, bodyTimeout: 0 });

interface Line {
  readonly message: { readonly content: string };
  readonly done: boolean;
  readonly done_reason?: string;
  readonly prompt_eval_count?: number;
  readonly eval_count?: number;
}

const stamp = { id: 'chatcmpl-relay', created: 1_767_225_600 };

async function answerWhole(body: string, model: string, res: ServerResponse): Promise<void> {
  const answer = await pool.request({ path: '/api/chat', method: 'POST', body, headers });
  const { message, done_reason, prompt_eval_count = 0, eval_count = 0 } = (await answer.body.json()) as Line;
  const completion = JSON.stringify({
    ...stamp,
    object: 'chat.completion',
    model,
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: message.content, refusal: null },
        logprobs: null,
        finish_reason: done_reason,
      },
    ],
    usage: {
      prompt_tokens: prompt_eval_count,
      completion_tokens: eval_count,
      total_tokens: prompt_eval_count + eval_count,
    },
  });
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(completion) });
  res.end(completion);
}

/** Each read of the network is parsed line by line, and written as frames in one go. */
class StreamHandler implements Dispatcher.DispatchHandler {
  readonly #model: string;
  readonly #res: ServerResponse;
  #rest = '';

  constructor(model: string, res: ServerResponse) {
    this.#model = model;
    this.#res = res;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#res.once('close', () => {
      if (!this.#res.writableFinished) controller.abort(new Error('the client has left'));
    });
    this.#res.on('drain', () => controller.resume());
  }

  onResponseStart(): void {
    this.#res.writeHead(200, { 'content-type': 'text/event-stream' });
  }

  onResponseData(controller: Dispatcher.DispatchController, bytes: Buffer): void {
    const lines = (this.#rest + bytes.toString()).split('\n');
    this.#rest = lines.pop() ?? '';
    let frames = '';
    for (const text of lines) frames += this.#encode(JSON.parse(text));
    if (frames !== '' && !this.#res.write(frames)) controller.pause();
  }

  #encode(line: Line): string {
    const choice = line.done
      ? { index: 0, delta: {}, logprobs: null, finish_reason: line.done_reason }
      : { index: 0, delta: { content: line.message.content }, logprobs: null, finish_reason: null };
    const chunk = { ...stamp, object: 'chat.completion.chunk', model: this.#model, choices: [choice] };
    return `data: ${JSON.stringify(chunk)}\n\n`;
  }

  onResponseEnd(): void {
    this.#res.end('data: [DONE]\n\n');
  }

  onResponseError(): void {
    this.#res.destroy();
  }
}

const headers = { 'content-type': 'application/json' };

createServer((req, res) => {
  let text = '';
  req.setEncoding('utf8');
  req.on('data', (part: string) => {
    text += part;
  });
  req.on('end', () => {
    if (req.method === 'GET') return void res.end('{"status":"ok"}');
    const { model, messages, stream = false } = JSON.parse(text);
    const body = JSON.stringify({ model, messages, stream });
    if (stream) {
      pool.dispatch({ path: '/api/chat', method: 'POST', body, headers }, new StreamHandler(model, res));
    } else answerWhole(body, model, res).catch(() => res.destroy());
  });
}).listen(Number(port), '127.0.0.1', 4096);

// In order, so that a profile that was asked for is written.
process.once('SIGTERM', () => process.exit());
