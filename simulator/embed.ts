import { decodeAs, decodeBody } from './body.ts';
import type { Exchange } from './exchange.ts';
import { nestedError, scriptedError } from './faults.ts';
import type { Server } from './generate.ts';
import { hash, type InstalledModel, requireModel } from './models.ts';
import { decodeOptions } from './options.ts';
import { countTokens, decodeKeepAlive } from './request.ts';
import { WARM_LOAD_MS } from './run.ts';
import type { Lease } from './scheduler.ts';
import type { Script } from './script.ts';
import { ApiError, nanoseconds, quote } from './wire.ts';

export interface EmbedRequest {
  readonly model: string;
  readonly inputs: readonly string[];
  readonly truncate: boolean;
  readonly dimensions: number;
  readonly options: Readonly<Record<string, unknown>>;
  readonly keepAliveMs: number | undefined;
}

/** A BERT tokenizer puts one token before the text and one after it. */
const FRAME_TOKENS = 2;

/** @throws ApiError 400. */
export function decodeEmbedRequest(body: unknown): EmbedRequest {
  const fields = decodeBody(body, 'EmbedRequest');
  return {
    model: decodeAs('string', fields['model'], 'EmbedRequest.model') ?? '',
    keepAliveMs: decodeKeepAlive(fields['keep_alive']),
    truncate: decodeAs('bool', fields['truncate'], 'EmbedRequest.truncate') ?? true,
    dimensions: decodeAs('int', fields['dimensions'], 'EmbedRequest.dimensions') ?? 0,
    options: decodeAs('map', fields['options'], 'EmbedRequest.options') ?? {},
    inputs: decodeInput(fields['input']),
  };
}

function decodeInput(input: unknown): readonly string[] {
  if (input === undefined || input === null || input === '') return [];
  if (typeof input === 'string') return [input];
  if (Array.isArray(input) && input.every((item) => typeof item === 'string')) return input;
  throw new ApiError(400, 'invalid input type');
}

/** Answers `/api/embed`. @throws ApiError before anything is written. */
export async function embed(
  server: Server,
  exchange: Exchange,
  request: EmbedRequest,
  script: Script,
): Promise<void> {
  if (request.model === '') throw new ApiError(404, "model '' not found");
  const model = requireModel(
    server.models,
    request.model,
    (name) => `model ${quote(name)} not found, try pulling it first`,
  );
  const options = decodeOptions(request.options, model, true);
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
    const loadMs = Math.max(performance.now() - startedAt, WARM_LOAD_MS);
    if (script.promptMs) await exchange.pause(script.promptMs);
    if (await cutByScript(exchange, script)) return;
    if (request.inputs.length === 0)
      return await exchange.sendJson(200, { model: request.model, embeddings: [] });
    const tokens = countInputs(request, model, lease);
    const embeddings = request.inputs.map((input) => embedText(model, input, request.dimensions));
    await exchange.sendJson(200, {
      model: request.model,
      embeddings,
      total_duration: nanoseconds(Math.max(performance.now() - startedAt, loadMs)),
      load_duration: nanoseconds(loadMs),
      ...(!script.omitCounts && { prompt_eval_count: tokens }),
      ...script.counts,
    });
  } finally {
    lease.release();
  }
}

/** The faults that make sense for an answer of one piece. @returns whether the exchange is over. */
async function cutByScript(exchange: Exchange, script: Script): Promise<boolean> {
  if (script.errorStatus !== undefined) throw scriptedError(script, script.errorStatus);
  if (script.hangBeforeHeaders === true) await exchange.hang();
  if (script.resetAt === undefined) return false;
  if (script.resetAt !== 'headers') exchange.response.flushHeaders();
  await exchange.reset();
  return true;
}

function countInputs(request: EmbedRequest, model: InstalledModel, lease: Lease): number {
  if (!model.capabilities.includes('embedding')) {
    const message = 'This server does not support embeddings. Start it with `--embeddings`';
    throw new ApiError(501, nestedError(501, message, 'not_supported_error'));
  }
  let total = 0;
  for (const input of request.inputs) {
    const tokens = countTokens(input) + FRAME_TOKENS;
    if (tokens > lease.contextLength && !request.truncate) {
      throw new ApiError(400, 'the input length exceeds the context length');
    }
    total += Math.min(tokens, lease.contextLength);
  }
  return total;
}

/** A vector of length 1 that only the model and the text decide. */
export function embedText(model: InstalledModel, text: string, dimensions: number): readonly number[] {
  const isCut = dimensions > 0 && dimensions < model.embeddingLength;
  const length = isCut ? dimensions : model.embeddingLength;
  const vector = new Float32Array(length);
  let state = hash(`${model.name}\n${text}`);
  let squares = 0;
  for (let at = 0; at < length; at++) {
    // Numbers of Mulberry32: cheap, and without visible pattern.
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    const value = (mixed ^ (mixed >>> 14)) / 2 ** 31;
    vector[at] = value;
    squares += value * value;
  }
  const norm = Math.sqrt(squares);
  // Eight digits are what a 32-bit float has, and about what Go prints of one.
  return Array.from(vector, (value) => Number((value / norm).toPrecision(8)));
}
