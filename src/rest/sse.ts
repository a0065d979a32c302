import { EventStream, type EventStreamOptions } from '../http/event-stream.ts';
import { headerLines } from '../http/head.ts';
import type { RestResponse } from './context.ts';
import { writeHead } from './headers.ts';

const STREAM_LINES = headerLines([
  'Content-Type',
  'text/event-stream; charset=utf-8',
  'Cache-Control',
  'no-cache',
  // Tells nginx to pass each frame on as it comes.
  'X-Accel-Buffering',
  'no',
]);

/** Begins an answer that is a stream of frames, with status 200. */
export function openEventStream(res: RestResponse, options: EventStreamOptions): EventStream {
  writeHead(res, 200, STREAM_LINES);
  const stream = new EventStream(res, options);
  stream.open();
  return stream;
}

/** The JSON text of one event as a frame, its closing blank line included, without which readers drop it. */
export function frame(json: string): string {
  return `data: ${json}\n\n`;
}

export const DONE = frame('[DONE]');
