import { type Answer, composeAnswer, type Piece } from './answer.ts';
import type { Exchange } from './exchange.ts';
import { LineEncoder, type Metrics } from './line.ts';
import { type InstalledModel, type Models, requireModel } from './models.ts';
import { decodeOptions, type Options } from './options.ts';
import type { GenerateRequest } from './request.ts';
import type { Lease, Scheduler } from './scheduler.ts';
import type { Script } from './script.ts';
import { createSink } from './sink.ts';
import { ApiError, encodeJson, nanoseconds, quote, timestamp } from './wire.ts';

export interface Server {
  readonly models: Models;
  readonly scheduler: Scheduler;
  readonly paceMs: number;
  readonly loadMs: number;
}

/** The least that a server needs to find a model that is in memory already. */
const WARM_LOAD_MS = 1.5;

/** Answers `/api/chat` and `/api/generate`. @throws ApiError before anything is written. */
export async function generate(
  server: Server,
  exchange: Exchange,
  request: GenerateRequest,
  script: Script,
): Promise<void> {
  const model = findModel(server.models, request);
  if (request.empty && request.keepAliveMs === 0) {
    server.scheduler.expire(model.name);
    return exchange.sendJson(200, emptyAnswer(request, 'unload'));
  }
  checkCapabilities(request, model);
  const options = decodeOptions(request.options, model, request.shift);
  const startedAt = performance.now();
  const lease = await server.scheduler.acquire(
    {
      model,
      launch: options.launch,
      contextLength: options.contextLength,
      loadMs: script.loadMs ?? model.loadMs ?? server.loadMs,
      ...(request.keepAliveMs !== undefined && { keepAliveMs: request.keepAliveMs }),
    },
    exchange.signal,
  );
  try {
    if (request.empty) return await exchange.sendJson(200, emptyAnswer(request, 'load'));
    exchange.isStream = request.stream;
    const run = new Run(exchange, request, script, lease, startedAt);
    checkPrompt(request, model, lease);
    const answer = composeAnswer(request, model, options, script);
    await run.answer(answer, options, script.paceMs ?? server.paceMs);
  } finally {
    lease.release();
  }
}

function findModel(models: Models, request: GenerateRequest): InstalledModel {
  if (request.model === '') {
    if (request.kind === 'chat') throw new ApiError(400, 'model is required');
    throw new ApiError(404, "model '' not found");
  }
  return requireModel(models, request.model, (name) => `model '${name}' not found`);
}

function checkCapabilities(request: GenerateRequest, model: InstalledModel): void {
  const can = (capability: InstalledModel['capabilities'][number]) => model.capabilities.includes(capability);
  const fullName = `registry.ollama.ai/library/${model.name}`;
  const thinks = request.think !== undefined && request.think !== false;
  if (thinks && !can('thinking')) {
    throw new ApiError(400, `${quote(request.model)} does not support thinking`);
  }
  if (!can('completion')) {
    throw new ApiError(400, `${quote(request.model)} does not support ${request.kind}`);
  }
  if (request.hasTools && !can('tools')) throw new ApiError(400, `${fullName} does not support tools`);
  if (request.hasSuffix && !can('insert')) throw new ApiError(400, `${fullName} does not support insert`);
}

/** What only the loaded model finds wrong. Its errors are JSON, and come as a string in the server's own. */
function checkPrompt(request: GenerateRequest, model: InstalledModel, lease: Lease): void {
  if (request.hasImages && !model.capabilities.includes('vision')) {
    const message = 'Multimodal data provided, but model does not support multimodal requests.';
    throw new ApiError(400, nestedError(400, message, 'invalid_request_error'));
  }
  const isCutToFit = request.truncate && request.shift;
  if (!isCutToFit && request.promptTokens > lease.contextLength) {
    const message = `request (${request.promptTokens} tokens) exceeds the available context size (${lease.contextLength} tokens), try increasing it`;
    const counts = { n_prompt_tokens: request.promptTokens, n_ctx: lease.contextLength };
    throw new ApiError(400, nestedError(400, message, 'exceed_context_size_error', counts));
  }
}

export function nestedError(status: number, message: string, type: string, more: object = {}): string {
  return JSON.stringify({ error: { code: status, message, type, ...more } });
}

