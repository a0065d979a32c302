import { sendStream, sendWhole } from '../answer.ts';
import type { BodyHandler } from '../body.ts';
import { callerOf } from '../context.ts';
import { throwInTermsOf } from '../errors.ts';
import { addIgnoredParameters } from '../headers.ts';
import { RESPONSE_REFUSALS, responseRequest } from '../openai/responses/parameters.ts';
import { decodeResponse } from '../openai/responses/request.ts';
import { encodeResult } from '../openai/responses/response.ts';
import { ResponseEncoder } from '../openai/responses/stream.ts';
import { unknownFields } from '../openai/validation.ts';
import { type InferenceOptions, unixSeconds } from './chat.ts';

/** `POST /v1/responses`. Nothing is stored: each request brings the whole conversation. */
export function createResponse(options: InferenceOptions): BodyHandler {
  const { gateway, config, clock } = options;
  const now = () => unixSeconds(clock);
  return (body, res) => {
    const { request, stream, thoughts, echo, warnings } = decodeResponse(body);
    if (config.debug) {
      addIgnoredParameters(res, unknownFields(body, responseRequest, RESPONSE_REFUSALS));
    }
    const exchange = gateway.chat(request, { ...callerOf(res, 'chat', stream), isKept: true });
    const form = { id: exchange.id, createdAt: now(), echo, thoughts };
    if (stream) {
      const encoder = new ResponseEncoder({ ...form, model: request.model, warnings, now });
      return sendStream(res, exchange, encoder, warnings, options).catch(throwInTermsOf(FIELDS));
    }
    return sendWhole(res, exchange, warnings, (result, warned) =>
      encodeResult(form, result, now(), warned),
    ).catch(throwInTermsOf(FIELDS));
  };
}

/** Fields that have another name here than in chat completions, whose names the core uses. */
const FIELDS = { messages: 'input', response_format: 'text.format', reasoning_effort: 'reasoning.effort' };
