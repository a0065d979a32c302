export const EVENT_STREAM = 'text/event-stream';

/** Media types of single results, the preferred one first. */
const JSON_TYPES = ['application/graphql-response+json', 'application/json'] as const;

/** What a client can read: of single results the type it likes best, and whether it can follow a stream. */
export interface Accepted {
  readonly json: (typeof JSON_TYPES)[number] | undefined;
  readonly stream: boolean;
}

interface Range {
  readonly type: string;
  readonly quality: number;
}

/**
 * Reads `Accept` (RFC 9110, section 12.5.1). Where it is absent or leaves the choice, the answer is
 * `application/graphql-response+json`, as clients have had to expect since 2025.
 */
export function negotiate(accept: string | undefined): Accepted {
  const ranges = parseAccept(accept?.trim() || '*/*');
  let json: Accepted['json'];
  let best = 0;
  for (const type of JSON_TYPES) {
    const quality = qualityOf(type, ranges);
    if (quality > best) [json, best] = [type, quality];
  }
  return { json, stream: qualityOf(EVENT_STREAM, ranges) > 0 };
}

/** Whether a browser asks for a page: `text/html` by name, which no GraphQL client sends. */
export function wantsPage(accept: string | undefined): boolean {
  return parseAccept(accept ?? '').some(({ type, quality }) => type === 'text/html' && quality > 0);
}

const ENCODINGS = ['br', 'gzip', 'identity'] as const;
export type Encoding = (typeof ENCODINGS)[number];

/** The smallest encoding that `Accept-Encoding` names (RFC 9110, section 12.5.3). Where it names none, none is used. */
export function preferredEncoding(acceptEncoding: string | undefined): Encoding {
  const accepted = parseAccept(acceptEncoding ?? '').filter(({ quality }) => quality > 0);
  return ENCODINGS.find((encoding) => accepted.some(({ type }) => type === encoding)) ?? 'identity';
}

/** The most specific range that covers a type decides. */
function qualityOf(type: string, ranges: readonly Range[]): number {
  for (const range of [type, `${type.split('/', 1)[0]}/*`, '*/*']) {
    const found = ranges.filter((candidate) => candidate.type === range);
    if (found.length > 0) return Math.max(...found.map(({ quality }) => quality));
  }
  return 0;
}

function parseAccept(accept: string): readonly Range[] {
  return accept
    .toLowerCase()
    .split(',')
    .slice(0, 50)
    .map((item) => {
      const [type = '', ...parameters] = item.split(';').map((part) => part.trim());
      const charset = parameters.find((one) => one.startsWith('charset='));
      if (charset !== undefined && !/^charset="?utf-8"?$/.test(charset)) return { type, quality: 0 };
      const weight = parameters.find((one) => one.startsWith('q='));
      const quality = weight === undefined ? 1 : Number(weight.slice(2));
      return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 };
    });
}