/** A failure as the script words it. */
export function scriptedError(script: Script, status: number): ApiError {
  const text =
    script.errorText ??
    'model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama server logs for details';
  return new ApiError(status, script.nestedJsonError ? nestedError(status, text, 'server_error') : text);
}

function emptyAnswer(request: GenerateRequest, doneReason: 'load' | 'unload') {
  return {
    model: request.model,
    created_at: timestamp(),
    ...(request.kind === 'chat' ? { message: { role: 'assistant', content: '' } } : { response: '' }),
    done: true,
    done_reason: doneReason,
  };
}

/** What ends a stream early, and after how many lines. */
interface Fault {
  readonly after: number;
  readonly kind: 'error' | 'eof' | 'reset' | 'hang';
}

function faultOf(script: Script): Fault | undefined {
  if (script.hangBeforeHeaders === true) return { after: 0, kind: 'hang' };
  if (script.resetAt === 'headers' || script.resetAt === 'body') return { after: 0, kind: 'reset' };
  if (typeof script.resetAt === 'number') return { after: script.resetAt, kind: 'reset' };
  if (script.errorAfter !== undefined) return { after: script.errorAfter, kind: 'error' };
  if (script.eofAfter !== undefined) return { after: script.eofAfter, kind: 'eof' };
  if (script.hangAfter !== undefined) return { after: script.hangAfter, kind: 'hang' };
  return undefined;
}

/** One answer on its way out. */
class Run {
  readonly #exchange: Exchange;
  readonly #request: GenerateRequest;
  readonly #script: Script;
  readonly #lease: Lease;
  readonly #startedAt: number;
  readonly #loadedAt = performance.now();
  readonly #fault: Fault | undefined;
  readonly #lines: LineEncoder;
  #promptDoneAt = 0;
  #tokens = 0;

  constructor(exchange: Exchange, request: GenerateRequest, script: Script, lease: Lease, startedAt: number) {
    this.#exchange = exchange;
    this.#request = request;
    this.#script = script;
    this.#lease = lease;
    this.#startedAt = startedAt;
    this.#fault = faultOf(script);
    this.#lines = new LineEncoder(request);
  }

  async answer(answer: Answer, options: Options, paceMs: number): Promise<void> {
    const { promptMs, errorStatus } = this.#script;
    if (promptMs) await this.#exchange.pause(promptMs);
    this.#promptDoneAt = performance.now();
    if (errorStatus !== undefined) throw scriptedError(this.#script, errorStatus);
    if (this.#request.stream) return this.#stream(answer, options, paceMs);
    return this.#collect(answer, options, paceMs);
  }

  async #stream(answer: Answer, options: Options, paceMs: number): Promise<void> {
    const { response } = this.#exchange;
    response.statusCode = 200;
    response.setHeader('Content-Type', 'application/x-ndjson');
    const sink = createSink(this.#exchange, this.#script);
    const first = this.#oddFirstLine();
    if (first !== undefined) await sink.write(first);

    const fault = await this.#each(answer, paceMs, (piece) => sink.write(this.#lines.encode(piece)));
    if (fault === 'hang' || fault === 'reset') {
      await sink.flush();
      return this.#cut(fault);
    }
    if (fault === 'error')
      await sink.write(`${encodeJson({ error: scriptedError(this.#script, 500).message })}\n`);
    if (fault === undefined) {
      const bare = this.#script.emptyFinal === true;
      await sink.write(
        bare
          ? '{"done":true}\n'
          : this.#lines.encodeLast(answer.last, this.#end(answer, options), [answer.last]),
      );
      const { trailingGarbage } = this.#script;
      if (trailingGarbage) await sink.write(garbageLine(trailingGarbage));
    }
    await sink.flush();
    await this.#exchange.passGate();
    response.end();
  }

  /** The answer as one object, after the whole time it takes. */
  async #collect(answer: Answer, options: Options, paceMs: number): Promise<void> {
    const said: Piece[] = [];
    const fault = await this.#each(answer, paceMs, (piece) => {
      said.push(piece);
      return undefined;
    });
    if (fault === 'error') throw scriptedError(this.#script, 500);
    if (fault === 'hang' || fault === 'reset') return this.#cut(fault);
    if (fault === undefined) said.push(answer.last);
    const join = (kind: 'thinking' | 'content') => said.map((piece) => piece[kind] ?? '').join('');
    const calls = said.flatMap((piece) => piece.calls ?? []);
    const whole: Piece = {
      thinking: join('thinking'),
      content: join('content'),
      ...(calls.length > 0 && { calls }),
      tokens: this.#tokens,
    };
    const end =
      fault === undefined ? this.#end(answer, options) : { done: false, doneReason: undefined, metrics: {} };
    const body = this.#lines.encodeLast(whole, end, said).trimEnd();
    await this.#exchange.send(200, 'application/json; charset=utf-8', body);
  }

