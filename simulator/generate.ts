import { composeAnswer } from './answer.ts';
import type { Exchange } from './exchange.ts';
import { nestedError } from './faults.ts';
import { type InstalledModel, type Models, requireModel } from './models.ts';
import { decodeOptions } from './options.ts';
import type { GenerateRequest } from './request.ts';
import { Run } from './run.ts';
import type { Lease, Scheduler } from './scheduler.ts';
import type { Script } from './script.ts';
import { ApiError, quote, timestamp } from './wire.ts';

/** What answering a request takes of the server. */
export interface Server {
  readonly models: Models;
  readonly scheduler: Scheduler;
  readonly paceMs: number;
  readonly loadMs: number;
}

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

function emptyAnswer(request: GenerateRequest, doneReason: 'load' | 'unload') {
  return {
    model: request.model,
    created_at: timestamp(),
    ...(request.kind === 'chat' ? { message: { role: 'assistant', content: '' } } : { response: '' }),
    done: true,
    done_reason: doneReason,
  };
}
