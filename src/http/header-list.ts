import type { ServerResponse } from 'node:http';

/**
 * Headers of an answer, names and values in turn, as `writeHead` takes them: all at once, where each that is set on its
 * own is first looked up and put into a table that nobody needs.
 */
export type HeaderList = readonly string[];

/** For an answer whose head somebody else writes. */
export function appendHeaders(res: ServerResponse, headers: HeaderList): void {
  for (let at = 0; at < headers.length; at += 2) res.appendHeader(headers[at] ?? '', headers[at + 1] ?? '');
}
