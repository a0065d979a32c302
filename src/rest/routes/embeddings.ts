import { foldEmbedding } from '../../domain/result.ts';
import type { BodyHandler } from '../body.ts';
import { callerOf } from '../context.ts';
import { addIgnoredParameters, addWarnings } from '../headers.ts';
import { EMBEDDING_REFUSALS, embeddingRequest } from '../openai/parameters.ts';
import { decodeEmbedding } from '../openai/request.ts';
import { encodeEmbeddings } from '../openai/response.ts';
import { unknownFields } from '../openai/validation.ts';
import { sendJson } from '../send.ts';
import type { InferenceOptions } from './chat.ts';

/** `POST /v1/embeddings` */
export function createEmbeddings({ gateway, config }: InferenceOptions): BodyHandler {
  return async (body, res) => {
    const { request, encoding } = decodeEmbedding(body);
    if (config.debug) {
      addIgnoredParameters(res, unknownFields(body, embeddingRequest, EMBEDDING_REFUSALS));
    }
    const exchange = gateway.embed(request, callerOf(res, 'embedding', false));
    res.locals.source = exchange;
    const { model, vectors, usage, warnings } = await foldEmbedding(exchange.events);
    addWarnings(res, warnings);
    sendJson(res, encodeEmbeddings(model, vectors, usage, encoding));
  };
}
