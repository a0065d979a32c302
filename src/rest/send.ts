import { type HeaderLines, headerLines } from '../http/head.ts';
import type { HeaderList } from '../http/header-list.ts';
import type { RestResponse } from './context.ts';
import { writeHead } from './headers.ts';

const JSON_LINES = contentLines('application/json; charset=utf-8');

/** A whole answer. A text goes out in one piece with the head. */
export function send(res: RestResponse, status: number, lines: HeaderLines, body: string): void {
  res.locals.headers.push('Content-Length', String(Buffer.byteLength(body)));
  writeHead(res, status, lines);
  res.end(body);
}

/** The headers of a whole answer. @param headers others, of this program's own. */
export function contentLines(contentType: string, headers: HeaderList = []): HeaderLines {
  return headerLines(['Content-Type', contentType, 'Cache-Control', 'no-store', ...headers]);
}

/** @param headers as those of `contentLines`. */
export function sendJson(res: RestResponse, body: unknown, status = 200, headers: HeaderList = []): void {
  send(res, status, JSON_LINES + headerLines(headers), JSON.stringify(body));
}

/** A page for people, and what it may load and run. */
export function sendPage(res: RestResponse, html: string, policy: string): void {
  send(res, 200, contentLines('text/html; charset=utf-8', ['Content-Security-Policy', policy]), html);
}