  /** Goes through the pieces at the pace, and stops where the script says so. @returns what stopped it. */
  async #each(
    answer: Answer,
    paceMs: number,
    act: (piece: Piece) => Promise<void> | undefined,
  ): Promise<Fault['kind'] | undefined> {
    const { pieces } = answer;
    const endless = this.#script.neverEnding === true && pieces.length > 0;
    const faultAfter = this.#fault?.after ?? -1;
    // The pace is kept over the whole answer: a timer that comes late does not make the next ones late too.
    let due = performance.now();
    for (let at = 0; endless || at < pieces.length; at++) {
      if (at === faultAfter) return this.#fault?.kind;
      const piece = pieces[at % pieces.length] as Piece;
      this.#tokens += piece.tokens;
      if (paceMs > 0) {
        due += paceMs * piece.tokens;
        const ahead = due - performance.now();
        if (ahead > 0) await this.#exchange.pause(ahead);
      } else if (endless && at % 1024 === 1023) {
        // An endless answer that nobody slows down must still let the process do other things.
        await this.#exchange.pause(0);
      }
      const wait = act(piece);
      if (wait !== undefined) await wait;
    }
    this.#tokens += answer.last.tokens;
    return faultAfter >= pieces.length ? this.#fault?.kind : undefined;
  }

  /** Ends the exchange without ending the answer. */
  async #cut(kind: 'hang' | 'reset'): Promise<void> {
    if (kind === 'hang') return this.#exchange.hang();
    if (this.#script.resetAt === 'body') this.#exchange.response.flushHeaders();
    return this.#exchange.reset();
  }

  #oddFirstLine(): string | undefined {
    const { garbage, hugeLineBytes, wrongTypes } = this.#script;
    if (garbage) return garbageLine(garbage);
    if (hugeLineBytes !== undefined) {
      return this.#lines.encode({ content: 'x'.repeat(hugeLineBytes), tokens: 1 });
    }
    if (wrongTypes === undefined) return undefined;
    const head = `{"model":${encodeJson(this.#request.model)},"created_at":"${timestamp()}"`;
    const message = wrongTypes === 'message' ? 'null' : '{"role":"assistant","content":42}';
    return `${head},"message":${message},"done":false}\n`;
  }

  #end(answer: Answer, options: Options) {
    const isContextSent = this.#request.kind === 'generate' && !this.#request.raw;
    return {
      done: true,
      doneReason: answer.doneReason,
      metrics: this.#metrics(),
      ...(isContextSent && { context: contextTokens(this.#promptTokens() + this.#tokens, options) }),
    };
  }

  #metrics(): Metrics {
    const now = performance.now();
    const loadMs = Math.max(this.#loadedAt - this.#startedAt, 0);
    const addedMs = Math.max(WARM_LOAD_MS - loadMs, 0);
    const { omitCounts, cachedCount, counts } = this.#script;
    return {
      total_duration: nanoseconds(now - this.#startedAt + addedMs),
      load_duration: nanoseconds(loadMs + addedMs),
      prompt_eval_count: omitCounts ? undefined : this.#promptTokens(),
      prompt_eval_cached_count: cachedCount,
      prompt_eval_duration: nanoseconds(this.#promptDoneAt - this.#loadedAt),
      // A count of 0 is left out, as every other zero.
      eval_count: omitCounts || this.#tokens === 0 ? undefined : this.#tokens,
      eval_duration: nanoseconds(now - this.#promptDoneAt),
      ...counts,
    };
  }

  /** What does not fit the context is not evaluated, and nothing says so. */
  #promptTokens(): number {
    return Math.min(this.#request.promptTokens, this.#lease.contextLength);
  }
}

function contextTokens(length: number, options: Options): readonly number[] {
  return Array.from({ length }, (_, at) => ((options.seed ?? 0) + at * 7919) % 128_000);
}

function garbageLine(garbage: true | string): string {
  return garbage === true ? '<html>\u0000this is not JSON\n' : garbage;
}
