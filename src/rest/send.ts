import type { HeaderList } from '../http/header-list.ts';
import type { RestResponse } from './context.ts';
import { writeHead } from './headers.ts';

/** A whole answer. A text goes out in one piece with the head. */
export function send(
  res: RestResponse,
  status: number,
  contentType: string,
  body: string,
  headers: HeaderList = [],
): void {
  const length = String(Buffer.byteLength(body));
  res.locals.headers.push('Content-Type', contentType, 'Content-Length', length, 'Cache-Control', 'no-store');
  res.locals.headers.push(...headers);
  writeHead(res, status);
  res.end(body);
}

export function sendJson(res: RestResponse, body: unknown, status = 200, headers: HeaderList = []): void {
  send(res, status, 'application/json; charset=utf-8', JSON.stringify(body), headers);
}

/** A page for people, and what it may load and run. */
export function sendPage(res: RestResponse, html: string, policy: string): void {
  send(res, 200, 'text/html; charset=utf-8', html, ['Content-Security-Policy', policy]);
}
