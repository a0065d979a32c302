import type { EmbeddingRequest } from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import type { EmbeddingEvent } from '../../domain/event.ts';
import { isWireObject, parseCount, parseDurationMs } from './wire.ts';

/**
 * The answer of `/api/embed` as the one batch of an embedding stream.
 * @throws GatewayError `upstream_incomplete` where it is not one finite vector per input, `invalid_request` where the
 * model's vectors are shorter than the caller wants them.
 */
export function decodeEmbedding(
  answer: unknown,
  request: EmbeddingRequest,
  warnings: readonly string[],
): readonly EmbeddingEvent[] {
  if (!isWireObject(answer) || !Array.isArray(answer['embeddings'])) throw incomplete('no embeddings');
  const embeddings: readonly unknown[] = answer['embeddings'];
  if (embeddings.length !== request.inputs.length) {
    throw incomplete(`${embeddings.length} vectors for ${request.inputs.length} inputs`);
  }
  const vectors = embeddings.map((vector) => {
    if (!isVector(vector)) throw incomplete('a vector that is not one');
    return resize(vector, request.dimensions);
  });
  if (vectors.some((vector) => vector.length !== vectors[0]?.length))
    throw incomplete('vectors of unequal length');
  const promptTokens = parseCount(answer['prompt_eval_count']);
  const loadMs = parseDurationMs(answer['load_duration']);
  return [
    { type: 'embedded', model: request.model, warnings, vectors },
    {
      type: 'finished',
      reasons: [],
      usage: promptTokens === undefined ? {} : { promptTokens },
      timings: loadMs === undefined ? {} : { loadMs },
    },
  ];
}

/** A vector of the length asked for. Servers that know `dimensions` did this already; older ones ignore it. */
function resize(vector: readonly number[], dimensions: number | undefined): readonly number[] {
  if (dimensions === undefined || vector.length === dimensions) return vector;
  if (vector.length < dimensions) {
    const message = `The model's embeddings have ${vector.length} dimensions, fewer than asked for.`;
    throw new GatewayError('invalid_request', message, { param: 'dimensions' });
  }
  const cut = vector.slice(0, dimensions);
  const length = Math.sqrt(cut.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? cut : cut.map((value) => value / length);
}

function isVector(value: unknown): value is number[] {
  if (!Array.isArray(value) || value.length === 0) return false;
  for (const component of value) if (!Number.isFinite(component)) return false;
  return true;
}

function incomplete(detail: string): GatewayError {
  return new GatewayError('upstream_incomplete', 'The model server sent embeddings that cannot be used.', {
    detail,
  });
}
