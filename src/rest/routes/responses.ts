import { GatewayError } from '../../domain/error.ts';
import { foldChat } from '../../domain/result.ts';
import { sendStream, withLimits } from '../answer.ts';
import { callerOf, type Handler } from '../context.ts';
import { inTermsOf } from '../errors.ts';
import { addIgnoredParameters, addWarnings } from '../headers.ts';
import { RESPONSE_REFUSALS, responseRequest } from '../openai/responses/parameters.ts';
import { decodeResponse } from '../openai/responses/request.ts';
import { encodeResult } from '../openai/responses/response.ts';
import { ResponseEncoder } from '../openai/responses/stream.ts';
import { unknownFields } from '../openai/validation.ts';
import { sendJson } from '../send.ts';
import { type InferenceOptions, unixSeconds } from './chat.ts';

/** `POST /v1/responses`. Nothing is stored: each request brings the whole conversation. */
export function createResponse(options: InferenceOptions): Handler {
  const { gateway, config, clock } = options;
  return async (req, res) => {
    const { request, stream, thoughts, echo, warnings } = decodeResponse(req.body);
    if (config.debug) {
      addIgnoredParameters(res, unknownFields(req.body, responseRequest, RESPONSE_REFUSALS));
    }
    const exchange = gateway.chat(request, { ...callerOf(res, 'chat', stream), isKept: true });
    const form = { id: exchange.id, createdAt: unixSeconds(clock), echo, thoughts };
    const now = () => unixSeconds(clock);
    try {
      if (stream) {
        const encoder = new ResponseEncoder({ ...form, model: request.model, warnings, now });
        return await sendStream(res, exchange, encoder, warnings, options);
      }
      const result = await withLimits(res, exchange, () => foldChat(exchange.events));
      const warned = [...warnings, ...result.warnings];
      addWarnings(res, warned);
      sendJson(res, encodeResult(form, result, now(), warned));
    } catch (thrown) {
      throw thrown instanceof GatewayError ? inTermsOf(FIELDS, thrown) : thrown;
    }
  };
}

/** Fields that have another name here than in chat completions, whose names the core uses. */
const FIELDS = { messages: 'input', response_format: 'text.format', reasoning_effort: 'reasoning.effort' };
