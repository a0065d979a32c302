import type { ServerResponse } from 'node:http';
import type { ExecutionResult } from 'graphql';
import { EventStream, type EventStreamOptions, encodeJson } from '../../http/event-stream.ts';
import { appendHeaders } from '../../http/header-list.ts';
import { addLimitHeaders } from '../../http/limit-headers.ts';
import { EVENT_STREAM } from './negotiate.ts';
import type { Operation } from './operation.ts';
import { formatResult } from './refusal.ts';

const COMPLETE = 'event: complete\ndata:\n\n';

/**
 * Answers with the results of an operation as server-sent events: GraphQL over Server-Sent Events, in its mode of distinct
 * connections. A single result is a stream of one.
 * @throws GatewayError `client_closed` where the client has left or does not read.
 */
export async function sendEvents(
  res: ServerResponse,
  operation: Operation,
  options: EventStreamOptions,
): Promise<void> {
  const outcome = await operation.run();
  const results = Symbol.asyncIterator in outcome ? outcome : [outcome];
  // The second tells nginx to pass each event on as it comes.
  const headers = ['content-type', EVENT_STREAM, 'x-accel-buffering', 'no'];
  addLimitHeaders(headers, operation.limits);
  appendHeaders(res, headers);

  const out = new EventStream(res, options);
  out.open();
  // Some browsers show nothing of an answer, its status included, before something of its body is there.
  out.ping();
  for await (const result of results) {
    const full = out.write(encodeNext(result));
    if (full !== undefined) await full;
  }
  out.end(COMPLETE);
}

/** All there is to say about a request that was not executed, as such a stream. */
export function encodeSingle(result: ExecutionResult): string {
  return encodeNext(result) + COMPLETE;
}

function encodeNext(result: ExecutionResult): string {
  return `event: next\ndata: ${encodeJson(formatResult(result))}\n\n`;
}
