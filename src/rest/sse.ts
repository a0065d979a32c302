import { EventStream, type EventStreamOptions } from '../http/event-stream.ts';
import type { HeaderList } from '../http/header-list.ts';
import type { RestResponse } from './context.ts';
import { writeHead } from './headers.ts';

const STREAM_HEADERS: HeaderList = [
  'Content-Type',
  'text/event-stream; charset=utf-8',
  'Cache-Control',
  'no-cache',
  // Tells nginx to pass each frame on as it comes.
  'X-Accel-Buffering',
  'no',
];

/** Begins an answer that is a stream of frames, with status 200. */
export function openEventStream(res: RestResponse, options: EventStreamOptions): EventStream {
  res.locals.headers.push(...STREAM_HEADERS);
  writeHead(res, 200);
  const stream = new EventStream(res, options);
  stream.open();
  return stream;
}

/** The JSON text of one event as a frame, its closing blank line included, without which readers drop it. */
export function frame(json: string): string {
  return `data: ${json}\n\n`;
}

export const DONE = frame('[DONE]');
