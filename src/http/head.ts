import type { ServerResponse } from 'node:http';
import type { HeaderList } from './header-list.ts';

/** Headers as they are sent, a line each. Nobody looks at them again, so nothing in them is from outside. */
export type HeaderLines = string;

/** @param headers with names and values that are this program's own, or numbers, and never what somebody has sent. */
export function headerLines(headers: HeaderList): HeaderLines {
  let lines = '';
  for (let at = 0; at < headers.length; at += 2) lines += `${headers[at]}: ${headers[at + 1]}\r\n`;
  return lines;
}

/** What Node keeps a head in until the beginning of the body is there. Its types do not know of it. */
interface Unsent {
  _header: string;
}

/**
 * Begins an answer as `writeHead` of Node's does, with lines added that Node does not look at: it examines every header with
 * two regular expressions and for nine names, and most of ours are the same in each answer.
 */
export function writeHeadWith(
  res: ServerResponse,
  status: number,
  headers: string[],
  lines: HeaderLines,
): void {
  res.writeHead(status, headers);
  const unsent = res as unknown as Unsent;
  const end = unsent._header.length - '\r\n'.length;
  unsent._header = `${unsent._header.slice(0, end)}${lines}\r\n`;
}
