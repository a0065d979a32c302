import type { Answer, Piece } from './answer.ts';
import type { Exchange } from './exchange.ts';
import { type Fault, faultOf, garbageLine, scriptedError } from './faults.ts';
import { LineEncoder, type Metrics } from './line.ts';
import type { Options } from './options.ts';
import type { GenerateRequest } from './request.ts';
import type { Lease } from './scheduler.ts';
import type { Script } from './script.ts';
import { createSink } from './sink.ts';
import { encodeJson, nanoseconds, timestamp } from './wire.ts';

/** The least that a server needs to find a model that is in memory already. */
export const WARM_LOAD_MS = 1.5;

/** One answer on its way out. */
export class Run {
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
    // An answer without end has no whole; its client waits until it has enough of waiting.
    if (this.#script.neverEnding === true) return this.#exchange.hang();
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
