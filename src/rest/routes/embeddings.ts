import { GatewayError } from '../../domain/error.ts';
import type { EmbeddingStream } from '../../domain/event.ts';
import type { Usage } from '../../domain/usage.ts';
import { sendJson, withLimitHeaders } from '../answer.ts';
import { type Handler, principalOf } from '../context.ts';
import { setIgnoredParameters } from '../headers.ts';
import { EMBEDDING_REFUSALS, embeddingRequest } from '../openai/parameters.ts';
import { decodeEmbedding } from '../openai/request.ts';
import { encodeEmbeddings } from '../openai/response.ts';
import { unknownFields } from '../openai/validation.ts';
import type { InferenceOptions } from './chat.ts';

/** `POST /v1/embeddings` */
export function createEmbeddings({ gateway, config, clock }: InferenceOptions): Handler {
  return async (req, res) => {
    const { request, encoding } = decodeEmbedding(req.body);
    if (config.debug) {
      setIgnoredParameters(res, unknownFields(req.body, embeddingRequest, EMBEDDING_REFUSALS));
    }
    const exchange = gateway.embed(request, {
      principal: principalOf(res),
      requestId: res.locals.requestId,
      protocol: 'rest',
      operation: 'embedding',
      streamed: false,
      signal: res.locals.signal,
    });
    const { vectors, usage } = await withLimitHeaders(res, exchange, () => foldEmbedding(exchange.events));
    sendJson(res, encodeEmbeddings(request.model, vectors, usage, encoding), clock);
  };
}

async function foldEmbedding(
  stream: EmbeddingStream,
): Promise<{ vectors: readonly (readonly number[])[]; usage: Usage }> {
  let vectors: readonly (readonly number[])[] | undefined;
  let usage: Usage | undefined;
  for await (const batch of stream) {
    for (const event of batch) {
      if (event.type === 'embedded') vectors = event.vectors;
      else usage = event.usage;
    }
  }
  if (vectors && usage) return { vectors, usage };
  throw new GatewayError('upstream_incomplete', 'The model stopped before its answer was complete.');
}
